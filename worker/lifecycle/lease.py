"""The right to run a job for a limited time. A thread beside the training renews it and watches for cancellation.

A worker that gets no response from Redis for the length of its lease must assume that another worker runs the job, and
stops. It also stops if it has lost the job or makes no progress. Training stops at its next `check`; if that does not
happen within a second, the process ends.
"""

import logging
import os
import threading
from collections.abc import Callable

from worker.jobs.consumer import Claim, JobConsumer, LeaseLost, clock
from worker.jobs.errors import StoreUnavailable
from worker.jobs.model import JobStatus
from worker.observability import metrics
from worker.observability.background_loops import Beat, Supervisor

logger = logging.getLogger(__name__)

LISTEN_SECONDS = 1.0  # longest time between two renewals, and thus until a cancellation is detected
GRACE_SECONDS = 1.0
END_SECONDS = 10.0  # for the thread to end: a response of Redis takes less
STALLED_SECONDS = 900.0  # longest time without a check; an iteration and a checkpoint each take less
EXIT_CODE = 75  # EX_TEMPFAIL: the supervisor of the process starts a new one


class Cancelled(Exception):
    """The job was cancelled on request."""


class Lease:
    """A context manager; inside it, `check` raises if the job must stop. One process may hold one lease."""

    def __init__(
        self, consumer: JobConsumer, claim: Claim, seconds: float, end_process: Callable[[int], None] = os._exit
    ) -> None:
        self.consumer = consumer
        self.claim = claim
        self.seconds = seconds
        self.checked = clock()
        self.renewed = claim.asked_at or self.checked
        self.end_process = end_process
        self._cancelled = threading.Event()
        self._lost = threading.Event()
        self._over = threading.Event()
        self._ending = threading.Event()
        self._supervisor = Supervisor()
        self._thread: threading.Thread | None = None

    def __enter__(self) -> "Lease":
        if not self._renew():  # at once: after the first renewal a lost worker counts as lost
            self._lost.set()
        self._thread = self._supervisor.start_thread("lease", self._keep)
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._supervisor.stop()
        if self._thread is not None:
            self._thread.join(END_SECONDS)

    def check_held(self) -> None:
        """Raises LeaseLost if this worker no longer holds the job."""
        self.checked = clock()
        if self._lost.is_set() or self.checked - self.renewed > self.seconds:
            raise LeaseLost(self.claim.job.id)

    def check(self) -> None:
        """Raises LeaseLost if this worker no longer holds the job, and Cancelled if the job was cancelled."""
        self.check_held()
        if self._cancelled.is_set():
            raise Cancelled

    def begin_end(self) -> None:
        """From now on the job's end is recorded, in bounded time: that the job is lost no longer ends the process.

        The lease is lost at the end of the job. If the response to it was lost too, `check_held` raises LeaseLost.
        """
        self._ending.set()

    def _keep(self, beat: Beat) -> None:
        while not self._over.wait(min(LISTEN_SECONDS, self.seconds / 6)):
            beat()
            if clock() - self.checked > STALLED_SECONDS:
                logger.error("job %s has made no progress for %.0f s", self.claim.job.id, STALLED_SECONDS)
                break
            if not self._renew():
                break
        else:
            return
        self._lost.set()
        if not self._over.wait(GRACE_SECONDS) and not self._ending.is_set():
            logger.error("job %s is lost and its training does not stop: ending the process", self.claim.job.id)
            metrics.tell(metrics.LEASES_LOST)
            self.end_process(EXIT_CODE)

    def _renew(self) -> bool:
        """Renew the lease. Returns whether this worker may still hold it."""
        asked = clock()
        try:
            status = self.consumer.renew(self.claim, self.seconds)
        except LeaseLost:
            if not self._ending.is_set():
                logger.warning("job %s now belongs to another worker", self.claim.job.id)
            return False
        except Exception as error:  # usually StoreUnavailable; no error may end this thread unnoticed
            if not isinstance(error, StoreUnavailable):
                logger.exception("job %s: renewing the lease failed", self.claim.job.id)
            if clock() - self.renewed > self.seconds:
                logger.error("job %s: its lease expired without a response of Redis: %s", self.claim.job.id, error)
                return False
            return True
        self.renewed = asked  # the time before the call: the lease in Redis began later
        if status == JobStatus.CANCELLING:
            self._cancelled.set()
        return True
