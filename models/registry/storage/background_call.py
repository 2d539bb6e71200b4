"""Calls of the storage on threads of their own: the caller need not wait until they end."""

import threading
from collections.abc import Callable
from contextlib import suppress
from contextvars import copy_context
from typing import Generic, TypeVar

from models.registry.storage.base import Unreachable

Result = TypeVar("Result")

CHECK_SECONDS = 1.0  # between two checks during a long call


class BackgroundCall(Generic[Result]):
    """A call on a daemon thread. Its caller waits for the result, or leaves it: then `discard` gets the result."""

    def __init__(self, call: Callable[[], Result], discard: Callable[[Result], object], name: str) -> None:
        self._lock = threading.Lock()
        self._over = threading.Event()
        self._is_left = False
        self._answer: tuple[Result | None, BaseException | None] = None, None
        # Log lines of the thread have the fields that are bound here.
        run = copy_context().run
        threading.Thread(target=run, args=(self._run, call, discard), name=name, daemon=True).start()

    def _run(self, call: Callable[[], Result], discard: Callable[[Result], object]) -> None:
        try:
            answer: tuple[Result | None, BaseException | None] = call(), None
        except BaseException as error:
            answer = None, error
        with self._lock:
            if not self._is_left:
                self._answer = answer
                self._over.set()
                return
        try:
            if answer[1] is None:
                discard(answer[0])  # type: ignore[arg-type]
        finally:
            self._over.set()

    def wait(self, seconds: float) -> bool:
        """Return whether the call ends within `seconds`."""
        return self._over.wait(seconds)

    def is_over(self) -> bool:
        return self._over.is_set()

    def leave(self) -> bool:
        """Let `discard` get the result, unless the call has ended. Returns whether it has not ended."""
        with self._lock:
            self._is_left = not self._over.is_set()
        return self._is_left

    def result(self) -> Result:
        """Return the result of a call that has ended. Raises what it has raised."""
        result, error = self._answer
        if error is not None:
            raise error
        return result  # type: ignore[return-value]


def watched(call: Callable[[], Result], check: Callable[[], object], discard: Callable[[Result], object]) -> Result:
    """Return the result of `call`. Raises what it raises.

    `check` is called before it and about once a second during it, and may end the wait by raising: the call then
    continues by itself, and `discard` gets its result. During the call Unreachable does not end the wait.
    """
    check()
    started = BackgroundCall(call, discard, "store write")
    try:
        while not started.wait(CHECK_SECONDS):
            with suppress(Unreachable):
                check()
    except BaseException:
        if not started.leave():
            with suppress(Exception):
                discard(started.result())
        raise
    return started.result()
