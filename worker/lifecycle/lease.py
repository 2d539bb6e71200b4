"""The right to run a job, held as long as it is renewed: a thread beside the training renews it, and listens.

Who does not hear from Redis for as long as the lease lasts must believe that another runs the job by now, and stops. So
does who hears that it lost the job, and who makes no progress. Training stops at its next `check`; where that does not
come within a second, the process ends.
"""

import logging
import os
import threading
from collections.abc import Callable

import redis

from worker.jobs.consumer import Claim, JobBench, JobLost, clock
from worker.jobs.model import JobStatus
from worker.observability import metrics
from worker.observability.background_loops import Beat, Supervisor

logger = logging.getLogger(__name__)

LISTEN_SECONDS = 1.0  # how often, at least, the thread asks whether the job is wanted: what it takes to cancel one
GRACE_SECONDS = 1.0
END_SECONDS = 10.0  # for the thread to end: an answer of Redis takes less
STALLED_SECONDS = 900.0  # without a check: a download, an iteration and a checkpoint all take less
EXIT_CODE = 75  # EX_TEMPFAIL


class Cancelled(Exception):
    """Somebody asked for the job to end."""


class Lease:
    """A context: inside it, `check` says whether to go on. One process may hold one lease."""

    def __init__(
        self, bench: JobBench, claim: Claim, seconds: float, end_process: Callable[[int], None] = os._exit
    ) -> None:
        self.bench = bench
        self.claim = claim
        self.seconds = seconds
        self.checked = clock()
        self.renewed = claim.asked_at or self.checked
        self.end_process = end_process
        self._cancelled = threading.Event()
        self._lost = threading.Event()
        self._over = threading.Event()
        self._supervisor = Supervisor()
        self._thread: threading.Thread | None = None

    def __enter__(self) -> "Lease":
        if not self._renew():  # at once: from here on a worker that is lost counts as lost
            self._lost.set()
        self._thread = self._supervisor.start_thread("lease", self._keep)
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._supervisor.stop()
        if self._thread is not None:
            self._thread.join(END_SECONDS)

    def check_held(self) -> None:
        """Raises JobLost where the job is no longer ours."""
        self.checked = clock()
        if self._lost.is_set() or self.checked - self.renewed > self.seconds:
            raise JobLost(self.claim.job.id)

    def check(self) -> None:
        """Raises JobLost where the job is no longer ours, and Cancelled where it is no longer wanted."""
        self.check_held()
        if self._cancelled.is_set():
            raise Cancelled

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
        if not self._over.wait(GRACE_SECONDS):
            logger.error("job %s is lost and its training does not stop: ending the process", self.claim.job.id)
            metrics.tell(metrics.LEASES_LOST)
            self.end_process(EXIT_CODE)

    def _renew(self) -> bool:
        """Renew the lease, and say whether it still holds."""
        asked = clock()
        try:
            status = self.bench.renew(self.claim, self.seconds)
        except JobLost:
            logger.warning("job %s belongs to somebody else now", self.claim.job.id)
            return False
        except Exception as error:  # RedisError usually; whatever it is, this thread must not end unnoticed
            if not isinstance(error, redis.RedisError):
                logger.exception("job %s: renewing the lease failed", self.claim.job.id)
            if clock() - self.renewed > self.seconds:
                logger.error("job %s: no word from Redis while the lease lasted: %s", self.claim.job.id, error)
                return False
            return True
        self.renewed = asked  # before the call: Redis began to count later
        if status == JobStatus.CANCELLING:
            self._cancelled.set()
        return True
