"""The records of evaluations that the service sends."""

from datetime import datetime
from typing import Annotated, ClassVar

from pydantic import Field

from acgan_client.records import ENDED, DataName, Id, JobStatus, Record, UnreadableJob

Interval = tuple[float, float]


class Figures(Record):
    """Quality figures of digits, each with its 95 % interval."""

    digits: int
    label_accuracy: float
    label_accuracy_interval: Interval
    label_accuracies: list[float]
    label_accuracies_intervals: list[Interval]
    confusion: list[list[int]]
    gan_train: float
    gan_train_interval: Interval
    gan_trains: list[float]
    lessons: int
    frechet_distance: float
    frechet_distance_interval: Interval
    kernel_distance: float
    kernel_distance_interval: Interval
    density: float
    density_interval: Interval
    coverage: float
    coverage_interval: Interval
    variety: list[float]
    variety_intervals: list[Interval]
    variety_mean: float
    variety_mean_interval: Interval
    nearest_distance: float
    nearest_distance_interval: Interval
    copies: float
    copies_interval: Interval


class EvaluationResult(Record):
    """Figures of a generator and of real digits."""

    checkpoint: Id
    dataset: DataName
    dataset_checksum: str
    classes: list[str]
    effort: str | None
    judge_accuracy: float
    judge_accuracy_interval: Interval
    generator: Figures
    real: Figures
    device: str
    seconds: float


class EvaluationProgress(Record):
    done: int
    steps: int
    eta_seconds: float


class EvaluationLinks(Record):
    self: str
    job: str
    events: str
    checkpoint: str
    result: str | None
    picture: str | None


class Evaluation(Record):
    """An evaluation of a checkpoint. `result` has the figures when they are computed."""

    id: Id
    status: JobStatus
    checkpoint: Id
    effort: str
    created_at: datetime
    started_at: datetime | None
    ended_at: datetime | None
    progress: EvaluationProgress | None
    error: str | None
    result: EvaluationResult | None
    links: EvaluationLinks

    shown: ClassVar = ("id", "status", "checkpoint", "effort", "error")

    @property
    def ended(self) -> bool:
        return self.status in ENDED


class EvaluationList(Record):
    """A page of evaluations, newest first. `next` is the URL of the next page."""

    evaluations: list[Annotated[Evaluation | UnreadableJob, Field(union_mode="left_to_right")]]
    next: str | None
