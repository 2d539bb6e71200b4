"""A server that sends an endless response byte by byte: the client's time limits cover the whole response."""

import asyncio
import time
from collections.abc import Callable, Iterator

import pytest

from acgan_client import AsyncClient, Client, ClientError, Unreachable
from acgan_client.responses import Body
from tests.client.test_hostile_answers import PATHS
from tests.support.hostile_server import JOB_ID, hostile, http

TIMEOUT_SECONDS = 0.4
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n"


def interim() -> Iterator[bytes]:
    while True:
        yield b"HTTP/1.1 102 Processing\r\n\r\n"
        time.sleep(0.05)


def many_interim() -> Iterator[bytes]:
    while True:
        yield b"HTTP/1.1 103 Early Hints\r\n\r\n" * 100


def slow_headers() -> Iterator[bytes]:
    yield b"HTTP/1.1 200 OK\r\nX-Long: "
    while True:
        yield b"a"
        time.sleep(0.05)


def slow_status() -> Iterator[bytes]:
    yield b"HTTP/1.1 200 "
    while True:
        yield b"O"
        time.sleep(0.05)


def slow_trailers() -> Iterator[bytes]:
    yield CHUNKED + b"0\r\nX-Trailer: "
    while True:
        yield b"a"
        time.sleep(0.05)


HEADS = [interim, many_interim, slow_headers, slow_status]


def ask(url: str) -> None:
    with Client(url, timeout_seconds=TIMEOUT_SECONDS, patience_seconds=0) as client:
        client.retry(JOB_ID)


def ask_async(url: str) -> None:
    async def run() -> None:
        async with AsyncClient(url, timeout_seconds=TIMEOUT_SECONDS, patience_seconds=0) as client:
            await client.retry(JOB_ID)

    asyncio.run(run())


@pytest.mark.parametrize("way", [ask, ask_async])
@pytest.mark.parametrize("answer", HEADS)
def test_the_head_of_a_response_has_a_time_limit(
    way: Callable[[str], None], answer: Callable[[], Iterator[bytes]]
) -> None:
    with hostile({f"/jobs/{JOB_ID}/retry": answer}) as server:
        began = time.monotonic()
        with pytest.raises(Unreachable) as refused:
            way(server.url)
        assert time.monotonic() - began < 10
    assert str(refused.value).isprintable()


@pytest.mark.parametrize("way", [ask, ask_async])
def test_a_complete_response_has_a_time_limit(way: Callable[[str], None], monkeypatch: pytest.MonkeyPatch) -> None:
    really_init = Body.__init__

    def init(self: Body, *arguments: object, **options: object) -> None:
        really_init(self, *arguments, **options)  # type: ignore[arg-type]
        self.seconds = 0.5

    monkeypatch.setattr(Body, "__init__", init)
    with hostile({f"/jobs/{JOB_ID}/retry": slow_trailers}) as server, pytest.raises(Unreachable, match="in time"):
        way(server.url)


def test_a_proxy_that_never_answers_a_connect_request_has_a_time_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    with hostile({"service.example:443": interim}) as proxy:
        monkeypatch.setenv("HTTPS_PROXY", proxy.url)
        began = time.monotonic()
        with pytest.raises(Unreachable):
            ask("https://service.example")
        assert time.monotonic() - began < 10
        assert proxy.requests[0].startswith("CONNECT service.example:443")


def test_events_may_arrive_for_longer_than_the_head_of_their_response() -> None:
    head_seconds = 1.5

    def slow_events() -> Iterator[bytes]:
        yield b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n"
        for _ in range(40):
            yield b": nothing new\n\n"
            time.sleep(0.1)

    pieces = iter([slow_events(), iter([http(b"{}", "404 Not Found")])])
    began = time.monotonic()
    with hostile({PATHS["follow"]: lambda: next(pieces)}) as server:
        client = Client(server.url, timeout_seconds=head_seconds, patience_seconds=0)
        with client, pytest.raises(ClientError):
            list(client.follow(JOB_ID))
    assert time.monotonic() - began > 3.9
