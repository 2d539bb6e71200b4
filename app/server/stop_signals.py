"""The signals that stop `acgan up`."""

import signal
import time

from worker.lifecycle.signal_flag import SignalFlag

HURRY_SECONDS = 1.0  # supervisors often signal twice at once


class StopSignals:
    """Signals that ask `acgan up` to stop; one that comes later than HURRY_SECONDS after the first asks to hurry."""

    def __init__(self) -> None:
        self.stopping = SignalFlag()
        self.hurry = SignalFlag()
        self._first = 0.0

    def listen(self) -> None:
        for sign in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(sign, lambda *_: self.note())

    def note(self) -> None:
        if not self.stopping.is_set():
            self._first = time.monotonic()
            self.stopping.set()
        elif time.monotonic() - self._first > HURRY_SECONDS:
            self.hurry.set()
