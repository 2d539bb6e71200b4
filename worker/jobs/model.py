"""The job: its record, its states and their transitions. Imports no Redis, Celery or torch."""

import secrets
from datetime import UTC, datetime
from enum import StrEnum
from typing import Literal, NamedTuple, get_args

from pydantic import BaseModel, ConfigDict, Field

from models.config import TrainingConfig
from models.data.building.order import TrainingDataOrder, TrainingDataResult
from models.evaluation.evaluation_records import EvaluationOrder
from models.records import EpochResult, Progress
from models.synthesis.order import DatasetOrder

# Both forms of ids are valid: the current one, and the earlier one without the 64 random bits.
JOB_ID_PATTERN = r"^\d{8}-(\d{6}-[0-9a-f]{6}|\d{9}-[0-9a-f]{6}-[0-9a-f]{16})\Z"
RANDOM_BITS = 64


# Workers that may run a job: any, or only those without or with a GPU. Each has a separate queue.
RunsOn = Literal["any", "cpu", "gpu"]
RUNS_ON: tuple[RunsOn, ...] = get_args(RunsOn)
KINDS_OF_WORKERS: tuple[RunsOn, ...] = ("cpu", "gpu")


def kind_of(device: str) -> RunsOn:
    """Return the kind of a worker with this device: `cpu` or `gpu`."""
    return "gpu" if device.startswith("cuda") else "cpu"


def taken_by(kind: RunsOn) -> tuple[RunsOn, ...]:
    """Return the queues that a worker of this kind reads."""
    return ("any", kind)


class JobKind(StrEnum):
    """Every kind of job. worker/runner.py has a handler for each."""

    TRAINING = "training"
    DATASET = "dataset"
    TRAINING_DATA = "training_data"
    EVALUATION = "evaluation"


class Ordered(NamedTuple):
    """How the record of a job says what it makes, besides the configuration."""

    field: str  # of `Job` and of its hash in Redis
    model: type[BaseModel]


ORDERED: dict[JobKind, Ordered] = {
    JobKind.DATASET: Ordered("order", DatasetOrder),
    JobKind.TRAINING_DATA: Ordered("training_data", TrainingDataOrder),
    JobKind.EVALUATION: Ordered("evaluation", EvaluationOrder),
}
HIGHEST_PRIORITY = 9
LAST = frozenset({JobKind.EVALUATION})  # these wait behind the other jobs of their priority
RESULT = Ordered("result", TrainingDataResult)  # what a job has made


class JobStatus(StrEnum):
    QUEUED = "queued"  # accepted, waits for a worker
    RUNNING = "running"  # a worker holds it
    CANCELLING = "cancelling"  # a stop was requested; its worker has not stopped yet
    SUCCEEDED = "succeeded"  # all epochs done; final
    FAILED = "failed"  # `error` gives the reason
    CANCELLED = "cancelled"  # stopped on request


TRANSITIONS: dict[JobStatus, frozenset[JobStatus]] = {
    JobStatus.QUEUED: frozenset({JobStatus.RUNNING, JobStatus.CANCELLED}),
    JobStatus.RUNNING: frozenset({JobStatus.SUCCEEDED, JobStatus.FAILED, JobStatus.CANCELLING, JobStatus.QUEUED}),
    JobStatus.CANCELLING: frozenset({JobStatus.CANCELLED, JobStatus.SUCCEEDED, JobStatus.FAILED}),
    JobStatus.SUCCEEDED: frozenset(),
    JobStatus.FAILED: frozenset({JobStatus.QUEUED}),
    JobStatus.CANCELLED: frozenset({JobStatus.QUEUED}),
}


ENDED = frozenset({JobStatus.SUCCEEDED, JobStatus.FAILED, JobStatus.CANCELLED})
HELD = frozenset({JobStatus.RUNNING, JobStatus.CANCELLING})  # by a worker


def before(status: JobStatus) -> list[JobStatus]:
    """Return the states that may precede `status`."""
    return [earlier for earlier, following in TRANSITIONS.items() if status in following]


class EpochRecord(EpochResult):
    """A finished epoch of a job."""

    checkpoint: str = Field(description="Id of the checkpoint with its networks.")
    metrics: dict[str, float] = Field({}, description="Quality metrics; empty if none were computed.")
    refused: str | None = Field(None, description="Why this epoch's generator is not served; null if it may be.")


class QueuePlace(BaseModel):
    """The place of a waiting job in the queue."""

    model_config = ConfigDict(frozen=True)

    position: int = Field(description="From 1; counts the jobs before it that may take its worker.")
    starts_in_seconds: float | None = Field(
        description="Estimated seconds until it starts, from the progress of running jobs and the speed of similar "
        "runs. Null if that is unknown."
    )


