"""Request and response bodies that differ from the stored records."""

import re
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from models.config import WHOLE, TrainingConfig
from models.records import Record
from models.registry import bundled
from models.registry.serving_policy import ServingPolicy
from models.registry.store import Manifest, Unusable
from worker.jobs.codec import AnyJob, UnreadableJob
from worker.jobs.model import EpochRecord, Job, JobStatus, RunsOn

MAX_SEED = 2**53 - 1  # the largest integer that every JSON parser represents exactly


HIDDEN = (  # control characters, line and paragraph separators, and marks that change the direction of text
    "\\u0000-\\u001f\\u007f-\\u009f\\u061c\\u200e\\u200f\\u2028-\\u202e\\u2066-\\u2069"
)
CLEAN = f"^[^{HIDDEN}]*$"


def clean(label: str) -> str | None:
    """Strip a label and return None if it is blank. Raises ValueError if it has control characters."""
    if re.search(f"[{HIDDEN}]", label):
        raise ValueError("should be one line of text without control characters")
    return label.strip() or None


Label = Annotated[str, Field(max_length=100, json_schema_extra={"pattern": CLEAN}), AfterValidator(clean)]


class EpochView(EpochRecord):
    samples: str = Field(description="URL of the epoch's plot.")

    @classmethod
    def of(cls, job_id: str, epoch: EpochRecord) -> "EpochView":
        return cls(**dict(epoch), samples=f"/jobs/{job_id}/epochs/{epoch.epoch}/samples.png")


class TrainingOrder(TrainingConfig):
    """The configuration of a run, its priority and the workers that may run it."""

    name: Label | None = Field(
        None, description="A label shown next to the job: one line of text. A blank label is ignored."
    )

    priority: Annotated[int, Field(ge=0, le=9), WHOLE] = Field(
        0,
        description="Runs with a higher priority start first; among equals, the oldest starts first. If several keys "
        "exist, the runs of different keys take turns.",
    )

    runs_on: RunsOn = Field(
        "any", description="Workers that may run the job: any worker, only those without a GPU, or only those with one."
    )

    @property
    def config(self) -> TrainingConfig:
        return TrainingConfig(**self.model_dump(include=set(TrainingConfig.model_fields)))


class JobLinks(Record):
    self: str
    events: str
    digits: str | None = Field(
        description="URL of digits drawn by this run's last checkpoint. Replace `{label}` with a digit."
    )


class JobView(Job):
    epochs: list[EpochView] = Field([], description="One entry per finished epoch.")  # type: ignore[assignment]
    links: JobLinks

    @classmethod
    def of(cls, job: Job) -> "JobView":
        here = f"/jobs/{job.id}"
        epochs = [EpochView.of(job.id, epoch) for epoch in job.epochs]
        digits = f"/digits/{{label}}?n=40&checkpoint={epochs[-1].checkpoint}" if epochs else None
        return cls(**{**dict(job), "epochs": epochs}, links=JobLinks(self=here, events=f"{here}/events", digits=digits))


class UnreadableJobView(UnreadableJob):
    links: JobLinks

    @classmethod
    def of(cls, job: UnreadableJob) -> "UnreadableJobView":
        here = f"/jobs/{job.id}"
        return cls(**dict(job), links=JobLinks(self=here, events=f"{here}/events", digits=None))


AnyJobView = JobView | UnreadableJobView


def view_of(job: AnyJob) -> AnyJobView:
    return UnreadableJobView.of(job) if isinstance(job, UnreadableJob) else JobView.of(job)


class JobList(BaseModel):
    jobs: list[Annotated[AnyJobView, Field(union_mode="left_to_right")]] = Field(description="Newest first.")
    next: str | None = Field(description="URL of the next page, with older jobs; null on the last page.")

    @classmethod
    def of(cls, found: list[AnyJob], query: "JobsQuery") -> "JobList":
        """List the first `query.limit` jobs. If `found` has one more, there is a next page."""
        page, following = [view_of(query.shorten(job)) for job in found[: query.limit]], None
        if len(found) > query.limit:
            status = f"&status={query.status}" if query.status else ""
            epochs = "&epochs=last" if query.epochs == "last" else ""
            following = f"/jobs?limit={query.limit}{status}{epochs}&before={page[-1].id}"
        return cls(jobs=page, next=following)


class JobHistory(Record):
    """The configuration of a run and the results of each epoch."""

    job: str
    config: TrainingConfig
    epochs: list[EpochRecord]

    @classmethod
    def of(cls, job: Job) -> "JobHistory":
        return cls(job=job.id, config=job.config, epochs=job.epochs)


class CheckpointView(Manifest):
    size: int = Field(description="Size of all files, in bytes.")
    links: dict[str, str]

    @classmethod
    def of(cls, manifest: Manifest) -> "CheckpointView":
        links = {
            "self": f"/checkpoints/{manifest.id}",
            "digits": f"/digits/{{label}}?n=40&checkpoint={manifest.id}",
        }
        if manifest.job != bundled.JOB:  # the bundled checkpoint belongs to no job of this service
            links["job"] = f"/jobs/{manifest.job}"
            links["samples"] = f"/jobs/{manifest.job}/epochs/{manifest.epoch}/samples.png"
        return cls(**dict(manifest), size=manifest.total_size, links=links)


