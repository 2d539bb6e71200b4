"""A flag that signal handlers set."""

import time

POLL_SECONDS = 0.1


class SignalFlag:
    """Like threading.Event, but without a lock.

    Python runs a signal handler in the main thread, between any two instructions, also between those of another
    handler. If both took the lock of an Event, the second would wait for ever for the first.
    """

    def __init__(self) -> None:
        self._is_set = False

    def set(self) -> None:
        self._is_set = True

    def clear(self) -> None:
        self._is_set = False

    def is_set(self) -> bool:
        return self._is_set

    def wait(self, seconds: float) -> bool:
        """Wait until the flag is set, for `seconds` at most. Returns whether it is set."""
        until = time.monotonic() + seconds
        while not self._is_set and (left := until - time.monotonic()) > 0:
            time.sleep(min(POLL_SECONDS, left))
        return self._is_set
