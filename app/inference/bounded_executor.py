"""Threads with a bounded queue for slow work: animations, digits of many generators, searches, large sheets."""

from collections.abc import Callable
from typing import TypeVar

import anyio
import anyio.to_thread

from app.inference.batcher import Busy

Made = TypeVar("Made")


class BoundedExecutor:
    """Runs `at_once` calls at a time. Belongs to one event loop."""

    def __init__(self, waiting: int, what: str = "animations and strips", at_once: int = 1) -> None:
        """`waiting` calls may wait for those that run; `what` names them in the message of Busy."""
        self.what = what
        self.limit = waiting + at_once
        self.asked = 0
        self._limiter = anyio.CapacityLimiter(at_once)

    async def make(self, work: Callable[[], Made]) -> Made:
        """Return the result of `work`. Raises Busy if too many calls wait, and any error of `work`."""
        if self.asked >= self.limit:
            raise Busy(f"the service is overloaded with requests for {self.what}: retry after 1 second")
        self.asked += 1
        try:
            return await anyio.to_thread.run_sync(work, limiter=self._limiter)
        finally:
            self.asked -= 1