class UnusableCheckpoint(BaseModel):
    """A checkpoint that exists and cannot be used."""

    id: str
    job: str
    epoch: int
    reason: str = Field(description="The error in its manifest.")
    written_by_another_version: bool = Field(
        description="If true, the checkpoint is intact and is never deleted. Another version of acgan can use it."
    )

    @classmethod
    def of(cls, found: Unusable) -> "UnusableCheckpoint":
        job, epoch = found.checkpoint
        return cls(
            id=str(found.checkpoint),
            job=job,
            epoch=epoch,
            reason=found.reason,
            written_by_another_version=not found.understood,
        )


class CheckpointList(BaseModel):
    serving: str | None = Field(description="Id of the checkpoint that `latest` refers to in this process.")
    checkpoints: list[CheckpointView] = Field(description="Newest first.")
    unusable: list[UnusableCheckpoint] = Field([], description="Checkpoints that cannot be used, with the reason.")


class JobsQuery(BaseModel):
    model_config = ConfigDict(extra="forbid")

    limit: Annotated[int, Field(ge=1, le=100)] = Field(20, description="Maximum number of entries.")
    status: JobStatus | None = Field(None, description="List only jobs with this status.")
    before: Annotated[str, Field(max_length=100)] | None = Field(
        None, description="List only jobs accepted before this one, the last job of the previous page."
    )
    epochs: Literal["all", "last"] = Field(
        "all", description="All epochs of each run, or only the last one. With all, a list of long runs has megabytes."
    )

    def shorten(self, job: AnyJob) -> AnyJob:
        return job.model_copy(update={"epochs": job.epochs[-1:]}) if self.epochs == "last" else job


Seed = Annotated[int, Field(ge=0, le=MAX_SEED)]
Index = Annotated[int, Field(ge=0, le=2**40)]
CheckpointName = Annotated[
    str,
    Field(
        max_length=100,
        description="The generator: `latest` (the one being served), `best`, or a checkpoint's id.",
    ),
]


class SheetQuery(BaseModel):
    """Query parameters of every endpoint that returns sheets of digits."""

    model_config = ConfigDict(extra="forbid")

    n: int
    seed: Seed | None = Field(
        None, description="Random seed. The same seed always draws the same digits. If omitted, a new seed is chosen."
    )
    index: Index = Field(0, description="Index of the first digit within the seed.")
    checkpoint: CheckpointName = "latest"
    format: Literal["png", "zip", "npy"] | None = Field(
        None,
        description="`png` (one sheet), `zip` (one PNG per digit) or `npy` (numpy array). If omitted, `Accept` "
        "decides; without it, `png`.",
    )
    columns: Annotated[int, Field(ge=1, le=1000)] | None = Field(
        None, description="Digits per row of the sheet. If omitted, 10, or `n` if that is smaller."
    )
    scale: Annotated[int, Field(ge=1, le=8)] = Field(1, description="Scale factor of the picture.")
    padding: Annotated[int, Field(ge=0, le=8)] = Field(0, description="Pixels around and between the digits.")
    invert: bool = Field(False, description="Draw black on white.")


class DigitsQuery(SheetQuery):
    n: Annotated[int, Field(ge=1, le=1000)] = Field(1, description="Number of digits.")
    verify: Annotated[float, Field(ge=0, le=1)] | None = Field(
        None,
        description="Least probability that the judge must give to each digit's label. Digits below it are replaced "
        "by later ones of the same seed.",
    )


class AllDigitsQuery(SheetQuery):
    n: Annotated[int, Field(ge=1, le=100)] = Field(1, description="Number of digits of each class.")


class Serving(ServingPolicy):
    """The serving policy, and the checkpoint that `latest` refers to."""

    serving: str | None = Field(description="Id of the checkpoint being served by this process.")


class Follow(BaseModel):
    """Follow the newest or the best publication."""

    model_config = ConfigDict(extra="forbid")

    policy: Literal["newest", "best"]


class Pin(BaseModel):
    """Serve one checkpoint permanently."""

    model_config = ConfigDict(extra="forbid")

    policy: Literal["pinned"]
    checkpoint: Annotated[str, Field(max_length=100)]


ServingOrder = Annotated[Follow | Pin, Field(discriminator="policy")]
POLICIES = ("newest", "best", "pinned")


class Readiness(BaseModel):
    ready: bool = Field(description="Whether this process can serve digits or accept jobs.")
    draining: bool = Field(False, description="Whether the process received SIGTERM and will stop soon.")
    redis: str = Field(description="`up`, or `down` with the reason.")
    serving: str | None = Field(description="Id of the checkpoint being served.")
    trouble: str | None = Field(None, description="Why a newer checkpoint is not being served.")
    loops: dict[str, str] = Field(
        {}, description="Background loops of this process by name: `running`, or the reason why a loop has stopped."
    )
    worker_loops: dict[str, str] = Field(
        {},
        description="The background loops of all workers by name: `running`, or why one does not do its work. Empty "
        "without a worker, or if Redis does not answer.",
    )
