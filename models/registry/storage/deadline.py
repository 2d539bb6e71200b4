"""A time limit for reads: a hanging disk or network mount blocks one thread, not the caller."""

import threading
from collections.abc import Callable
from queue import Empty, SimpleQueue
from typing import TypeVar

from models.registry.storage.base import Unreachable

Result = TypeVar("Result")

READ_SECONDS = 30.0
MOST_HANGING = 32  # threads; further reads fail at once


def keep(_result: object) -> None:
    """Do nothing with a result that arrives late: the garbage collector frees it."""


class Deadline:
    """Runs each call on a daemon thread with a time limit in seconds."""

    def __init__(self, seconds: float = READ_SECONDS) -> None:
        self.seconds = seconds
        self._hanging = 0  # calls past their time limit that have not ended; healthy calls in flight do not count
        self._lock = threading.Lock()

    def __call__(self, trouble: str, call: Callable[[], Result], discard: Callable[[Result], object] = keep) -> Result:
        """Return the result of `call`. Raises what it raises, and Unreachable after the time limit.

        A result that arrives after the time limit is passed to `discard`, which frees what the call has opened.
        """
        if self._hanging >= MOST_HANGING:
            raise Unreachable(f"{trouble}: {MOST_HANGING} earlier reads of this store still hang")
        answers: SimpleQueue[tuple[Result | None, BaseException | None]] = SimpleQueue()
        is_late = False

        def run() -> None:
            result, error = None, None
            try:
                result = call()
            except BaseException as raised:
                error = raised
            with self._lock:
                if not is_late:
                    answers.put((result, error))
                    return
            try:
                if error is None:
                    discard(result)  # type: ignore[arg-type]
            finally:
                with self._lock:
                    self._hanging -= 1

        threading.Thread(target=run, name="store read", daemon=True).start()
        try:
            result, error = answers.get(timeout=self.seconds)
        except Empty:
            with self._lock:
                is_late = answers.empty()  # else the answer came just now
                self._hanging += is_late
            if is_late:
                raise Unreachable(f"{trouble}: the store did not answer within {self.seconds:g} s") from None
            result, error = answers.get()
        if error is not None:
            raise error
        return result  # type: ignore[return-value]
