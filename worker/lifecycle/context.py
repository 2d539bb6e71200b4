"""A claimed job, with everything that its handler needs."""

import errno
import logging
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

from models.registry.store import CheckpointStore
from worker.celery_app import SendShard
from worker.jobs.consumer import Claim, JobConsumer
from worker.jobs.model import Job
from worker.lifecycle import shutdown
from worker.lifecycle.lease import Lease
from worker.lifecycle.retry import pause, retry_until_stored
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

    def retry_storage(self, what: str, step: Callable[[], Result]) -> Result:
        """Retry a step that uses the storage until it succeeds: it waits for space on the disk, and for a response.

        Meanwhile the job's `trouble` gives the reason; `what` is the effect of a failure. Raises what `check` raises;
        other OSErrors.
        """
        waited = False
        while True:
            try:
                done = step()
                break
            except OSError as error:
                trouble = f"the disk is full: {what} until space is freed" if error.errno in DISK_FULL else None
                if isinstance(error, TimeoutError):
                    trouble = f"{what}: {error}"
                if trouble is None:
                    raise
                logger.error("job %s: %s (%s)", self.job.id, trouble, error)
            waited = True
            self.record(partial(self.jobs.set_trouble, self.claim, trouble))
            pause(DISK_SECONDS, self.check)
        if waited:
            self.record(partial(self.jobs.set_trouble, self.claim, ""))
        return done
