"""Connections to Redis over asyncio, for event loops that say differently that a connection is gone."""

from collections.abc import Iterable
from typing import Any

import redis
import redis.asyncio


class _Heedful:
    """uvloop raises RuntimeError where a connection was reset while nobody used it, which redis-py lets through.

    As redis.ConnectionError it is what it would be from asyncio's own loop: tried again, or known for what it is.
    """

    async def send_packed_command(self, command: bytes | str | Iterable[bytes], check_health: bool = True) -> None:
        above: Any = super()
        try:
            await above.send_packed_command(command, check_health)
        except RuntimeError as error:
            raise redis.ConnectionError(f"the connection was reset: {error}") from error


def heedful(client: "redis.asyncio.Redis") -> "redis.asyncio.Redis":
    """Let a client that has not connected yet be told of reset connections, whatever loop runs it. Returns it."""
    pool: Any = client.connection_pool
    kind = pool.connection_class
    pool.connection_class = type(f"Heedful{kind.__name__}", (_Heedful, kind), {})
    return client
