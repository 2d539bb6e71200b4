"""Load generator for a server on this machine: raw HTTP/1.1 over persistent sockets, as cheap as asyncio permits.

A closed loop keeps a fixed number of requests in flight. An open loop sends at a constant rate, independent of the
responses, and counts a response's time from the moment when its request was due, so a stalled server is noticed.
"""

import asyncio
import gc
import math
import re
import time
from abc import ABC, abstractmethod
from collections import Counter, deque
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import dataclass, field
from itertools import cycle
from typing import Any, NamedTuple, TypeVar, cast

import uvloop

T = TypeVar("T")

CHECKED = 16  # one picture in this number is checked
REJECTIONS = (429, 503)
PATIENCE_SECONDS = 30.0
LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)


class Ask(NamedTuple):
    """The requests, sent in turn, and the expected response."""

    requests: tuple[bytes, ...]
    status: int = 200
    picture: tuple[int, int] | None = None  # width and height of the PNG


@dataclass
class Tally:
    """The responses of one measurement."""

    seconds: float = 0.0
    server_cpu: float = 0.0
    client_cpu: float = 0.0
    accepted: list[float] = field(default_factory=list)  # seconds each
    rejected: list[float] = field(default_factory=list)
    errors: Counter[str] = field(default_factory=Counter)


def percentile(times: list[float], share: float) -> float:
    """Return the smallest time that this share of the times does not exceed."""
    return sorted(times)[max(0, math.ceil(share * len(times)) - 1)] if times else math.nan


class Connection(asyncio.Protocol):
    """One socket with at most one request in flight."""

    def __init__(self, driver: "Driver") -> None:
        self.driver = driver
        self.due: float | None = None  # when the request in flight was due
        self.buffer = bytearray()
        self.end = 0  # end of the response, once its head is known
        self.body = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)

    def send(self, request: bytes, due: float) -> None:
        self.due = due
        self.transport.write(request)

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        if not self.end:
            head = self.buffer.find(b"\r\n\r\n")
            if head < 0:
                return
            length = LENGTH.search(self.buffer, 0, head)
            self.body = head + 4
            self.end = self.body + (int(length[1]) if length else 0)
        if len(self.buffer) >= self.end and self.due is not None:
            answer, due = bytes(self.buffer[: self.end]), self.due
            self.buffer.clear()
            self.end, self.due = 0, None
            self.driver.answered(self, due, int(answer[9:12]), answer[self.body :])

    def connection_lost(self, error: Exception | None) -> None:
        self.driver.lost(self)


