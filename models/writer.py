"""Files are written by a thread while training continues: one write at a time, and no failure is lost."""

import threading
from collections.abc import Callable
from contextvars import copy_context


class BackgroundWriter:
    """Runs one write at a time on a thread of its own. A context: leaving it waits for the last write.

    If a write fails, every later call raises what it raised, and nothing more is written. The same error is raised when
    the context is left, also if another error ends it.
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
        """Start a write as soon as the one before it has ended. Raises what an earlier one raised."""
        self.wait()
        # Log lines of the thread carry the fields that are bound here. A daemon does not keep a killed process alive.
        self._thread = threading.Thread(
            target=copy_context().run, args=(self._run, write), name="epoch-writer", daemon=True
        )
        self._thread.start()

    def check(self) -> None:
        """Raises what a write has raised, if one failed. Waits for nothing."""
        if self._error is not None:
            self.wait()

    def wait(self) -> None:
        """Wait until nothing is being written. Raises what a write raised, if one failed."""
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
