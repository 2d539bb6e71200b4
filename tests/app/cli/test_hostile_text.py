"""Text from a server, a file or a record is never printed raw; commands handle every encoding and closed pipes."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from app.cli.display.output import SafeConsole
from app.cli.display.terminal import ASCII, in_characters, ink_for
from models.networks.acgan import Generator
from models.networks.weights import to_bytes
from tests.support.hostile_server import EVIL, JOB_ID, Answer, as_json, dataset, hostile, http, job, problem
from tests.support.records import losses, manifest

CONTROLS = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069]")
FOREIGN = "Zürich 数字 ▀"


def acgan(*words: str, encoding: str = "utf-8", **environment: str) -> subprocess.CompletedProcess[bytes]:
    variables = {**os.environ, "PYTHONIOENCODING": encoding, "COLUMNS": "200"} | environment
    return subprocess.run([sys.executable, "-m", "app.cli", *words], capture_output=True, env=variables, check=False)


def answers(text: str, job_id: str = JOB_ID, checkpoint: str = f"{JOB_ID}-e001") -> dict[str, Answer]:
    """Responses of a service with this text in every field that can hold text, and these ids."""
    epoch = {"epoch": 1, "seconds": 1.0, "losses": losses().model_dump(), "metrics": {text: 1.0}, "samples": text}
    epoch |= {"checkpoint": checkpoint, "refused": text, "sha256": text, "published_at": "2026-01-31T12:00:00Z"}
    config = {**job()["config"], "name": text}
    whole = job(id=job_id, config=config, epochs=[epoch], device=text, worker=text, trouble=text, warnings=[text])
    unreadable = {"id": job_id, "status": text, "config": {text: text}, "trouble": text, "links": whole["links"]}
    found = {**manifest("a").model_dump(mode="json"), "refused": text, "size": 1, "links": {text: text}}
    unusable = {"id": checkpoint, "job": job_id, "epoch": 1, "reason": text, "written_by_another_version": False}
    stream = b"".join(event(data) for data in ({**whole, "status": "running", "error": text}, {**whole, "error": text}))
    return {
        "/jobs": as_json({"jobs": [whole, unreadable], "next": text}),
        f"/jobs/{JOB_ID}": as_json(whole),
        f"/jobs/{JOB_ID}/events": http(stream, kind="text/event-stream"),
        f"/jobs/{JOB_ID}/cancel": as_json(whole),
        f"/jobs/{JOB_ID}/resume": problem(409, text),
        f"/jobs/{JOB_ID}/retry": problem(422, text, [{"field": text, "message": text}]),
        f"/jobs/{JOB_ID}/front": http(text.encode(), "502 Bad"),
        f"/jobs/{JOB_ID}/history.json": as_json({"job": job_id, "config": config, "epochs": [epoch]}),
        f"/jobs/{JOB_ID}/history.csv": http(f"epoch,{text}\r\n1,{text}\r\n".encode(), kind="text/csv"),
        "/train": as_json(whole),
        "/checkpoints": as_json({"serving": checkpoint, "checkpoints": [found], "unusable": [unusable]}),
        "/serving": as_json({"policy": text, "checkpoint": None, "serving": checkpoint}),
        "/datasets": as_json({"datasets": [dataset(id=job_id, error=text), unreadable], "next": text}),
        f"/datasets/{JOB_ID}": as_json(dataset(id=job_id, status="failed", error=text)),
    }


def event(data: Any) -> bytes:
    return f"id: 1-1\nevent: job\ndata: {json.dumps(data)}\n\n".encode()


COMMANDS = [
    ["jobs"],
    ["jobs", "--json"],
    ["follow", JOB_ID],
    ["follow", JOB_ID, "--json"],
    ["start", "--json"],
    ["resume", JOB_ID],
    ["retry", JOB_ID],
    ["front", JOB_ID],
    ["history", JOB_ID],
    ["history", JOB_ID, "--csv"],
    ["checkpoints"],
    ["checkpoints", "--json"],
    ["serving"],
    ["datasets"],
    ["download", JOB_ID, "-o", "mine"],
]
TABLES = [["jobs"], ["checkpoints"], ["datasets"]]
REFUSED = {"resume": 2, "retry": 2, "front": 4, "download": 1}


@pytest.fixture(scope="module")
def evil() -> Iterator[str]:
    with hostile(answers(EVIL)) as server:
        yield server.url


@pytest.fixture(scope="module")
def foreign() -> Iterator[str]:
    with hostile(answers(FOREIGN)) as server:
        yield server.url


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_text_from_a_server_sends_no_control_codes_to_the_terminal(words: list[str], evil: str, tmp_path: Path) -> None:
    result = acgan(*words, "--url", evil, ACGAN_HOME=str(tmp_path))
    assert result.returncode == REFUSED.get(words[0], 0), result.stderr
    printed = (result.stdout + result.stderr).decode()
    if words in TABLES:  # their own tabs, the same number in each row
        heading, *rows, last = printed.splitlines()
        assert {row.count("\t") for row in rows} == {heading.count("\t")}
        assert "\t" not in last
        printed = printed.replace("\t", " ")
    assert not CONTROLS.search(printed), printed
    assert "Traceback" not in printed
    if words not in (["front", JOB_ID], ["checkpoints"]):  # these print no text but ids, which have a form
        assert "[/]" in printed
        assert ("\\x1b" in printed) or ("\\u001b" in printed)
    if "--json" in words or words == ["history", JOB_ID]:
        lines = [printed] if words[0] == "history" else printed.splitlines()
        assert any(EVIL in str(list(walk(json.loads(line)))) or EVIL in list(walk(json.loads(line))) for line in lines)


@pytest.mark.parametrize(
    "words", [["start"], ["retry", JOB_ID], ["cancel", JOB_ID], ["jobs"], ["datasets"], ["serving"]], ids=" ".join
)
def test_no_suggested_command_contains_what_a_shell_would_run(words: list[str], tmp_path: Path) -> None:
    evil = "x; touch y #"
    responses = answers(FOREIGN, evil, evil)
    with hostile({**responses, f"/jobs/{JOB_ID}/retry": responses["/train"]}) as server:
        result = acgan(*words, "--url", server.url, ACGAN_HOME=str(tmp_path))
    assert result.returncode == 2, result.stdout
    assert b"that this client does not understand" in result.stderr
    assert b"touch" not in result.stdout + result.stderr


def walk(value: Any) -> Iterator[Any]:
    """Yield every name and value in the JSON."""
    if isinstance(value, dict):
        yield from value
        for each in value.values():
            yield from walk(each)
    elif isinstance(value, list):
        for each in value:
            yield from walk(each)
    else:
        yield value


@pytest.mark.parametrize(
    ("words", "encoding"),
    [
        (["jobs"], "ascii"),
        (["jobs"], "ascii:strict"),
        (["jobs"], "utf-16"),
        (["jobs", "--json"], "cp1252"),
        (["follow", JOB_ID], "cp1252"),
        (["history", JOB_ID], "ascii"),
        (["history", JOB_ID, "--csv"], "latin-1"),
        (["checkpoints"], "ascii"),
        (["resume", JOB_ID], "ascii"),
        (["download", JOB_ID, "-o", "mine"], "cp437"),
    ],
)
def test_characters_that_an_encoding_lacks_are_replaced(
    words: list[str], encoding: str, foreign: str, tmp_path: Path
) -> None:
    result = acgan(*words, "--url", foreign, encoding=encoding, ACGAN_HOME=str(tmp_path))
    assert result.returncode == REFUSED.get(words[0], 0), result.stderr
    assert b"Traceback" not in result.stderr
    printed = result.stdout.decode(encoding.partition(":")[0])
    if words == ["jobs", "--json"]:
        assert json.loads(printed)["jobs"][0]["config"]["name"] == FOREIGN
    elif words == ["jobs"]:
        assert printed.count("?" if encoding != "utf-16" else FOREIGN)


def weights(folder: Path) -> Path:
    (folder / "g.safetensors").write_bytes(to_bytes(Generator(20)))
    return folder / "g.safetensors"


@pytest.mark.parametrize(
    ("environment", "ink"),
    [
        ({"PYTHONIOENCODING": "cp1252"}, " .'#"),
        ({"PYTHONIOENCODING": "cp437"}, " ▀▄█"),
        ({"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "PYTHONIOENCODING": ""}, " .'#"),
        ({"PYTHONIOENCODING": "utf-8"}, " ▀▄█"),
    ],
    ids=str,
)
def test_digits_are_drawn_with_characters_that_the_encoding_has(
    environment: dict[str, str], ink: str, tmp_path: Path
) -> None:
    words = ["digits", "7", "-n", "2", "--seed", "5", "--checkpoint", str(weights(tmp_path))]
    result = acgan(*words, **environment)
    assert result.returncode == 0, result.stderr
    *picture, sentence = result.stdout.decode(environment["PYTHONIOENCODING"] or "ascii").splitlines()
    assert len(picture) == 14
    assert set("".join(picture)) <= set(ink)
    assert sentence.startswith("2 digits of 7")


@pytest.mark.parametrize("words", [["--help"], ["jobs", "--help"], ["nonsense-ü"], ["jobs", "--limit", "ü"]])
def test_help_and_errors_are_printed_in_any_encoding(words: list[str]) -> None:
    result = acgan(*words, encoding="ascii")
    assert result.returncode == (0 if "--help" in words else 2)
    assert b"Traceback" not in result.stderr
    (result.stdout + result.stderr).decode("ascii")


def test_file_names_are_printed_as_text(tmp_path: Path) -> None:
    name = "a[/]\x1b[31m\u202e.safetensors"
    (tmp_path / name).parent.mkdir()
    (tmp_path / name).write_bytes(b"no weights")
    for words in (["digits", "7", "--checkpoint"], ["evaluate"], ["export", "-o", str(tmp_path / "x.onnx")]):
        result = acgan(*words, str(tmp_path / name), ACGAN_HOME=str(tmp_path / "home"))
        printed = (result.stdout + result.stderr).decode()
        assert (result.returncode, "Traceback" in printed) == (2, False), printed
        assert not CONTROLS.search(printed), printed


def test_a_history_is_written_as_utf_8_in_any_locale(foreign: str, tmp_path: Path) -> None:
    for name in ("history.json", "history.csv"):
        locale = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
        result = acgan("history", JOB_ID, "-o", str(tmp_path / name), "--url", foreign, encoding="ascii", **locale)
        assert result.returncode == 0, result.stderr
        assert FOREIGN in (tmp_path / name).read_text(encoding="utf-8")


# ----------------------------------------------------------------------------
# Readers that close the pipe, and full disks.


@pytest.mark.parametrize("words", [["jobs"], ["history", JOB_ID, "--csv"], ["--help"]])
def test_a_closed_pipe_ends_a_command_quietly(words: list[str], foreign: str) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    url = [] if "--help" in words else ["--url", foreign]
    with os.fdopen(writing, "wb") as pipe:
        result = subprocess.run(
            [sys.executable, "-m", "app.cli", *words, *url], stdout=pipe, stderr=subprocess.PIPE, check=False
        )
    assert (result.returncode, result.stderr) == (141, b"")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
@pytest.mark.parametrize("words", [["jobs"], ["--help"]])
def test_output_that_cannot_be_written_is_reported_in_a_sentence(words: list[str], foreign: str) -> None:
    url = [] if "--help" in words else ["--url", foreign]
    with Path("/dev/full").open("wb") as full:
        result = subprocess.run(
            [sys.executable, "-m", "app.cli", *words, *url], stdout=full, stderr=subprocess.PIPE, check=False
        )
    assert result.returncode == 1
    assert result.stderr == b"error: the output cannot be written: No space left on device\n"


def test_ascii_characters_show_the_same_pixels() -> None:
    picture = np.array([[0, 255, 0, 255], [0, 0, 255, 255]], np.uint8)
    assert in_characters(picture, greys=False, ink=ASCII).plain == " '.#"
    assert [ink_for(name) for name in ("utf-8", "cp437", "ascii", "cp1252", "latin-1", "none")] == [
        *[" ▄▀█"] * 2,
        *[ASCII] * 4,
    ]


def test_a_console_prints_its_own_styles_and_no_others(capsys: pytest.CaptureFixture[str]) -> None:
    SafeConsole().print(f"[bold]{EVIL}", style="red")
    assert capsys.readouterr().out == "[bold]a\\x1b[31m[/]\n\\x9b2J\\u202eb\\x7f\n"
