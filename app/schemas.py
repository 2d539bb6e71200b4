"""What goes over the wire, where it is more than a record."""

import re
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from models import bundled
from models.checkpoints import Manifest, Unusable
from models.config import WHOLE, TrainingConfig
from models.history import Record
from models.serving import Choice
from worker.codec import AnyJob, UnreadableJob
from worker.jobs import EpochRecord, Job, JobStatus, RunsOn

MAX_SEED = 2**53 - 1  # what every JSON reader keeps exactly


HIDDEN = (  # control characters, line and paragraph separators, and what changes the direction of text
    "\\u0000-\\u001f\\u007f-\\u009f\\u061c\\u200e\\u200f\\u2028-\\u202e\\u2066-\\u2069"
)
CLEAN = f"^[^{HIDDEN}]*$"


def clean(label: str) -> str | None:
    """Strip a label; a blank one is none. Raises ValueError."""
    if re.search(f"[{HIDDEN}]", label):
        raise ValueError("should be one line of text without control characters")
    return label.strip() or None


Label = Annotated[str, Field(max_length=100, json_schema_extra={"pattern": CLEAN}), AfterValidator(clean)]


class EpochView(EpochRecord):
    samples: str = Field(description="Address of the epoch's plot.")

    @classmethod
    def of(cls, job_id: str, epoch: EpochRecord) -> "EpochView":
        return cls(**dict(epoch), samples=f"/jobs/{job_id}/epochs/{epoch.epoch}/samples.png")


class TrainingOrder(TrainingConfig):
    """A recipe, and when it is to be run."""

    name: Label | None = Field(
        None, description="A label of your own, shown beside the job: one line of text. A blank one is left out."
    )

    priority: Annotated[int, Field(ge=0, le=9), WHOLE] = Field(
        0,
        description="Runs of a higher priority are started first; among equals, the one accepted first. Where there "
        "are several keys, each key's runs take turns with those of others.",
    )

    runs_on: RunsOn = Field(
        "any", description="Which workers may take it: any, or only those without a GPU, or with one."
    )

    @property
    def config(self) -> TrainingConfig:
        return TrainingConfig(**self.model_dump(include=set(TrainingConfig.model_fields)))


class JobLinks(Record):
    self: str
    events: str
    digits: str | None = Field(
        description="Address of digits by this run's last checkpoint; `{label}` is to be filled in."
    )


class JobView(Job):
    epochs: list[EpochView] = Field([], description="One entry a finished epoch, in order.")  # type: ignore[assignment]
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
    next: str | None = Field(description="Address of those accepted before; null where there are none.")

    @classmethod
    def of(cls, found: list[AnyJob], query: "JobsQuery") -> "JobList":
        """List at most as many as were asked for; one more that was found means that there is a next page."""
        page, following = [view_of(query.shorten(job)) for job in found[: query.limit]], None
        if len(found) > query.limit:
            status = f"&status={query.status}" if query.status else ""
            epochs = "&epochs=last" if query.epochs == "last" else ""
            following = f"/jobs?limit={query.limit}{status}{epochs}&before={page[-1].id}"
        return cls(jobs=page, next=following)


class JobHistory(Record):
    """What a run has come to, epoch by epoch."""

    job: str
    config: TrainingConfig
    epochs: list[EpochRecord]

    @classmethod
    def of(cls, job: Job) -> "JobHistory":
        return cls(job=job.id, config=job.config, epochs=job.epochs)


class CheckpointView(Manifest):
    size: int = Field(description="All files together, in bytes.")
    links: dict[str, str]

    @classmethod
    def of(cls, manifest: Manifest) -> "CheckpointView":
        links = {
            "self": f"/checkpoints/{manifest.id}",
            "digits": f"/digits/{{label}}?n=40&checkpoint={manifest.id}",
        }
        if manifest.job != bundled.JOB:  # the package's own comes of no job here
            links["job"] = f"/jobs/{manifest.job}"
            links["samples"] = f"/jobs/{manifest.job}/epochs/{manifest.epoch}/samples.png"
        return cls(**dict(manifest), size=manifest.total_size, links=links)


