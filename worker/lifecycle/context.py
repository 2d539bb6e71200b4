"""A claimed job, with everything that its handler needs."""

import errno
import logging
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

from models.records import Progress
from models.registry.store import CheckpointStore
from worker.celery_app import SendShard
from worker.jobs.consumer import Claim, JobConsumer
from worker.jobs.errors import StoreUnavailable
from worker.jobs.model import Job
from worker.lifecycle import shutdown
from worker.lifecycle.lease import Lease
from worker.lifecycle.retry import pause, retry_until_stored
from worker.observability import metrics
from worker.settings import WorkerSettings

logger = logging.getLogger(__name__)

Result = TypeVar("Result")

DISK_FULL = (errno.ENOSPC, errno.EDQUOT)
DISK_SECONDS = 5.0  # between two attempts


@dataclass(frozen=True)
class JobContext:
    jobs: JobConsumer
    lease: Lease
    storage: CheckpointStore
    settings: WorkerSettings
    send_shard: SendShard = lambda _: None  # asks another worker to draw a part of a data set
    note_error: Callable[[Exception], None] = lambda _: None  # called with the error that failed the job

    @property
    def claim(self) -> Claim:
        return self.lease.claim

    @property
    def job(self) -> Job:
        """The job as it was claimed."""
        return self.lease.claim.job

    def check(self) -> None:
        """Raises LeaseLost, Cancelled, Interrupted if the job must stop."""
        self.lease.check()
        shutdown.check()

    def record(self, write: Callable[[], None]) -> None:
        """Write to the job's record, and retry if Redis is unavailable. Raises what `check` raises."""
        retry_until_stored(write, self.check)

    def report_items(self, done: int, total: int, rate: float, left: float, is_more: bool = True) -> None:
        """Record the progress of a job that is no run: as one epoch whose iterations are its items.

        `rate` is items per second, `left` the seconds until the end. `is_more` is false if the record may already have
        a higher `done`. If Redis is unavailable, this is logged. Raises LeaseLost.
        """
        progress = Progress(
            epoch=1, epochs=1, batch=done, batches=total, images_per_second=round(rate, 1), eta_seconds=left
        )
        try:
            if is_more:
                self.jobs.saved(self.claim, 1, done)
            self.jobs.report(self.claim, progress)
        except StoreUnavailable as error:  # not a reason to fail the job
            logger.warning("job %s: its progress could not be recorded: %s", self.job.id, error)

    def retry_storage(self, what: str, step: Callable[[], Result]) -> Result:
        """Retry a step that uses the storage until it succeeds: it waits for space on the disk, and for a response.

        Meanwhile the job's `trouble` gives the reason; `what` is the effect of a failure. A reason that stays the same
        is logged and recorded once: the events of all jobs share a stream of limited length. Raises what `check`
        raises; other OSErrors.
        """
        trouble = ""
        try:
            while True:
                try:
                    done = step()
                    break
                except OSError as error:
                    if not (reason := reason_to_wait(what, error)):
                        raise
                    if is_new := reason != trouble:
                        logger.error("job %s: %s (%s)", self.job.id, reason, error)
                trouble = reason
                metrics.tell(metrics.WAITS_FOR_STORAGE, 1)  # each time, because one message may be lost
                if is_new:
                    self.record(partial(self.jobs.set_trouble, self.claim, trouble))
                pause(DISK_SECONDS, self.check)
        finally:
            if trouble:
                metrics.tell(metrics.WAITS_FOR_STORAGE, 0)
        if trouble:
            self.record(partial(self.jobs.set_trouble, self.claim, ""))
        return done


def reason_to_wait(what: str, error: OSError) -> str:
    """Return the `trouble` of a job that waits until the storage can be used; empty if waiting does not help."""
    if isinstance(error, TimeoutError):
        return f"{what}: {error}"
    return f"the disk is full: {what} until space is freed" if error.errno in DISK_FULL else ""
