"""Rate limits: a sliding window for each caller, counted in this process or in Redis for all processes."""

import math
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Any, NamedTuple

import redis.asyncio
from limits import RateLimitItem
from limits.aio.storage import RedisStorage
from limits.aio.strategies import SlidingWindowCounterRateLimiter
from limits.limits import GRANULARITIES

from app.security.frequency import read_frequency
from models.errors import Unavailable
from worker.jobs.errors import store_errors
from worker.jobs.keys import RATES

LONGEST_WAIT = 120  # the largest Retry-After, in seconds
CALLERS = 10_000  # counted in one process; beyond them, the least recent one is forgotten


class TooFast(Unavailable, code="rate-limited"):
    """The caller exceeded its rate limit."""

    retry_after: int

    def __init__(self, rate: RateLimitItem, seconds: float) -> None:
        self.retry_after = min(math.floor(seconds) + 1, LONGEST_WAIT)
        period = rate.GRANULARITY.name if rate.multiples == 1 else f"{rate.multiples} {rate.GRANULARITY.name}s"
        super().__init__(f"{rate.amount} such requests per {period} are allowed: retry in {self.retry_after} seconds")
        self.headers = rate_headers(rate, 0, seconds)


def rate_headers(rate: RateLimitItem, remaining: int, seconds: float) -> dict[str, str]:
    """Return the headers of draft-ietf-httpapi-ratelimit-headers: `remaining` requests for the next `seconds`."""
    return {
        "RateLimit-Policy": f'"default";q={rate.amount};w={rate.get_expiry()}',
        "RateLimit": f'"default";r={max(remaining, 0)};t={math.ceil(max(seconds, 0))}',
    }


def read_rate(text: str) -> RateLimitItem | None:
    """Parse `60/minute`, `5/10seconds` or `off`. Raises ValueError."""
    wanted = read_frequency(text)
    return GRANULARITIES[wanted.unit](wanted.amount, wanted.multiples) if wanted else None


class Window(NamedTuple):
    """The number of requests in the previous and the current window, and the seconds until each expires."""

    previous: int
    previous_left: float
    current: int
    current_left: float

    def wait(self, rate: RateLimitItem) -> float:
        """Return the seconds until the next request is allowed; 0 if it is allowed now."""
        seconds, room = rate.get_expiry(), rate.amount - self.current
        if room > 0:
            return max(0.0, self.previous_left - room * seconds / self.previous) if self.previous else 0.0
        return self.current_left + seconds - rate.amount * seconds / self.current


class LocalRate:
    """A rate limit counted in this process.

    The in-memory storage of the library `limits` iterates over all callers on each request: 5 ms with 20,000 callers.
    """

    def __init__(self, rate: RateLimitItem, clock: Callable[[], float] = time.monotonic) -> None:
        self.rate = rate
        self.seconds = rate.get_expiry()
        self.clock = clock
        self.counts: OrderedDict[str, tuple[int, int, int]] = OrderedDict()  # window, requests before it and in it

    def admit(self, caller: str) -> dict[str, str]:
        """Count a request and return its RateLimit headers. Raises TooFast."""
        now = self.clock()
        number = int(now // self.seconds)
        then, previous, current = self.counts.pop(caller, (number, 0, 0))
        if then < number:
            previous, current = (current if then == number - 1 else 0), 0
        left = self.seconds - now % self.seconds
        counted = int(previous * left / self.seconds) + current
        admitted = counted < self.rate.amount
        self.counts[caller] = (number, previous, current + admitted)
        if len(self.counts) > CALLERS:
            self.counts.popitem(last=False)
        if not admitted:
            raise TooFast(self.rate, Window(previous, left, current, left).wait(self.rate))
        return rate_headers(self.rate, self.rate.amount - counted - 1, left)


class SharedRate:
    """A rate limit counted in Redis, by the clock of Redis."""

    def __init__(self, rate: RateLimitItem, client: "redis.asyncio.Redis") -> None:
        self.rate = rate
        pool: Any = client.connection_pool
        self.storage = RedisStorage("redis://", implementation="redispy", key_prefix=RATES, connection_pool=pool)
        self.limiter = SlidingWindowCounterRateLimiter(self.storage)

    async def admit(self, caller: str) -> dict[str, str]:
        """Count a request and return its RateLimit headers. Raises TooFast, StoreUnavailable."""
        with store_errors():
            return await self._admit(caller)

    async def _admit(self, caller: str) -> dict[str, str]:
        if await self.limiter.hit(self.rate, caller):
            return await self._headers(caller)
        seconds = self.rate.get_expiry()
        previous, previous_left, current, left = await self.storage.get_sliding_window(
            self.rate.key_for(caller), seconds
        )
        if previous_left > seconds + 1 or left > 2 * seconds + 1:  # counted by a clock that was ahead
            await self.limiter.clear(self.rate, caller)
            await self.limiter.hit(self.rate, caller)
            return await self._headers(caller)
        raise TooFast(self.rate, Window(previous, previous_left, current, max(0.0, left - seconds)).wait(self.rate))

    async def _headers(self, caller: str) -> dict[str, str]:
        try:
            window = await self.limiter.get_window_stats(self.rate, caller)
        except redis.RedisError:  # the request was counted, so it is answered without the headers
            return {}
        return rate_headers(self.rate, window.remaining, window.reset_time - time.time())