class UnusableCheckpoint(BaseModel):
    """A checkpoint that exists and cannot be used."""

    id: str
    job: str
    epoch: int
    reason: str = Field(description="What is wrong with its manifest.")
    written_by_another_version: bool = Field(
        description="If true, it is whole and is never deleted; another version of the program can use it."
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
    serving: str | None = Field(description="The checkpoint that `latest` names in this process.")
    checkpoints: list[CheckpointView] = Field(description="Newest first.")
    unusable: list[UnusableCheckpoint] = Field([], description="Those that exist and cannot be used, and why.")


class JobsQuery(BaseModel):
    model_config = ConfigDict(extra="forbid")

    limit: Annotated[int, Field(ge=1, le=100)] = Field(20, description="How many.")
    status: JobStatus | None = Field(None, description="Only those in this state.")
    before: Annotated[str, Field(max_length=100)] | None = Field(
        None, description="Only those accepted before this job: the last one of the page before."
    )
    epochs: Literal["all", "last"] = Field(
        "all", description="Every epoch of each run, or the last one: a list of long runs is megabytes."
    )

    def shorten(self, job: AnyJob) -> AnyJob:
        return job.model_copy(update={"epochs": job.epochs[-1:]}) if self.epochs == "last" else job


Seed = Annotated[int, Field(ge=0, le=MAX_SEED)]
Index = Annotated[int, Field(ge=0, le=2**40)]
CheckpointName = Annotated[
    str,
    Field(
        max_length=100,
        description="Which generator draws: `latest`, which is what is served, `best`, or a checkpoint's id.",
    ),
]


class SheetQuery(BaseModel):
    """How digits are asked for, whichever they are."""

    model_config = ConfigDict(extra="forbid")

    n: int
    seed: Seed | None = Field(
        None, description="The hand that writes: the same seed draws the same digits. A fresh one where it is left out."
    )
    index: Index = Field(0, description="The first digit's number within the seed.")
    checkpoint: CheckpointName = "latest"
    format: Literal["png", "zip", "npy"] | None = Field(
        None, description="One sheet, an archive of one PNG a digit, or a numpy array. Else `Accept` decides, else png."
    )
    columns: Annotated[int, Field(ge=1, le=1000)] | None = Field(
        None, description="Digits a row; 10 where it is left out, or as many as there are."
    )
    scale: Annotated[int, Field(ge=1, le=8)] = Field(1, description="Pixels of the picture a pixel of the digit.")
    padding: Annotated[int, Field(ge=0, le=8)] = Field(0, description="Pixels around and between the digits.")
    invert: bool = Field(False, description="Black on white.")


class DigitsQuery(SheetQuery):
    n: Annotated[int, Field(ge=1, le=1000)] = Field(1, description="How many digits.")
    verify: Annotated[float, Field(ge=0, le=1)] | None = Field(
        None,
        description="How probable the judge must find it that each digit is of its label; others are left out, and "
        "later ones of the seed drawn instead.",
    )


class AllDigitsQuery(SheetQuery):
    n: Annotated[int, Field(ge=1, le=100)] = Field(1, description="How many digits of each class.")


class Serving(Choice):
    """What `latest` names."""

    serving: str | None = Field(description="The checkpoint being served by this process.")


class Follow(BaseModel):
    """Follow the newest publication, or the best one."""

    model_config = ConfigDict(extra="forbid")

    policy: Literal["newest", "best"]


class Pin(BaseModel):
    """Stay at one checkpoint."""

    model_config = ConfigDict(extra="forbid")

    policy: Literal["pinned"]
    checkpoint: Annotated[str, Field(max_length=100)]


ServingOrder = Annotated[Follow | Pin, Field(discriminator="policy")]
POLICIES = ("newest", "best", "pinned")


class Readiness(BaseModel):
    ready: bool = Field(description="Whether this process can do anything for anybody: serve digits, or take jobs.")
    draining: bool = Field(False, description="Whether it has been asked to end, and serves on for a while only.")
    redis: str = Field(description="`up`, or why not.")
    serving: str | None = Field(description="The checkpoint being served.")
    trouble: str | None = Field(None, description="Why a newer checkpoint is not being served.")
    loops: dict[str, str] = Field(
        {}, description="This process' background loops by name: `running`, or why one does not do its work."
    )
    worker_loops: dict[str, str] = Field(
        {},
        description="The background loops of all workers by name: `running`, or why one does not do its work. Empty "
        "without a worker, or if Redis does not answer.",
    )
