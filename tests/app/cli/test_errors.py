"""Errors have one form in all commands: one line on stderr, `error:` and a sentence, and a documented exit code."""

import errno
import re
from pathlib import Path
from typing import get_args

import pytest
import typer
from pydantic import ByteSize

from app.cli.application import GROUPS, PANELS
from app.cli.errors import error_sentence, read_settings
from app.settings import AppSettings
from models.bounded_reading import FileMissing
from tests.app.cli.test_cli import acgan
from tests.support.ports import free_port

COMMANDS = [name for commands in PANELS.values() for name in commands]
COMMANDS += [f"{group} {name}" for group, (_, members) in GROUPS.items() for name in members]
JOB = "20260131-120000-00001c"
# Of each command: words with a mistake of the user, and the end of the sentence.
MISTAKES = {
    "up": (["up", "--port", "99999"], "port (ACGAN_PORT) should be at most 65535, not 99999"),
    "serve": (["serve", "--host", "127.0.0.1", "--port", "x"], "see `acgan serve --help`"),
    "worker": (["worker", "--home", "README.md/x"], "README.md/x"),
    "key": (["key", "two words"], ""),
    "train": (["train", "--epochs", "0"], "--epochs should be at least 1, not 0"),
    "digits": (
        ["digits", "7", "-o", "x.jpg"],
        "cannot be written as JPEG: name a file that ends in .png, .zip or .npy",
    ),
    "evaluate": (["evaluate", "--picture", "x.jpg"], "x.jpg cannot be written as JPEG: name a file that ends in .png"),
    "export": (["export", "-o", "x.jpg"], "use --format onnx, keras, keras3 or huggingface"),
    "import-keras": (["import-keras", "nowhere"], "nowhere"),
    "start": (["start", "--epochs", "x"], "see `acgan start --help`"),
    "jobs": (["jobs", "--url", "ftp://somewhere"], "is not an address of a service"),
    "follow": (["follow"], "Missing argument 'JOB': see `acgan follow --help`"),
    "cancel": (["cancel", JOB, "--url", "ftp://x"], "is not an address of a service"),
    "resume": (["resume", JOB, "--url", "ftp://x"], "is not an address of a service"),
    "retry": (["retry", JOB, "--url", "ftp://x"], "is not an address of a service"),
    "front": (["front", JOB, "--url", "ftp://x"], "is not an address of a service"),
    "label": (["label", JOB], "nothing to change: name at least one of --name"),
    "history": (
        ["history", JOB, "-o", "x.png"],
        "x.png cannot be written as PNG: name a file that ends in .json",
    ),
    "checkpoints": (["checkpoints", "--key", "ü\n"], "see ACGAN_KEY"),
    "serving": (["serving", "x", "--dataset", "mnist"], "--dataset is for newest and best"),
    "import": (["import", "nowhere"], "there is no file nowhere"),
    "numbers": (["numbers", "1", "-o", "x.jpeg"], "x.jpeg cannot be written as JPEG: name a file that ends in .png"),
    "morph": (
        ["morph", "1", "2", "-o", "x.jpg"],
        "cannot be written as JPEG: name a file that ends in .gif",
    ),
    "evolution": (["evolution", JOB, "--format", "gif"], "--format needs --out: digits on a terminal have no format"),
    "images": (["images", "letters", "-o", "x.jpg"], "cannot be written as JPEG: name a file that ends in .png"),
    "order": (["order", "--layout", "keras"], "--layout needs --out: a data set gets its layout when it is downloaded"),
    "datasets": (["datasets", "--limit", "x"], "see `acgan datasets --help`"),
    "download": (["download", JOB, "--layout", "x"], "--layout should be one of"),
    "delete": (["delete", "job", JOB, "--url", "ftp://x", "--yes"], "is not an address of a service"),
    "training-data add": (["training-data", "add", "x", "nowhere"], "there is no file or folder nowhere"),
    "training-data list": (["training-data", "list", "letters"], "see `acgan training-data list --help`"),
    "training-data show": (["training-data", "show", "nothing"], "see `acgan training-data list`"),
    "training-data remove": (["training-data", "remove", "mnist", "--yes"], "the name of built-in training data"),
}
SERVICE = {
    "jobs": [],
    "start": [],
    "follow": ["latest"],
    "cancel": ["mine"],
    "resume": [JOB],
    "retry": [JOB],
    "front": [JOB],
    "label": [JOB, "--name", "mine"],
    "history": [JOB],
    "checkpoints": [],
    "serving": [],
    "import": ["README.md"],
    "numbers": ["7"],
    "morph": ["3", "8"],
    "evolution": ["latest"],
    "images": ["mnist", "-o", "x.png"],
    "order": [],
    "datasets": [],
    "download": [JOB],
    "delete": ["job", JOB, "--yes"],
    "training-data add": ["x", "README.md", "--upload"],
}
NUMBERS = [
    name
    for name, field in AppSettings.model_fields.items()
    if not {int, float, ByteSize}.isdisjoint((field.annotation, *get_args(field.annotation)))
]
ALSO_LOCAL = {"training-data add"}  # commands that ask a service only with an option


