"""The API on its own port, for tests that need a real server: streams, and many concurrent callers."""

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import httpx2

from app.main import create_app
from app.server.server import Server
from app.settings import AppSettings
from tests.support.ports import free_port


@contextmanager
def serving(settings: AppSettings, port: int | None = None) -> Iterator[str]:
    """Serve as `acgan serve` does, in a thread. Yields the address."""
    port = port or free_port()
    server = Server(create_app(settings), port=port)
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        until("the server listens", lambda: server.started)
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        thread.join()


def until(what: str, true: Callable[[], bool], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, f"{what}: not within {seconds} s"
        time.sleep(0.02)


class ServerEvent(NamedTuple):
    """One server-sent event."""

    id: str
    kind: str
    data: Any


def read_events(answer: httpx2.Response) -> Iterator[ServerEvent]:
    """Read a stream of server-sent events to its end."""
    fields: dict[str, str] = {}
    for line in answer.iter_lines():
        name, _, value = line.partition(": ")
        if name:
            fields[name] = value
        elif "event" in fields:
            yield ServerEvent(fields["id"], fields["event"], json.loads(fields["data"]))
            fields = {}


@contextmanager
def following(address: str, job_id: str, last_id: str | None = None, **options: Any) -> Iterator[Iterator[ServerEvent]]:
    """Follow a job's events over a new connection. Yields none if the job cannot be followed."""
    headers = {"Last-Event-ID": last_id} if last_id else {}
    transport = httpx2.HTTPTransport(**options)
    with (
        httpx2.Client(base_url=address, timeout=60, transport=transport) as client,
        client.stream("GET", f"/jobs/{job_id}/events", headers=headers) as answer,
    ):
        yield read_events(answer.raise_for_status())
