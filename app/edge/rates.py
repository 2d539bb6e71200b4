"""How often a caller may ask: a window that slides, counted in this process or in Redis for all of them."""

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

from app.edge.frequency import read_frequency
from worker.keys import RATES

LONGEST_WAIT = 120  # seconds that anybody is told to wait
CALLERS = 10_000  # whom one process counts; beyond them, whoever was silent longest is counted anew


class TooFast(Exception):
    """This caller asked more often than it may."""

    def __init__(self, rate: RateLimitItem, seconds: float) -> None:
        self.retry_after = min(math.floor(seconds) + 1, LONGEST_WAIT)
        period = rate.GRANULARITY.name if rate.multiples == 1 else f"{rate.multiples} {rate.GRANULARITY.name}s"
        super().__init__(f"{rate.amount} such requests a {period} are allowed: ask again in {self.retry_after} seconds")


def read_rate(text: str) -> RateLimitItem | None:
    """Read `60/minute`, `5/10seconds` or `off`. Raises ValueError."""
    wanted = read_frequency(text)
    return GRANULARITIES[wanted.unit](wanted.amount, wanted.multiples) if wanted else None


class Window(NamedTuple):
    """What was asked in the window before this one and in this one, and how long each still counts, in seconds."""

    previous: int
    previous_left: float
    current: int
    current_left: float

    def wait(self, rate: RateLimitItem) -> float:
        """Seconds until one more is allowed, if none is asked before; 0 where it is now."""
        seconds, room = rate.get_expiry(), rate.amount - self.current
        if room > 0:
            return max(0.0, self.previous_left - room * seconds / self.previous) if self.previous else 0.0
        return self.current_left + seconds - rate.amount * seconds / self.current


class LocalRate:
    """Counted in this process.

    The library's own memory walks everybody it knows at each request: 5 ms where twenty thousand addresses ask.
    """

    def __init__(self, rate: RateLimitItem, clock: Callable[[], float] = time.monotonic) -> None:
        self.rate = rate
        self.seconds = rate.get_expiry()
        self.clock = clock
        self.counts: OrderedDict[str, tuple[int, int, int]] = OrderedDict()  # window, asked before it, asked in it

    def admit(self, caller: str) -> None:
        """Raises TooFast."""
        now = self.clock()
        number = int(now // self.seconds)
        then, previous, current = self.counts.pop(caller, (number, 0, 0))
        if then < number:
            previous, current = (current if then == number - 1 else 0), 0
        left = self.seconds - now % self.seconds
        admitted = int(previous * left / self.seconds) + current < self.rate.amount
        self.counts[caller] = (number, previous, current + admitted)
        if len(self.counts) > CALLERS:
            self.counts.popitem(last=False)
        if not admitted:
            raise TooFast(self.rate, Window(previous, left, current, left).wait(self.rate))


class SharedRate:
    """Counted in Redis, by its clock."""

    def __init__(self, rate: RateLimitItem, client: "redis.asyncio.Redis") -> None:
        self.rate = rate
        pool: Any = client.connection_pool
        self.storage = RedisStorage("redis://", implementation="redispy", key_prefix=RATES, connection_pool=pool)
        self.limiter = SlidingWindowCounterRateLimiter(self.storage)

    async def admit(self, caller: str) -> None:
        """Raises TooFast, RedisError."""
        if await self.limiter.hit(self.rate, caller):
            return
        seconds = self.rate.get_expiry()
        previous, previous_left, current, left = await self.storage.get_sliding_window(
            self.rate.key_for(caller), seconds
        )
        if previous_left > seconds + 1 or left > 2 * seconds + 1:  # counted by a clock that was ahead
            await self.limiter.clear(self.rate, caller)
            await self.limiter.hit(self.rate, caller)
            return
        raise TooFast(self.rate, Window(previous, previous_left, current, max(0.0, left - seconds)).wait(self.rate))