class Driver(ABC):
    """Sends the requests over its connections, and counts the responses."""

    def __init__(self, port: int, ask: Ask) -> None:
        self.port = port
        self.ask = ask
        self.requests: Iterator[bytes] = cycle(ask.requests)
        self.tally = Tally()
        self.connections: set[Connection] = set()
        self.pending: set[asyncio.Task[None]] = set()
        self.done = asyncio.get_running_loop().create_future()
        self.seen = 0
        self.closing = False

    async def connect(self, count: int) -> None:
        for _ in range(count):
            await self.open()

    async def open(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            _, connection = await loop.create_connection(lambda: Connection(self), "127.0.0.1", self.port)
        except OSError as error:
            self.tally.errors[type(error).__name__] += 1
            await asyncio.sleep(0.1)
            return await self.open() if not self.closing else None
        self.connections.add(connection)
        return self.ready(connection)

    @abstractmethod
    def ready(self, connection: Connection) -> None:
        """Use a connection that has no request in flight."""

    def answered(self, connection: Connection, due: float, status: int, body: bytes) -> None:
        took = time.perf_counter() - due
        self.seen += 1
        if status == self.ask.status:
            if self.ask.picture and self.seen % CHECKED == 1 and picture_size(body) != self.ask.picture:
                self.tally.errors["not the picture"] += 1
            self.tally.accepted.append(took)
        elif status in REJECTIONS:
            self.tally.rejected.append(took)
        else:
            self.tally.errors[f"status {status}"] += 1
        self.ready(connection)

    def lost(self, connection: Connection) -> None:
        self.connections.discard(connection)
        if self.closing:
            return
        if connection.due is not None:
            self.tally.errors["connection lost"] += 1
        task = asyncio.ensure_future(self.open())
        self.pending.add(task)
        task.add_done_callback(self.pending.discard)

    async def close(self) -> None:
        self.closing = True
        for task in self.pending:
            task.cancel()
        for connection in list(self.connections):
            connection.transport.abort()
        while self.connections:
            await asyncio.sleep(0)


def picture_size(body: bytes) -> tuple[int, int] | None:
    """Return width and height of a PNG; None if it has no valid beginning and end."""
    if body[:8] != b"\x89PNG\r\n\x1a\n" or body[-8:-4] != b"IEND":
        return None
    return int.from_bytes(body[16:20], "big"), int.from_bytes(body[20:24], "big")


# ----------------------------------------------------------------------------
# Closed loop: the next request is sent after a response.


class Closed(Driver):
    """Ends at a given time, or after a number of responses."""

    limit = math.inf
    stopped = False

    def ready(self, connection: Connection) -> None:
        if self.limit > 0 and not self.stopped:
            self.limit -= 1
            connection.send(next(self.requests), time.perf_counter())
        elif not self.stopped and all(one.due is None for one in self.connections) and not self.done.done():
            self.done.set_result(None)


Meter = Callable[[], float]


async def closed_loop(port: int, ask: Ask, connections: int, seconds: float, warm_up: float, meter: Meter) -> Tally:
    """Keep `connections` requests in flight; count the responses in `seconds` after the warm-up."""
    driver = Closed(port, ask)
    await driver.connect(connections)
    await asyncio.sleep(warm_up)
    tally = driver.tally = Tally(errors=driver.tally.errors)
    with measuring(tally, meter):
        await asyncio.sleep(seconds)
    driver.tally, driver.stopped = Tally(), True
    await driver.close()
    return tally


async def burst(port: int, ask: Ask, connections: int, total: int, meter: Meter) -> Tally:
    """Send `total` requests as fast as possible over `connections` sockets that are opened before."""
    driver = Closed(port, ask)
    driver.limit = 0
    await driver.connect(connections)
    driver.done = asyncio.get_running_loop().create_future()
    driver.limit = total
    with measuring(driver.tally, meter):
        for connection in list(driver.connections):
            driver.ready(connection)
        await driver.done
    await driver.close()
    return driver.tally


# ----------------------------------------------------------------------------
# Open loop: each request is sent when it is due.


class Open(Driver):
    def __init__(self, port: int, ask: Ask) -> None:
        super().__init__(port, ask)
        self.free: deque[Connection] = deque()
        self.waiting: deque[float] = deque()

    def ready(self, connection: Connection) -> None:
        if self.waiting:
            connection.send(next(self.requests), self.waiting.popleft())
        else:
            self.free.append(connection)

    def lost(self, connection: Connection) -> None:
        if connection in self.free:
            self.free.remove(connection)
        super().lost(connection)

    def fall_due(self, due: float) -> None:
        if self.free:
            self.free.popleft().send(next(self.requests), due)
        else:
            self.waiting.append(due)

    @property
    def unanswered(self) -> int:
        return len(self.waiting) + sum(connection.due is not None for connection in self.connections)


async def open_loop(port: int, ask: Ask, connections: int, rate: float, seconds: float, meter: Meter) -> Tally:
    """Send `rate` requests per second for `seconds` over `connections`; a request without a response is an error."""
    driver, total, sent = Open(port, ask), int(rate * seconds), 0
    await driver.connect(connections)
    with measuring(driver.tally, meter):
        started = time.perf_counter()
        while sent < total:
            now = time.perf_counter()
            while sent < total and started + sent / rate <= now:
                driver.fall_due(started + sent / rate)
                sent += 1
            await asyncio.sleep(max(0.0, started + sent / rate - time.perf_counter()))
        deadline = time.perf_counter() + PATIENCE_SECONDS
        while driver.unanswered and time.perf_counter() < deadline:
            await asyncio.sleep(0.005)
    if driver.unanswered:
        driver.tally.errors["unanswered"] += driver.unanswered
    await driver.close()
    return driver.tally


class measuring:  # noqa: N801
    """Store the duration of the block and the processor time of server and client in a tally."""

    def __init__(self, tally: Tally, meter: Meter) -> None:
        self.tally, self.meter = tally, meter

    def __enter__(self) -> None:
        gc.collect()
        self.before = (time.perf_counter(), self.meter(), time.process_time())

    def __exit__(self, *_: object) -> None:
        seconds, server, client = self.before
        self.tally.seconds = time.perf_counter() - seconds
        self.tally.server_cpu = self.meter() - server
        self.tally.client_cpu = time.process_time() - client


def run(measurement: Coroutine[Any, Any, T]) -> T:
    """Run a measurement on the fastest available event loop."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(measurement)
