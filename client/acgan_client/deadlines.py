"""Total time limits for responses. httpx2 limits single reads only: a server that sends slowly is never too late."""

import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import asynccontextmanager, contextmanager
from contextvars import ContextVar
from typing import Any, TypeVar

import anyio
import anyio.to_thread
import httpcore2
import httpx2

Result = TypeVar("Result")

LONGEST_HEAD_SECONDS = 600.0  # for a client without a timeout
PIECE = 1 << 16  # bytes that are sent at once
LATE = "the response takes too long"

_ends: ContextVar[float | None] = ContextVar("ends", default=None)  # of time.monotonic(), for reads of this thread


class LimitedStream(httpcore2.NetworkStream):
    """A connection on which no read lasts beyond the end that `reads_within` sets."""

    def __init__(self, stream: httpcore2.NetworkStream) -> None:
        self._stream = stream

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        ends = _ends.get()
        if ends is not None:
            left = ends - time.monotonic()
            if left <= 0:
                raise httpcore2.ReadTimeout(LATE)
            timeout = left if timeout is None else min(timeout, left)
        return self._stream.read(max_bytes, timeout)

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._stream.write(buffer, timeout)

    def close(self) -> None:
        self._stream.close()

    def start_tls(self, *arguments: Any, **options: Any) -> httpcore2.NetworkStream:
        return LimitedStream(self._stream.start_tls(*arguments, **options))

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)


class LimitedBackend(httpcore2.NetworkBackend):
    def __init__(self, backend: httpcore2.NetworkBackend) -> None:
        self._backend = backend

    def connect_tcp(self, *arguments: Any, **options: Any) -> httpcore2.NetworkStream:
        return LimitedStream(self._backend.connect_tcp(*arguments, **options))

    def connect_unix_socket(self, *arguments: Any, **options: Any) -> httpcore2.NetworkStream:
        return LimitedStream(self._backend.connect_unix_socket(*arguments, **options))

    def sleep(self, seconds: float) -> None:
        self._backend.sleep(seconds)


def limit_reads(client: httpx2.Client | httpx2.AsyncClient) -> None:
    """Let `reads_within` limit the reads of a client, directly and through a proxy. httpx2 has no public way.

    An AsyncClient needs no change: a task can be cancelled while it reads.
    """
    if isinstance(client, httpx2.AsyncClient):
        return
    transports: Iterable[Any] = (client._transport, *client._mounts.values())
    for transport in transports:
        pool = getattr(transport, "_pool", None)
        if pool is not None:
            pool._network_backend = LimitedBackend(pool._network_backend)


class Deadline:
    """The end of a call with a total time limit. Without one, it never ends."""

    def __init__(self, seconds: float | None) -> None:
        self._ends = None if seconds is None else time.monotonic() + seconds

    @property
    def left(self) -> float | None:
        """The seconds that are left, at least 0; None without a limit."""
        return None if self._ends is None else max(0.0, self._ends - time.monotonic())

    def allows(self, pause: float) -> bool:
        """Return whether there is time after a pause of this length."""
        return self.left is None or self.left > pause


@contextmanager
def reads_within(seconds: float | None) -> Iterator[None]:
    """Limit the reads of this thread to `seconds` in total: later reads raise ReadTimeout. None sets no limit."""
    before = _ends.get()
    ends = [each for each in (before, None if seconds is None else time.monotonic() + seconds) if each is not None]
    token = _ends.set(min(ends, default=None))
    try:
        yield
    finally:
        _ends.reset(token)


@asynccontextmanager
async def async_reads_within(seconds: float | None) -> AsyncIterator[None]:
    """Limit the reads of a task to `seconds` in total. Raises ReadTimeout."""
    try:
        with anyio.fail_after(seconds):
            yield
    except TimeoutError as error:
        raise httpx2.ReadTimeout(LATE) from error


def head_seconds(request: httpx2.Request) -> float:
    """Return the time limit from the connection to the last byte of the response's head."""
    seconds = request.extensions.get("timeout", {}).get("read")
    return LONGEST_HEAD_SECONDS if seconds is None else 2 * float(seconds)


@contextmanager
def stream(client: httpx2.Client, method: str, path: str, **options: Any) -> Iterator[httpx2.Response]:
    """Send a request. Yields the response before its body is read. Raises HTTPError."""
    request = client.build_request(method, path, **options)
    with reads_within(head_seconds(request)):
        response = client.send(request, stream=True)
    try:
        yield response
    finally:
        response.close()


@asynccontextmanager
async def async_stream(
    client: httpx2.AsyncClient, method: str, path: str, **options: Any
) -> AsyncIterator[httpx2.Response]:
    """Send a request. Yields the response before its body is read. Raises HTTPError."""
    request = client.build_request(method, path, **options)
    async with async_reads_within(head_seconds(request)):
        response = await client.send(request, stream=True)
    try:
        yield response
    finally:
        await response.aclose()


def pieces(data: bytes) -> Iterator[bytes]:
    """Yield a body in pieces, each of which has a time limit of its own."""
    for start in range(0, len(data), PIECE):
        yield data[start : start + PIECE]


async def async_pieces(data: bytes) -> AsyncIterator[bytes]:
    for piece in pieces(data):
        yield piece


def run_blocking(work: Callable[[], Result]) -> Result:
    return work()


async def async_run_blocking(work: Callable[[], Result]) -> Result:
    """Run a function that takes a while, so that other tasks continue."""
    return await anyio.to_thread.run_sync(work)


def sleep(seconds: float) -> None:
    time.sleep(seconds)


async def async_sleep(seconds: float) -> None:
    await anyio.sleep(seconds)
