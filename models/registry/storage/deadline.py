"""A time limit for reads: a hanging disk or network mount blocks one thread, not the caller."""

import threading
import time
from collections.abc import Callable
from typing import Any, TypeVar

from models.registry.storage.background_call import BackgroundCall
from models.registry.storage.base import Unreachable

Result = TypeVar("Result")

READ_SECONDS = 30.0
SLOW_SECONDS = 5.0  # a read that takes longer counts as hanging
MOST_HANGING = 32  # threads; further reads fail at once


def ignore(_result: object) -> None:
    """Do nothing with a result that arrives late: it is in memory only."""


class Deadline:
    """Runs each call on a daemon thread with a time limit in seconds."""

    def __init__(self, seconds: float = READ_SECONDS, slow_seconds: float = SLOW_SECONDS) -> None:
        self.seconds = seconds
        self.slow_seconds = slow_seconds
        self._reads: list[tuple[float, BackgroundCall[Any]]] = []  # those in flight, with the time of their start
        self._lock = threading.Lock()

    def __call__(
        self, trouble: str, call: Callable[[], Result], discard: Callable[[Result], object] = ignore
    ) -> Result:
        """Return the result of `call`. Raises what it raises, and Unreachable after the time limit.

        Raises Unreachable at once if many reads hang: not if many are in flight and fast. A result that arrives after
        the time limit is passed to `discard`, which frees what the call has opened.
        """
        with self._lock:
            self._reads = [(began, each) for began, each in self._reads if not each.is_over()]
            slow = time.monotonic() - min(self.slow_seconds, self.seconds)
            if sum(began <= slow for began, _ in self._reads) >= MOST_HANGING:
                raise Unreachable(f"{trouble}: {MOST_HANGING} earlier reads of this store still hang")
            read = BackgroundCall(call, discard, "store read")
            entry = time.monotonic(), read
            self._reads.append(entry)
        if not read.wait(self.seconds) and read.leave():
            raise Unreachable(f"{trouble}: the store did not answer within {self.seconds:g} s")
        with self._lock:  # frees the memory of the result
            self._reads = [each for each in self._reads if each is not entry]
        return read.result()
