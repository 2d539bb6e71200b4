"""Connections to Redis. Those of asyncio raise the same error for a lost connection on every event loop."""

from collections.abc import Iterable, Mapping
from typing import Any

import redis
import redis.asyncio
from redis.backoff import NoBackoff
from redis.retry import Retry

from models.errors import Unavailable

ACCEPTS = 0.8  # of maxmemory: what remains is for the epochs, events and ends of jobs that are accepted


class UnsafeRedisConfig(Unavailable, code="redis-unsafe"):
    """This Redis may lose jobs. The message names the setting to change."""


class RedisNearlyFull(Unavailable, code="redis-nearly-full"):
    """Redis has memory left only for jobs that it has accepted."""


def check_memory(info: Mapping[str, Any]) -> None:
    """Raises UnsafeRedisConfig as check_eviction does, and RedisNearlyFull if more than `ACCEPTS` is used.

    `info` is the response to `INFO memory`.
    """
    check_eviction(info)
    if info.get("used_memory", 0) > ACCEPTS * info.get("maxmemory", 0) > 0:
        raise RedisNearlyFull(
            "Redis has used four fifths of its memory, and the rest is reserved for jobs that are accepted already: "
            "delete jobs that are not needed, or let the operator of the service raise maxmemory"
        )


def check_eviction(info: Mapping[str, object]) -> None:
    """Raises UnsafeRedisConfig if Redis is configured to delete any keys when its memory is full.

    `info` is the response to `INFO memory`.
    """
    policy = str(info.get("maxmemory_policy", ""))
    if policy.startswith("allkeys"):
        raise UnsafeRedisConfig(
            f"Redis may delete jobs when it is short of memory (maxmemory-policy {policy}): "
            "set maxmemory-policy to noeviction"
        )


def connect_client(url: str, seconds: float = 2.0) -> "redis.Redis":
    """Return a client without retries. It connects at the first call; a response may take `seconds`."""
    return redis.Redis.from_url(
        url,
        decode_responses=True,
        encoding_errors="surrogateescape",  # a key that is not UTF-8 is sent back unchanged
        socket_timeout=seconds,
        socket_connect_timeout=2.0,
        retry=Retry(NoBackoff(), 0),
    )


class _Heedful:
    """Converts the RuntimeError that uvloop raises if a connection was reset while it was idle.

    redis-py does not handle this error. redis.ConnectionError, which asyncio's event loop raises in this case, is
    retried or handled.
    """

    async def send_packed_command(self, command: bytes | str | Iterable[bytes], check_health: bool = True) -> None:
        above: Any = super()
        try:
            await above.send_packed_command(command, check_health)
        except RuntimeError as error:
            raise redis.ConnectionError(f"the connection was reset: {error}") from error


def connect_reader(url: str, seconds: float) -> "redis.asyncio.Redis":
    """Return a client for reads that block for less than `seconds`. It connects at the first call.

    Replaces bytes that are not UTF-8, so that one bad entry does not stop the reader.
    """
    client = redis.asyncio.Redis.from_url(url, decode_responses=True, encoding_errors="replace", socket_timeout=seconds)
    return heedful(client)


def heedful(client: "redis.asyncio.Redis") -> "redis.asyncio.Redis":
    """Let a client raise redis.ConnectionError for reset connections on every event loop. Returns the client.

    The client must not have connected yet.
    """
    pool: Any = client.connection_pool
    kind = pool.connection_class
    pool.connection_class = type(f"Heedful{kind.__name__}", (_Heedful, kind), {})
    return client
