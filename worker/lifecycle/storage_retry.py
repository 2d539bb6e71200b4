"""Retries of storage operations: they wait for free space on the disk and for object storage to respond."""

import errno
import logging
from collections.abc import Callable
from functools import partial
from typing import TypeVar

from worker.jobs.consumer import JobConsumer
from worker.lifecycle import shutdown
from worker.lifecycle.lease import Lease
from worker.lifecycle.retry import pause, retry_until_stored

logger = logging.getLogger(__name__)

Result = TypeVar("Result")

DISK_FULL = (errno.ENOSPC, errno.EDQUOT)
DISK_SECONDS = 5.0  # between two attempts


class StorageRetrier:
    """Retries a storage operation until it succeeds, the lease is lost or the job is cancelled.

    Meanwhile the job's `trouble` gives the reason.
    """

    def __init__(self, consumer: JobConsumer, lease: Lease) -> None:
        self.consumer = consumer
        self.lease = lease

    def check(self) -> None:
        """Raises LeaseLost, Cancelled, Interrupted."""
        self.lease.check()
        shutdown.check()

    def __call__(self, what: str, step: Callable[[], Result]) -> Result:
        """Run `step`. `what` is the effect of a failure, for `trouble`. Raises what `check` raises; other OSErrors."""
        claim, waited = self.lease.claim, False
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
                logger.error("job %s: %s (%s)", claim.job.id, trouble, error)
            waited = True
            retry_until_stored(partial(self.consumer.set_trouble, claim, trouble), self.check)
            pause(DISK_SECONDS, self.check)
        if waited:
            retry_until_stored(partial(self.consumer.set_trouble, claim, ""), self.check)
        return done
