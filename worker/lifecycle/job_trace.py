"""The spans of a claim in the trace of the request for the job."""

from collections.abc import Iterator
from contextlib import contextmanager

from worker.jobs.consumer import Claim
from worker.jobs.model import JobStatus
from worker.observability import tracing


@contextmanager
def claim_span(claim: Claim) -> Iterator[None]:
    """Measure the `with` block as one attempt to run the job. Before the first one, also the time in the queue.

    All attempts have the same parent, so that requeued and resumed jobs stay in one trace.
    """
    job, parent = claim.job, claim.job.traceparent or ""
    attributes = {tracing.JOB: job.id, "acgan.kind": job.kind.value, tracing.ATTEMPT: claim.attempt}
    if claim.attempt == 1 and job.started_at is not None:
        tracing.record("queue", job.created_at, job.started_at, attributes, parent)
    with tracing.span(f"run {job.kind.value}", {**attributes, "acgan.fence": claim.fence}, parent):
        yield


def note_end(status: JobStatus) -> None:
    tracing.note({"acgan.status": status.value}, failed=status == JobStatus.FAILED)
