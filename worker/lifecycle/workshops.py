"""Unfinished work on this machine, if the store is a bucket: a folder for each job in `$ACGAN_HOME/workshops`.

The worker that ends a job deletes its unfinished work. If another machine has ended the job, or the job was deleted
there, the folder stays until a worker of this machine calls `clear_workshops`.
"""

import logging
import os
import shutil
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from models.atomic_files import clock_of
from worker.jobs.consumer import JobConsumer
from worker.jobs.model import JobStatus
from worker.settings import WorkerSettings

logger = logging.getLogger(__name__)

# Seconds without a change after which the work of a job with this status is deleted; None: of a job without a record.
# A job that failed or was cancelled can be resumed, and continues with its work. The work of queued and running jobs,
# and of jobs whose status only another version knows, stays.
KEPT_SECONDS: dict[str | None, float] = {
    None: 600.0,
    JobStatus.SUCCEEDED: 0.0,
    JobStatus.FAILED: 86_400.0,
    JobStatus.CANCELLED: 86_400.0,
}


def clear_workshops(settings: WorkerSettings, jobs: JobConsumer) -> None:
    """Delete the local work of jobs that have ended or have no record. Does nothing if the store is a folder.

    Raises StoreUnavailable.
    """
    for folder in job_folders(settings.home / "workshops") if settings.is_far else ():
        status = jobs.status(folder.name)
        if status in KEPT_SECONDS and age_of(folder) >= KEPT_SECONDS[status]:
            shutil.rmtree(folder, ignore_errors=True)
            logger.info("deleted the unfinished work of job %s: it is %s", folder.name, status or "unknown")


def job_folders(workshops: Path) -> list[Path]:
    """List the folders of jobs, in order; none if the folder does not exist or cannot be read."""
    with suppress(OSError):
        return sorted(path for path in workshops.iterdir() if path.is_dir() and not path.is_symlink())
    return []


def age_of(folder: Path) -> float:
    """Return the seconds since a folder, or anything in it, was last written; 0 if a clock was ahead then."""
    return max(0.0, clock_of(folder.parent) - max(times_of(folder), default=0.0))


def times_of(folder: Path) -> Iterator[float]:
    """Yield when a folder and each file in it were last written, in seconds since 1970, if this can be read."""
    for parent, _, names in os.walk(folder):  # ignores folders that another process has just deleted
        for path in (parent, *(os.path.join(parent, name) for name in names)):
            with suppress(OSError):
                yield os.lstat(path).st_mtime
