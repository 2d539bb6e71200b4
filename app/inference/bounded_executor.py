"""A single thread with a bounded queue for slow work: animations, digits of many generators, searches."""

from collections.abc import Callable
from typing import TypeVar

import anyio
import anyio.to_thread

from app.inference.batcher import Busy

Made = TypeVar("Made")


class BoundedExecutor:
    """Runs one call at a time. Belongs to one event loop."""

    def __init__(self, waiting: int, what: str = "animations and strips") -> None:
        """`waiting` calls may wait for the one that runs; `what` names them in the message of Busy."""
        self.what = what
        self.limit = waiting + 1
        self.asked = 0
        self._limiter = anyio.CapacityLimiter(1)

    async def make(self, work: Callable[[], Made]) -> Made:
        """Return the result of `work`. Raises Busy if too many calls wait, and any error of `work`."""
        if self.asked >= self.limit:
            raise Busy(f"the service is overloaded with requests for {self.what}: retry after 1 second")
        self.asked += 1
        try:
            return await anyio.to_thread.run_sync(work, limiter=self._limiter)
        finally:
            self.asked -= 1