def check_sentence(printed: str) -> None:
    assert re.fullmatch(r"error: [^\n]+\n", printed), printed
    assert "Traceback" not in printed


def test_the_tables_have_every_command() -> None:
    assert list(MISTAKES) == COMMANDS or set(MISTAKES) == set(COMMANDS)
    assert set(SERVICE) - ALSO_LOCAL == set(PANELS["Commands for a running service (ACGAN_URL)"])


@pytest.mark.parametrize("name", COMMANDS)
def test_a_mistake_is_one_sentence_and_exit_code_2(name: str) -> None:
    words, sentence = MISTAKES[name]
    ended = acgan(*words)
    assert (ended.returncode, ended.stdout) == (2, ""), ended.stderr
    check_sentence(ended.stderr)
    assert sentence in ended.stderr


@pytest.mark.parametrize("home", ["README.md", "README.md/x"])
@pytest.mark.parametrize("words", [["digits", "7"], ["train", "--dataset", "printed"], ["training-data", "list"]])
def test_a_home_that_is_a_file_is_named(words: list[str], home: str) -> None:
    ended = acgan(*words, "--home", home)
    sentence = f"error: {home}/ cannot be used: README.md is not a folder. Choose another one with --home\n"
    assert (ended.returncode, ended.stdout, ended.stderr) == (2, "", sentence)


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (OSError(errno.ENOTDIR, "Not a directory", "a/b"), "a/b cannot be used: Not a directory"),
        (OSError(errno.EACCES, "Permission denied", ".a.tmp", None, "a"), "a cannot be used: Permission denied"),
        (OSError(errno.ENOSPC, "No space left on device"), "the output cannot be written: No space left on device"),
        (OSError(errno.EPIPE, "Broken pipe"), "the operating system reports: Broken pipe"),
        (OSError("a sentence"), "a sentence"),
        (FileMissing("there is no file x"), "there is no file x"),
    ],
    ids=repr,
)
def test_an_error_of_the_system_is_a_sentence(error: OSError, sentence: str) -> None:
    assert error_sentence(error) == sentence


@pytest.mark.parametrize("name", ["", *COMMANDS])
def test_an_unknown_option_names_the_help_of_the_command(name: str) -> None:
    ended = acgan(*name.split(), "--nonsense")
    assert ended.returncode == 2
    check_sentence(ended.stderr)
    assert ended.stderr.startswith("error: No such option: --nonsense")
    assert f"`acgan {name}".rstrip() + " --help`" in ended.stderr


@pytest.mark.parametrize("name", SERVICE)
def test_a_service_that_does_not_respond_is_exit_code_4(name: str) -> None:
    address = f"127.0.0.1:{free_port()}"
    ended = acgan(*name.split(), *SERVICE[name], "--url", address)
    assert (ended.returncode, ended.stdout) == (4, "")
    check_sentence(ended.stderr)
    assert f"nothing answers at http://{address}" in ended.stderr


@pytest.mark.parametrize("given", ["inf", "-inf", "nan", "1e300"])
def test_every_setting_that_is_a_number_is_bounded(
    given: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert {"lease_seconds", "request_seconds", "connections", "store_limit"} <= set(NUMBERS)
    for name in NUMBERS:
        with monkeypatch.context() as patch:
            patch.setenv(f"ACGAN_{name.upper()}", given)
            with pytest.raises(typer.Exit) as ended:
                read_settings()
        printed = capsys.readouterr().err
        check_sentence(printed)
        assert (ended.value.exit_code, f"(ACGAN_{name.upper()}) " in printed) == (2, True), printed


def test_the_exit_codes_are_documented() -> None:
    text = (Path(__file__).parents[3] / "docs" / "commands.md").read_text()
    assert re.findall(r"^\| (\d+) \|", text, re.MULTILINE) == ["0", "1", "2", "3", "4", "75", "130", "141"]
