"""A time limit for reads: a hanging disk or network mount blocks one thread, not the caller."""

import threading
from collections.abc import Callable
from queue import Empty, SimpleQueue
from typing import TypeVar

from models.registry.storage.base import Unreachable

Result = TypeVar("Result")

READ_SECONDS = 30.0
MOST_HANGING = 32  # threads; further reads fail at once


class Deadline:
    """Runs each call on a daemon thread with a time limit in seconds."""

    def __init__(self, seconds: float = READ_SECONDS) -> None:
        self.seconds = seconds
        self._hanging = 0
        self._lock = threading.Lock()

    def __call__(self, trouble: str, call: Callable[[], Result]) -> Result:
        """Return the result of `call`. Raises what it raises, and Unreachable after the time limit."""
        if self._hanging >= MOST_HANGING:
            raise Unreachable(f"{trouble}: {MOST_HANGING} earlier reads of this store still hang")
        answers: SimpleQueue[tuple[Result | None, BaseException | None]] = SimpleQueue()
        self._count(1)

        def run() -> None:
            try:
                answers.put((call(), None))
            except BaseException as error:
                answers.put((None, error))
            finally:
                self._count(-1)

        threading.Thread(target=run, name="store read", daemon=True).start()
        try:
            result, error = answers.get(timeout=self.seconds)
        except Empty:
            raise Unreachable(f"{trouble}: the store did not answer within {self.seconds:g} s") from None
        if error is not None:
            raise error
        return result  # type: ignore[return-value]

    def _count(self, change: int) -> None:
        with self._lock:
            self._hanging += change
