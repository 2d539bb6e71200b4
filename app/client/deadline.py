"""Total time limits for answers. httpx2 limits single reads only, so that a server that sends slowly is never late."""

import time
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import asynccontextmanager, contextmanager
from contextvars import ContextVar
from typing import Any

import anyio
import httpcore2
import httpx2

LONGEST_HEAD_SECONDS = 600.0  # for a client without a timeout

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
                raise httpcore2.ReadTimeout("the answer takes too long")
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


def limit_reads(client: httpx2.Client) -> None:
    """Let `reads_within` limit the reads of a client, directly and through a proxy. httpx2 has no public way."""
    transports: Iterable[Any] = (client._transport, *client._mounts.values())
    for transport in transports:
        pool = getattr(transport, "_pool", None)
        if pool is not None:
            pool._network_backend = LimitedBackend(pool._network_backend)


@contextmanager
def reads_within(seconds: float) -> Iterator[None]:
    """All reads of this thread end within `seconds`: then they raise ReadTimeout."""
    token = _ends.set(time.monotonic() + seconds)
    try:
        yield
    finally:
        _ends.reset(token)


@asynccontextmanager
async def async_reads_within(seconds: float) -> AsyncIterator[None]:
    """The same for a task. Raises ReadTimeout."""
    try:
        with anyio.fail_after(seconds):
            yield
    except TimeoutError as error:
        raise httpx2.ReadTimeout("the answer takes too long") from error


def head_seconds(request: httpx2.Request) -> float:
    """Return the time limit from the connection to the last byte of the answer's head."""
    seconds = request.extensions.get("timeout", {}).get("read")
    return LONGEST_HEAD_SECONDS if seconds is None else 2 * float(seconds)


@contextmanager
def stream(client: httpx2.Client, method: str, path: str, **options: Any) -> Iterator[httpx2.Response]:
    """Send a request. Yields the response, whose body is still to be read. Raises HTTPError."""
    timeout = options.pop("timeout", httpx2.USE_CLIENT_DEFAULT)
    request = client.build_request(method, path, timeout=timeout, **options)
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
    """Send a request. Yields the response, whose body is still to be read. Raises HTTPError."""
    timeout = options.pop("timeout", httpx2.USE_CLIENT_DEFAULT)
    request = client.build_request(method, path, timeout=timeout, **options)
    async with async_reads_within(head_seconds(request)):
        response = await client.send(request, stream=True)
    try:
        yield response
    finally:
        await response.aclose()
