"""The jobs that a service accepted last."""

from worker.jobs.client import JobClient
from worker.jobs.codec import AnyJob
from worker.jobs.lists.catalog import JobCatalog, Selection
from worker.jobs.model import JobKind, JobStatus


async def newest(
    jobs: JobClient,
    limit: int,
    status: JobStatus | None = None,
    before: str | None = None,
    kind: JobKind = JobKind.TRAINING,
) -> list[AnyJob]:
    """Return jobs of one kind, newest first, as GET /jobs lists them. Raises JobNotFound if `before` is no job."""
    return (await JobCatalog(jobs).page(Selection(limit, kind, status, before=before))).jobs
