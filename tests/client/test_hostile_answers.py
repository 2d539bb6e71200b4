"""Responses of an untrusted server: each is limited and checked, and its text is reduced to one printable line."""

import asyncio
import io
import json
import resource
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from acgan_client import AsyncClient, Client, Misconfigured, NotUnderstood, Refused, Unavailable
from acgan_client.responses import PROBLEM_LIMIT
from tests.app.cli.test_cli import acgan
from tests.support.hostile_server import (
    EVIL,
    JOB_ID,
    Answer,
    as_json,
    endless,
    hostile,
    http,
    job,
    problem,
)


def npy(array: np.ndarray, claimed: str = "") -> bytes:
    file = io.BytesIO()
    np.lib.format.write_array(file, array, version=(1, 0))
    data = file.getvalue()
    shape = str(array.shape)
    return data.replace(shape.encode(), claimed.ljust(len(shape)).encode()) if claimed else data


def drawn(**headers: str) -> bytes:
    return http(b"x", kind="image/png", **{"X_Checkpoint": "a-e001", "X_Seed": "1", "X_Index": "0"} | headers)


STREAM = "text/event-stream"
DIGITS = np.zeros((2, 28, 28), np.uint8)
PIECE_OF_EVENT = b"0" * 1_000_000
BOMBS: dict[str, tuple[str, Answer | Callable[[], Answer]]] = {
    "an endless record": ("job", endless),
    "an endless problem": ("job", lambda: endless("500 No")),
    "an endless redirect": ("job", lambda: endless("302 Found")),
    "an endless picture": ("samples", lambda: endless(kind="image/png")),
    "deep JSON": ("job", http(b"[" * 500_000)),
    "deep JSON in a problem": ("job", http(b"[" * 500_000, "404 No")),
    "a compressed record": ("job", http(b"\x1f\x8b", Content_Encoding="gzip")),
    "a large integer": ("job", as_json(job(priority=10**4000))),
    "an encoding that unpacks": ("history_csv", http(b"\xff\xfe\x00\xd8", kind="text/csv; charset=zlib")),
    "a job that is a command": ("job", as_json(job(id="x; touch y"))),
    "a job that is an option": ("job", as_json(job(id="--url"))),
    "a job that is a path": ("job", as_json(job(id="../x"))),
    "a job in two lines": ("job", as_json(job(id="a\n"))),
    "a job without an id": ("job", as_json(job(id=""))),
    "training data that are a command": ("job", as_json(job(config={"dataset": "x; touch y"}))),
    "a seed of many digits": ("digits", drawn(X_Seed="9" * 5000)),
    "a negative seed": ("digits", drawn(X_Seed="-1")),
    "a seed in other digits": ("digits", drawn(X_Seed="²")),
    "a checkpoint that is a path": ("digits", drawn(X_Checkpoint="../../x")),
    "a checkpoint with an escape": ("digits", drawn(X_Checkpoint="a\x1b[31m")),
    "an array that claims petabytes": ("pixels", http(npy(DIGITS, "(9**9,28,28)"))),
    "an array of another shape": ("pixels", http(npy(np.zeros((1, 28, 27), np.uint8)))),
    "an array of objects": ("pixels", http(npy(DIGITS).replace(b"'|u1'", b"'|O' "))),
    "a zip archive": ("pixels", http(b"PK\x03\x04" + bytes(100))),
    "events that are compressed": ("follow", http(b"data: 1\n\n", kind=STREAM, Content_Encoding="gzip")),
    "an event without an end": ("follow", lambda: endless(kind=STREAM, piece=b"data: " + PIECE_OF_EVENT)),
    "a line without an end": ("follow", lambda: endless(kind=STREAM, piece=PIECE_OF_EVENT)),
    "events of another kind": ("follow", http(b"data: 1\n\n", kind="text/plain")),
    "an event that is no record": ("follow", http(b"event: job\ndata: []\n\n", kind=STREAM)),
}


def event(kind: str, data: Any) -> bytes:
    return f"id: 1-1\nevent: {kind}\ndata: {json.dumps(data)}\n\n".encode()


for _kind, _data in (
    ("status", []),
    ("status", {}),
    ("status", {"status": "\x1b[31m"}),
    ("trouble", 5),
    ("epoch", "x"),
):
    _stream = event("job", job(status="running")) + event(_kind, _data)
    BOMBS[f"a {_kind} event that is {_data}"] = ("follow", http(_stream, kind=STREAM))

CALLS = {"job": (JOB_ID,), "samples": (JOB_ID, 1), "history_csv": (JOB_ID,), "digits": (7,), "pixels": (7,)}
PATHS = {
    "job": f"/jobs/{JOB_ID}",
    "samples": f"/jobs/{JOB_ID}/epochs/1/samples.png",
    "history_csv": f"/jobs/{JOB_ID}/history.csv",
    "digits": "/digits/7",
    "pixels": "/digits/7",
    "follow": f"/jobs/{JOB_ID}/events",
}


