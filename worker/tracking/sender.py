"""Sends epochs to one tracker on a thread of its own: a tracker that is down, slow or broken delays nothing else."""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import NamedTuple

from models.bounded_reading import printable
from worker.observability.background_loops import Beat, Supervisor
from worker.observability.redaction import mask
from worker.tracking.tracker import UNFINISHED, Outcome, TrackedEpoch, Tracker

logger = logging.getLogger(__name__)

PICTURES = 16  # that wait at most; the oldest is dropped first
EPOCHS = 1000  # whose figures wait at most; a run has no more
FIRST_PAUSE_SECONDS, LONGEST_PAUSE_SECONDS = 1.0, 30.0  # after a failure; doubled for each further one
IDLE_SECONDS = 5.0  # between two signs of life of a thread that waits
MESSAGE_LIMIT = 300  # characters

Connect = Callable[[int], Tracker]


class Shortfall(NamedTuple):
    """What a tracker did not receive."""

    what: str  # a sentence, without addresses
    reason: str  # may name the address of a server, without its password


class TrackerSender:
    """A queue of epochs and the thread that empties it. `put` never waits."""

    def __init__(self, name: str, connect: Connect, first_epoch: int, supervisor: Supervisor) -> None:
        """`connect` opens the tracker's run for figures that begin with the epoch that it is called with."""
        self.name = name
        self.connect = connect
        self.next_epoch = first_epoch  # whose figures the tracker does not have
        self.tracker: Tracker | None = None
        self.waiting: deque[TrackedEpoch] = deque()
        self.lost_figures: list[int] = []
        self.lost_pictures: list[int] = []
        self.error: str | None = None  # the last one
        self.outcome: Outcome | None = None  # set when the run has ended
        self.is_ended = False  # whether the tracker has everything
        self.is_abandoned = False  # whether the run no longer waits for the thread
        self._changed = threading.Condition()
        self._thread = supervisor.start_thread(f"tracker {name}", self._run)

    def put(self, epoch: TrackedEpoch) -> None:
        """Add an epoch. If too many wait, the oldest picture is dropped, and then the oldest figures."""
        with self._changed:
            self.waiting.append(epoch)
            pictures = [each for each in self.waiting if each.picture is not None]
            if len(pictures) > PICTURES:
                pictures[0].picture = None
                self.lost_pictures.append(pictures[0].epoch)
            if len(self.waiting) > EPOCHS:
                self.lost_figures.append(self.waiting.popleft().epoch)
            self._changed.notify()

    def end(self, outcome: Outcome) -> None:
        """Announce the end of the run: the thread sends what waits, and ends."""
        with self._changed:
            self.outcome = outcome
            self._changed.notify()

    def join(self, deadline: float) -> Shortfall | None:
        """Wait until everything is sent, at most until `deadline` (monotonic). Returns what is missing, if anything.

        After the deadline the thread ends as soon as its current call returns. If only the end of a run is missing and
        the run may continue, this is logged, and None is returned.
        """
        self._thread.join(max(0.0, deadline - time.monotonic()))
        with self._changed:
            self.is_abandoned = True
            missing = [*self.lost_figures, *(each.epoch for each in self.waiting if not each.is_sent)]
            pictures = [*self.lost_pictures, *(each.epoch for each in self.waiting if each.picture is not None)]
            is_alive = self._thread.is_alive()
        if missing:
            what = f"did not receive the figures of {epochs(missing)}"
        elif pictures:
            what = f"did not receive the pictures of {epochs(pictures)}"
        elif not self.is_ended:
            what = "did not record the end of the run"
        else:
            return None
        reason = self.error or ("it does not respond" if is_alive else "it was too slow")
        shortfall = Shortfall(f"the tracker {self.name} {what}", reason)
        if not (missing or pictures) and self.outcome in UNFINISHED:
            logger.info("%s: %s", *shortfall)
            return None
        return shortfall

    def _run(self, beat: Beat) -> None:
        pause = FIRST_PAUSE_SECONDS
        while not (self.is_ended or self.is_abandoned):
            try:
                self._step(beat)
                pause = FIRST_PAUSE_SECONDS
            except Exception as error:
                self.tracker = None
                self._failed(error)
                if self.outcome is not None:  # this was the last attempt
                    return
                beat(f"it failed ({type(error).__name__}): the log has the reason")  # probes show it: no address
                self._wait_for_end(pause)
                pause = min(2 * pause, LONGEST_PAUSE_SECONDS)

    def _step(self, beat: Beat) -> None:
        """Connect if needed, wait for the next epoch or the end of the run, and send it. Raises what trackers raise."""
        if self.tracker is None:
            self.tracker = self.connect(self.next_epoch)
        with self._changed:
            while not self.waiting and self.outcome is None:
                beat()
                self._changed.wait(IDLE_SECONDS)
            epoch = self.waiting[0] if self.waiting else None
        if self.is_abandoned:
            return
        if epoch is not None:
            self._send(self.tracker, epoch)
        elif self.outcome is not None:
            self.tracker.end(self.outcome)
            self.is_ended = True
        beat()

    def _send(self, tracker: Tracker, epoch: TrackedEpoch) -> None:
        if not epoch.is_sent:
            tracker.send_figures(epoch)
            epoch.is_sent, self.next_epoch = True, epoch.epoch + 1
        with self._changed:  # `put` does not drop a picture that is on its way
            picture, epoch.picture = epoch.picture, None
        if picture is not None:
            try:
                tracker.send_picture(epoch.epoch, picture)
            except Exception as error:  # figures matter more: a store that takes no files does not hold them up
                self._failed(error)
                self.lost_pictures.append(epoch.epoch)
        with self._changed:
            if self.waiting and self.waiting[0] is epoch:
                self.waiting.popleft()

    def _failed(self, error: Exception) -> None:
        cause = cause_of(error)
        message = printable(mask(f"{type(cause).__name__}: {cause}"))[:MESSAGE_LIMIT]
        if message != self.error:  # once for each reason
            logger.warning("the tracker %s failed, and the run continues: %s", self.name, message)
        self.error = message

    def _wait_for_end(self, seconds: float) -> None:
        with self._changed:
            self._changed.wait_for(lambda: self.outcome is not None, seconds)


def cause_of(error: BaseException) -> BaseException:
    """Return the first error of the network or the disk that led to this one; without one, the error itself."""
    cause, earlier = error, error.__cause__ or error.__context__
    while earlier is not None:
        cause = earlier if isinstance(earlier, OSError) else cause
        earlier = earlier.__cause__ or earlier.__context__
    return cause


def epochs(numbers: Sequence[int]) -> str:
    first, last = min(numbers), max(numbers)
    return f"epoch {first}" if first == last else f"{len(set(numbers))} epochs from {first} to {last}"
