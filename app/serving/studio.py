"""A thread for what takes longer than to draw a few digits: films, and digits of many generators."""

from collections.abc import Callable
from typing import TypeVar

import anyio
import anyio.to_thread

from app.serving.batcher import Busy

Made = TypeVar("Made")


class Studio:
    """Does one thing after the other. For one event loop."""

    def __init__(self, waiting: int) -> None:
        """So many may wait."""
        self.limit = waiting + 1
        self.asked = 0
        self._limiter = anyio.CapacityLimiter(1)

    async def make(self, work: Callable[[], Made]) -> Made:
        """Raises Busy where too many wait already, and what the work raises."""
        if self.asked >= self.limit:
            raise Busy("more films and strips are being asked for than can be made just now: ask again in a second")
        self.asked += 1
        try:
            return await anyio.to_thread.run_sync(work, limiter=self._limiter)
        finally:
            self.asked -= 1
