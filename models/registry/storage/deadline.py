"""A time limit for reads: a hanging disk or network mount blocks one thread, not the caller."""

import threading
from collections.abc import Callable
from typing import Any, TypeVar

from models.registry.storage.background_call import BackgroundCall
from models.registry.storage.base import Unreachable

Result = TypeVar("Result")

READ_SECONDS = 30.0
MOST_HANGING = 32  # threads; further reads fail at once


def keep(_result: object) -> None:
    """Do nothing with a result that arrives late: it is in memory only."""


class Deadline:
    """Runs each call on a daemon thread with a time limit in seconds."""

    def __init__(self, seconds: float = READ_SECONDS) -> None:
        self.seconds = seconds
        self._hanging: list[BackgroundCall[Any]] = []  # past their time limit; healthy calls in flight do not count
        self._lock = threading.Lock()

    def __call__(self, trouble: str, call: Callable[[], Result], discard: Callable[[Result], object] = keep) -> Result:
        """Return the result of `call`. Raises what it raises, and Unreachable after the time limit.

        A result that arrives after the time limit is passed to `discard`, which frees what the call has opened.
        """
        with self._lock:
            self._hanging = [each for each in self._hanging if not each.is_over()]
            if len(self._hanging) >= MOST_HANGING:
                raise Unreachable(f"{trouble}: {MOST_HANGING} earlier reads of this store still hang")
        read = BackgroundCall(call, discard, "store read")
        if not read.wait(self.seconds) and read.leave():
            with self._lock:
                self._hanging.append(read)
            raise Unreachable(f"{trouble}: the store did not answer within {self.seconds:g} s")
        return read.result()