class Job(BaseModel):
    """One accepted job. All times are by Redis' clock, because the clocks of hosts may differ."""

    model_config = ConfigDict(frozen=True)

    id: str
    kind_name: str = Field(JobKind.TRAINING.value, exclude=True)  # of JobKind, which would enter the schema of the API
    status: JobStatus
    config: TrainingConfig
    created_at: datetime
    started_at: datetime | None = None
    ended_at: datetime | None = None
    seconds_running: float | None = Field(
        None,
        description="Seconds that workers ran it, without waiting times and without the current attempt. Null if it "
        "has not started, and for jobs of an earlier version.",
    )
    running_since: datetime | None = Field(None, description="When its current worker took it; null if none runs it.")
    progress: Progress | None = Field(None, description="Progress; null before the first iterations.")
    epochs: list[EpochRecord] = Field([], description="One entry per finished epoch.")
    device: str | None = Field(None, description="Device that the job runs on, or ran on last.")
    worker: str | None = Field(None, description="Host and process id of its current or last worker.")
    error: str | None = Field(None, description="The reason why the job failed, in a sentence.")
    trouble: str | None = Field(
        None, description="The problem that delays the job at the moment, such as a full disk or no available worker."
    )
    priority: int = Field(0, description="Jobs with a higher priority start first.")
    runs_on: RunsOn = Field("any", description="Workers that may run it.")
    caller: str | None = Field(None, description="Name of the key that started it.")
    order: DatasetOrder | None = Field(
        None, description="The data set that it generates; `config` is then the configuration of the generator."
    )
    training_data: TrainingDataOrder | None = Field(
        None, description="The file of which it makes training data; `config` is then of no importance."
    )
    evaluation: EvaluationOrder | None = Field(
        None, description="The checkpoint that it evaluates; `config` then names the training data."
    )
    result: TrainingDataResult | None = Field(None, description="The training data that it made; null until then.")
    webhook_host: str | None = Field(None, description="Host that receives a message at each end of the job.")
    retry_of: str | None = Field(None, description="Id of the job whose configuration this one repeats.")
    traceparent: str | None = Field(None, exclude=True)  # the trace of the request for it, unverified; not in the API
    warnings: list[str] = Field(
        [],
        description="Reasons why the result may differ from that of an uninterrupted run: for example, the run was "
        "restarted from the beginning, or resumed with another version of torch. Also names epochs that an experiment "
        "tracker did not receive.",
    )
    name: str | None = Field(None, description="Its current name. `config.name` is the name that it was given first.")
    notes: str = Field("", description="Notes of its users.")
    tags: list[str] = []
    archived: bool = Field(False, description="Whether it is set aside from the list of the page.")
    queue: QueuePlace | None = Field(None, description="Its place in the queue, if it waits; events do not have it.")
    last_seen_at: datetime | None = Field(
        None, description="When its worker was last seen, if the worker no longer responds; else null."
    )

    @property
    def kind(self) -> JobKind:
        return JobKind(self.kind_name)

    @property
    def ordered(self) -> BaseModel | None:
        """What the job makes, according to its kind (`ORDERED`); None if it is a run."""
        found = ORDERED.get(self.kind)
        made: BaseModel | None = found and getattr(self, found.field)
        return made

    @property
    def needed_checkpoint(self) -> str | None:
        """The checkpoint that it draws with or evaluates; None if there is none."""
        found: str | None = getattr(self.ordered, "checkpoint", None)
        return found


def kind_of_order(order: BaseModel | None) -> JobKind:
    """Return the kind of a job that makes this. Without an order it is a run."""
    return next((kind for kind, ordered in ORDERED.items() if isinstance(order, ordered.model)), JobKind.TRAINING)


def job_id_of(accepted_at: datetime, place: int, random_bits: int | None = None) -> str:
    """Make an id that sorts by acceptance and is safe in paths and addresses.

    Example: 20260131-120000123-00001c-9f3a61c2d4e58b07. It has the time in milliseconds, a counter (`place`, the number
    of jobs that this Redis has accepted) and 64 random bits, so that two Redis servers that share a store never make
    the same id. Within one second it sorts after every id of the older form, such as 20260131-120000-00001c.
    `random_bits` is drawn if it is not given.
    """
    bits = secrets.randbits(RANDOM_BITS) if random_bits is None else random_bits % 2**RANDOM_BITS
    milliseconds = accepted_at.microsecond // 1000
    return f"{accepted_at:%Y%m%d-%H%M%S}{milliseconds:03d}-{place % 16**6:06x}-{bits:016x}"


def accepted_at(job_id: str) -> datetime | None:
    """Return the time of acceptance from a job's id, to the second; None if the id has another form."""
    try:
        return datetime.strptime(job_id[:15], "%Y%m%d-%H%M%S").replace(tzinfo=UTC)
    except ValueError:
        return None


class Standing(NamedTuple):
    """Numbers of jobs and workers. `oldest` is the number of seconds since the oldest waiting job was accepted."""

    accepted: int
    ready: dict[RunsOn, int]  # jobs that a worker may claim now
    delayed: int
    running: int
    undelivered: int  # messages about ends of jobs
    oldest: float
    workers: dict[RunsOn, int]  # seen recently, by device
