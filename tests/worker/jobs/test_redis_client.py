"""Connections that a network or proxy resets, as they do with idle connections."""

import asyncio
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

import pytest
import redis.asyncio
import uvloop
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from worker.jobs.client import JobClient

AT_ONCE = struct.pack("ii", 1, 0)  # SO_LINGER: closing the connection resets it


@asynccontextmanager
async def between(url: str) -> AsyncIterator[tuple[str, list[asyncio.StreamWriter]]]:
    """Forward bytes to Redis and back. Yields an address, and the clients' connections."""
    there, callers = urlsplit(url), list[asyncio.StreamWriter]()

    async def pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            writer.write(data)

    async def meet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        back, forth = await asyncio.open_connection(there.hostname, there.port)
        callers.append(writer)
        await asyncio.wait(
            [asyncio.ensure_future(pass_on(reader, forth)), asyncio.ensure_future(pass_on(back, writer))],
            return_when=asyncio.FIRST_COMPLETED,
        )
        forth.close()

    server = await asyncio.start_server(meet, "127.0.0.1", 0)
    try:
        yield f"redis://:{there.password}@127.0.0.1:{server.sockets[0].getsockname()[1]}/0", callers
    finally:
        server.close()


async def reset(callers: list[asyncio.StreamWriter]) -> None:
    for caller in callers:
        caller.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, AT_ONCE)
        caller.transport.abort()
    callers.clear()
    for _ in range(5):  # between two timers the loop reads from its sockets, however late it is
        await asyncio.sleep(0.01)


def test_a_connection_that_was_reset_loses_no_response(redis_url: str) -> None:
    async def ask() -> None:
        async with between(redis_url) as (url, callers):
            jobs = JobClient.connect(url)
            for _ in range(10):
                await jobs.ping()
                await reset(callers)
            await jobs.close()

    uvloop.run(ask())


def test_without_the_retry_a_reset_raises_an_undocumented_error(redis_url: str) -> None:
    async def ask() -> None:
        async with between(redis_url) as (url, callers):
            client = redis.asyncio.Redis.from_url(url, socket_timeout=1.0, retry=Retry(NoBackoff(), 1))
            await client.ping()
            await reset(callers)
            with pytest.raises(RuntimeError, match="the handler is closed"):
                await client.ping()
            await client.aclose()

    uvloop.run(ask())
