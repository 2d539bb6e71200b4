"""The records that the service sends. A newer service may add fields, which are kept in `model_extra`,
and values to a list of names, such as a status.
"""

import re
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any, ClassVar, Self

from pydantic import Field, model_validator

from acgan_client.records.training_data import (
    DataName as DataName,
)
from acgan_client.records.training_data import (
    Id as Id,
)
from acgan_client.records.training_data import (
    ImportOptions as ImportOptions,
)
from acgan_client.records.training_data import (
    Record as Record,
)
from acgan_client.records.training_data import (
    TrainingDataOrder,
    TrainingDataResult,
)

NAME = re.compile(r"[a-z][a-z0-9_-]{0,39}")
NUM_CLASSES = 10  # of digits
MOST_CLASSES = 100


class JobStatus(StrEnum):
    """The status of a job. A status that a newer service adds becomes another member, equal to its text."""

    QUEUED = "queued"  # accepted, waits for a worker
    RUNNING = "running"  # a worker holds it
    CANCELLING = "cancelling"  # a stop was requested; its worker has not stopped yet
    SUCCEEDED = "succeeded"  # all epochs done; final
    FAILED = "failed"  # `error` gives the reason
    CANCELLED = "cancelled"  # stopped on request

    @classmethod
    def _missing_(cls, value: object) -> Self | None:
        if not isinstance(value, str) or NAME.fullmatch(value) is None:
            return None
        member = str.__new__(cls, value)
        member._name_, member._value_ = value.upper(), value
        return member


ENDED = frozenset({JobStatus.SUCCEEDED, JobStatus.FAILED, JobStatus.CANCELLED})


# ----------------------------------------------------------------------------
# Runs.


class TrainingConfig(Record):
    """The configuration of a run. `POST /train` describes each field."""

    recipe: str = "seed"
    epochs: int = 100
    batch_size: int = 100  # if it is not set, the service takes that of the recipe: 50 for `thorough`
    latent_size: int = 100
    adam_lr: float = 2e-4
    adam_beta_1: float = 0.5
    seed: int = 1337
    dataset: DataName = "mnist"
    train_examples: int | None = None
    test_examples: int | None = None
    precision: str = "auto"
    name: str | None = None


class Loss(Record):
    """Losses in nats: `loss` is the sum of the two terms."""

    loss: float
    generation_loss: float
    auxiliary_loss: float


class SplitLosses(Record):
    train: Loss
    test: Loss


class EpochLosses(Record):
    generator: SplitLosses
    discriminator: SplitLosses


class Progress(Record):
    """Progress within the current epoch."""

    epoch: int
    epochs: int
    batch: int
    batches: int
    images_per_second: float
    eta_seconds: float
    phase: str | None = None
    live: int | None = None


class Epoch(Record):
    """A finished epoch. `refused` says why its generator is not served; null if it may be."""

    epoch: int
    seconds: float
    losses: EpochLosses
    checkpoint: Id
    metrics: dict[str, float] = {}
    refused: str | None = None
    samples: str = ""

    shown: ClassVar = ("epoch", "checkpoint", "refused")


class JobLinks(Record):
    self: str
    events: str
    digits: str | None
    images: str | None = None


class DatasetOrder(Record):
    """Which digits a generated data set has."""

    per_class: int = 6000
    test_per_class: int = 1000
    seed: int = 1
    checkpoint: Id = "latest"
    verify: float | None = None

    @property
    def digits(self) -> int:
        """The number of images if the checkpoint has ten classes."""
        return (self.per_class + self.test_per_class) * NUM_CLASSES


class QueuePlace(Record):
    """The place of a waiting job. `starts_in_seconds` is None if it is unknown."""

    position: int
    starts_in_seconds: float | None = None


class EvaluationOrder(Record):
    checkpoint: Id = "latest"
    effort: str = "full"


