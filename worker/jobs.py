"""The job: its record, its states, and which may follow which. Pure: no Redis, no Celery, no torch."""

import secrets
from datetime import UTC, datetime
from enum import StrEnum

from pydantic import BaseModel, ConfigDict, Field

from models.config import TrainingConfig
from models.history import EpochResult, Progress

JOB_ID_PATTERN = r"^\d{8}-\d{6}-[0-9a-f]{6}\Z"


class JobStatus(StrEnum):
    QUEUED = "queued"  # accepted, waits for a worker
    RUNNING = "running"  # a worker holds it
    CANCELLING = "cancelling"  # asked to stop; its worker has not yet
    SUCCEEDED = "succeeded"  # all epochs done; final
    FAILED = "failed"  # `error` says why
    CANCELLED = "cancelled"  # stopped on request

    @property
    def has_ended(self) -> bool:
        return self in (JobStatus.SUCCEEDED, JobStatus.FAILED, JobStatus.CANCELLED)


TRANSITIONS: dict[JobStatus, frozenset[JobStatus]] = {
    JobStatus.QUEUED: frozenset({JobStatus.RUNNING, JobStatus.CANCELLED}),
    JobStatus.RUNNING: frozenset({JobStatus.SUCCEEDED, JobStatus.FAILED, JobStatus.CANCELLING, JobStatus.QUEUED}),
    JobStatus.CANCELLING: frozenset({JobStatus.CANCELLED, JobStatus.SUCCEEDED, JobStatus.FAILED}),
    JobStatus.SUCCEEDED: frozenset(),
    JobStatus.FAILED: frozenset({JobStatus.QUEUED}),
    JobStatus.CANCELLED: frozenset({JobStatus.QUEUED}),
}


class EpochRecord(EpochResult):
    """A finished epoch, as the job tells it."""

    checkpoint: str = Field(description="The checkpoint that holds its networks.")
    metrics: dict[str, float] = Field({}, description="Quality figures; empty where none were computed.")


class Job(BaseModel):
    """One accepted run. Times are Redis' own, so that they agree whatever the hosts' clocks say."""

    model_config = ConfigDict(frozen=True)

    id: str
    status: JobStatus
    config: TrainingConfig
    created_at: datetime
    started_at: datetime | None = None
    ended_at: datetime | None = None
    progress: Progress | None = Field(None, description="Where the run stands; null before its first iterations.")
    epochs: list[EpochRecord] = Field([], description="One entry a finished epoch, in order.")
    device: str | None = Field(None, description="What it runs or ran on.")
    error: str | None = Field(None, description="Why it failed, in a sentence.")


def new_job_id(now: datetime | None = None) -> str:
    """Make an id that sorts by time and is safe in paths and addresses, like 20260131-120000-1a2b3c."""
    now = now or datetime.now(UTC)
    return f"{now:%Y%m%d-%H%M%S}-{secrets.token_hex(3)}"