def ask(url: str, call: str) -> None:
    with Client(url) as client:
        if call == "follow":
            list(client.follow(JOB_ID))
        else:
            getattr(client, call)(*CALLS[call])


def ask_async(url: str, call: str) -> None:
    async def run() -> None:
        async with AsyncClient(url) as client:
            if call == "follow":
                _ = [change async for change in client.follow(JOB_ID)]
            else:
                await getattr(client, call)(*CALLS[call])

    asyncio.run(run())


@pytest.fixture
def little_memory() -> Iterator[None]:
    """The reading stays below a limit: 1.5 GB of address space beyond what the test has."""
    before = resource.getrlimit(resource.RLIMIT_AS)
    size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (size + 1_500_000_000, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_AS, before)


@pytest.mark.parametrize("name", BOMBS)
@pytest.mark.usefixtures("little_memory")
def test_a_response_that_no_service_sends_raises_one_error(name: str) -> None:
    call, answer = BOMBS[name]
    for way in (ask, ask_async):
        with hostile({PATHS[call]: answer}) as server:
            with pytest.raises(NotUnderstood) as refused:
                way(server.url, call)
            assert str(refused.value).isprintable()
            assert len(str(refused.value)) < 3000
            assert server.sent < 100_000_000
            assert len(server.requests) == 1


def test_valid_arrays_are_read() -> None:
    with hostile({"/digits/7": http(npy(DIGITS + 3))}) as server, Client(server.url) as client:
        assert (client.pixels(7) == DIGITS + 3).all()


def test_a_redirect_is_not_followed_and_the_key_is_sent_nowhere_else() -> None:
    with hostile({}) as other:
        for status in ("301 Moved", "302 Found", "303 See", "307 Temporary", "308 Permanent"):
            moved = http(b"", status, Location=f"{other.url}/jobs/{JOB_ID}")
            with hostile({PATHS["job"]: moved}) as server:
                for way in (ask, ask_async):
                    with pytest.raises(NotUnderstood, match=status[:3]):
                        way(server.url, "job")
        assert other.requests == []


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("nan", 0.5),
        ("inf", 0.5),
        ("-5", 0.5),
        ("9" * 400, 0.5),
        ("²", 0.5),
        ("1e9", 0.5),
        ("7", 7),
        ("999999999", 86400),
    ],
)
def test_an_invalid_retry_after_is_a_short_pause(header: str, seconds: float) -> None:
    later = problem(503, "later", Retry_After=header)
    with hostile({PATHS["job"]: later}) as server, pytest.raises(Unavailable) as unavailable:
        ask(server.url, "job")
    assert unavailable.value.retry_after == seconds


@pytest.mark.parametrize(
    "errors", [5, "text", [5], [{}], [{"field": 5}], [[]], [{"field": [], "message": {}}], [{"field": "body.x"}]]
)
def test_problems_of_any_form_end_no_command_in_a_traceback(errors: Any) -> None:
    with hostile({"/jobs": problem(422, EVIL, errors)}) as server:
        result = acgan("jobs", "--url", server.url)
    assert result.returncode == 2
    assert result.stderr.count("\n") == 1
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize("key", ["secret\n", "secret\r\nX-Other: 1", "sécret", "secret\x00"])
def test_a_key_that_cannot_be_sent_is_not_shown(key: str) -> None:
    with hostile({}) as server, pytest.raises(Misconfigured, match="ACGAN_KEY") as error:
        Client(server.url, key)
    assert "cret" not in str(error.value)


def test_an_argument_that_is_not_text_is_not_blamed_on_the_service() -> None:
    with hostile({}) as server, Client(server.url) as client, pytest.raises(Misconfigured, match="PYTHONUTF8"):
        client.train(name="\udcff")


@pytest.mark.parametrize("number", [float("nan"), float("inf")])
def test_a_number_that_json_cannot_contain_is_not_blamed_on_the_service(number: float) -> None:
    with hostile({}) as server, Client(server.url) as client, pytest.raises(Misconfigured, match="written as JSON"):
        client.order(verify=number)


def test_the_detail_of_a_refusal_is_one_line_of_limited_length() -> None:
    mistakes = [{"field": EVIL, "message": EVIL}] * 500
    with hostile({PATHS["job"]: problem(404, EVIL * 1000, mistakes)}) as server, pytest.raises(Refused) as refused:
        ask(server.url, "job")
    assert str(refused.value).isprintable()
    assert len(str(refused.value)) < 3000
    assert len(refused.value.mistakes) == 100
    assert all(value.isprintable() for mistake in refused.value.mistakes for value in mistake.values())
    assert PROBLEM_LIMIT < 10**7