class Job(Record):
    """A run; or a job that generates a data set, or makes training data from a file: then `order` or `training_data`
    says which."""

    id: Id
    status: JobStatus
    config: TrainingConfig
    created_at: datetime
    started_at: datetime | None = None
    ended_at: datetime | None = None
    seconds_running: float | None = None
    running_since: datetime | None = None
    progress: Progress | None = None
    epochs: list[Epoch] = []
    device: str | None = None
    worker: str | None = None
    error: str | None = None
    trouble: str | None = None
    priority: int = 0
    runs_on: str = "any"
    caller: str | None = None
    order: DatasetOrder | None = None
    training_data: TrainingDataOrder | None = None
    evaluation: EvaluationOrder | None = None
    result: TrainingDataResult | None = None
    webhook_host: str | None = None
    retry_of: Id | None = None
    warnings: list[str] = []
    name: str | None = None
    notes: str = ""
    tags: list[str] = []
    archived: bool = False
    queue: QueuePlace | None = None
    last_seen_at: datetime | None = None
    links: JobLinks

    shown: ClassVar = ("id", "status", "progress", "error", "trouble")

    @model_validator(mode="before")
    @classmethod
    def _first_name(cls, fields: Any) -> Any:
        """Take the name from the configuration if the service is older than the field."""
        if isinstance(fields, dict) and "name" not in fields and isinstance(fields.get("config"), dict):
            return {**fields, "name": fields["config"].get("name")}
        return fields

    @property
    def ended(self) -> bool:
        return self.status in ENDED

    @property
    def checkpoint(self) -> str | None:
        """The checkpoint of the last epoch whose generator may be served; None if there is none yet."""
        return next((epoch.checkpoint for epoch in reversed(self.epochs) if epoch.refused is None), None)

    def _repr_html_(self) -> str:
        """Show it in a notebook."""
        from acgan_client.notebook import job_html

        return job_html(self)


class UnreadableJob(Record):
    """A job whose record the service, or this client, does not understand. `trouble` says why."""

    id: Id
    status: str
    config: dict[str, Any]
    created_at: datetime | None = None
    started_at: datetime | None = None
    ended_at: datetime | None = None
    progress: Any = None
    epochs: list[Any] = []
    device: str | None = None
    worker: str | None = None
    error: str | None = None
    trouble: str
    priority: int = 0
    runs_on: str = "any"
    caller: str | None = None
    order: dict[str, Any] | None = None
    retry_of: Id | None = None
    warnings: list[str] = []
    last_seen_at: datetime | None = None
    links: JobLinks

    shown: ClassVar = ("id", "status", "trouble")


AnyJob = Annotated[Job | UnreadableJob, Field(union_mode="left_to_right")]


class JobList(Record):
    """A page of jobs, newest first. `next` is the URL of the next page."""

    jobs: list[AnyJob]
    next: str | None

    def _repr_html_(self) -> str:
        """Show it in a notebook."""
        from acgan_client.notebook import jobs_html

        return jobs_html(self.jobs)


class FileRecord(Record):
    sha256: str
    size: int


# ----------------------------------------------------------------------------
# Generated data sets.


class DatasetProgress(Record):
    drawn: int
    digits: int
    digits_per_second: float
    eta_seconds: float


class DatasetLinks(Record):
    self: str
    job: str
    events: str
    checkpoint: str


class Dataset(Record):
    """A generated data set. `files` has the URL of each file once all exist."""

    id: Id
    status: JobStatus
    order: DatasetOrder
    created_at: datetime
    started_at: datetime | None
    ended_at: datetime | None
    progress: DatasetProgress | None
    error: str | None
    links: DatasetLinks
    files: dict[str, str]

    shown: ClassVar = ("id", "status", "order", "error")

    @property
    def ended(self) -> bool:
        return self.status in ENDED

    def _repr_html_(self) -> str:
        """Show it in a notebook."""
        from acgan_client.notebook import dataset_html

        return dataset_html(self)


class DatasetList(Record):
    """A page of generated data sets, newest first. `next` is the URL of the next page."""

    datasets: list[Annotated[Dataset | UnreadableJob, Field(union_mode="left_to_right")]]
    next: str | None

    def _repr_html_(self) -> str:
        """Show it in a notebook."""
        from acgan_client.notebook import datasets_html

        return datasets_html(self.datasets)


class DatasetFile(Record):
    sha256: str
    size: int
    unpacked_sha256: str
    examples: int
    first_index: int


class DatasetManifest(Record):
    generator_sha256: str
    device: str
    helpers: dict[str, int] = {}
    code_version: str
    order: DatasetOrder
    created_at: datetime
    files: dict[str, DatasetFile]
    classes: list[str] = [*"0123456789"]

    @property
    def images(self) -> int:
        return (self.order.per_class + self.order.test_per_class) * len(self.classes)
