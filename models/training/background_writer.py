"""Writes files in a thread while training continues: one write at a time, and every failure is reported."""

import threading
from collections.abc import Callable
from contextvars import copy_context


class BackgroundWriter:
    """Context manager that runs one write at a time on a separate thread. Its exit waits for the last write.

    If a write fails, every later call raises its error and nothing more is written. The exit raises the same error,
    also if another error ends the context.
    """

    def __init__(self) -> None:
        self._thread: threading.Thread | None = None
        self._error: BaseException | None = None

    def __enter__(self) -> "BackgroundWriter":
        return self

    def __exit__(self, _type: object, error: BaseException | None, _traceback: object) -> None:
        self._join()
        if self._error is not None and self._error is not error:
            raise self._error

    def start(self, write: Callable[[], None]) -> None:
        """Wait for the previous write and start this one. Raises the error of an earlier write."""
        self.wait()
        # Log lines of the thread have the fields that are bound here. A daemon thread does not keep a process alive.
        self._thread = threading.Thread(
            target=copy_context().run, args=(self._run, write), name="epoch-writer", daemon=True
        )
        self._thread.start()

    def check(self) -> None:
        """Raise the error of a failed write, if there is one, without waiting for a running write."""
        if self._error is not None:
            self.wait()

    def wait(self) -> None:
        """Wait until the running write has ended. Raises the error of a failed write."""
        self._join()
        if self._error is not None:
            raise self._error

    def _join(self) -> None:
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    def _run(self, write: Callable[[], None]) -> None:
        try:
            write()
        except BaseException as error:
            self._error = error
