"""Request and response bodies of runs."""

import re
from collections.abc import Sequence
from typing import Annotated, Literal
from urllib.parse import urlencode

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from app.schemas.links import Link
from models.config import WHOLE, TrainingConfig
from models.data.catalog import DATASETS, DIGITS
from models.data.reference import name_of
from models.records import Record
from worker.jobs.client import JobNotFound
from worker.jobs.codec import AnyJob, UnreadableJob
from worker.jobs.lists.catalog import Labels, Listed, Selection, Sort
from worker.jobs.model import HIGHEST_PRIORITY, EpochRecord, Job, JobKind, JobStatus, RunsOn
from worker.webhook_url import LONGEST, read_webhook_url

HIDDEN = (  # control characters, line and paragraph separators, and marks that change the direction of text
    "\\u0000-\\u001f\\u007f-\\u009f\\u061c\\u200e\\u200f\\u2028-\\u202e\\u2066-\\u2069"
)
CLEAN = f"^[^{HIDDEN}]*$"
CLEAN_LINES = f"^([\\t\\n]|[^{HIDDEN}])*$"


def clean(label: str) -> str | None:
    """Strip a label and return None if it is blank. Raises ValueError if it has control characters."""
    if re.search(f"[{HIDDEN}]", label):
        raise ValueError("should be one line of text without control characters")
    return label.strip() or None


def check_webhook_form(address: str) -> str:
    """Raises ValueError if this is not an https address that can receive messages."""
    read_webhook_url(address)
    return address


Webhook = Annotated[
    str,
    Field(max_length=LONGEST, json_schema_extra={"format": "uri", "pattern": r"^https://[^@#\s]+$"}),
    AfterValidator(check_webhook_form),
]
Priority = Annotated[int, Field(ge=0, le=HIGHEST_PRIORITY), WHOLE]
WEBHOOK = Field(
    None,
    description="An https address that receives a signed message when the job ends. The operator of the service "
    "decides which hosts are allowed.",
    examples=["https://hooks.example.com/acgan"],
)
Label = Annotated[str, Field(max_length=100, json_schema_extra={"pattern": CLEAN}), AfterValidator(clean)]


def searched(text: str) -> str:
    return clean(text) or ""


class EpochView(EpochRecord):
    samples: Link = Field(description="URL of the epoch's plot.")

    @classmethod
    def of(cls, job_id: str, epoch: EpochRecord) -> "EpochView":
        return cls(**dict(epoch), samples=f"/jobs/{job_id}/epochs/{epoch.epoch}/samples.png")


class TrainingOrder(TrainingConfig):
    """The configuration of a run, its priority and the workers that may run it."""

    name: Label | None = Field(
        None, description="A label shown next to the job: one line of text. A blank label is ignored."
    )

    priority: Priority = Field(
        0,
        description="Runs with a higher priority start first; among equals, the oldest starts first. If several keys "
        "exist, the runs of different keys take turns.",
    )

    runs_on: RunsOn = Field(
        "any", description="Workers that may run the job: any worker, only those without a GPU, or only those with one."
    )

    webhook: Webhook | None = WEBHOOK

    @property
    def config(self) -> TrainingConfig:
        return TrainingConfig(**self.model_dump(include=set(TrainingConfig.model_fields)))


class JobLinks(Record):
    self: Link
    events: Link
    digits: Link | None = Field(
        description="URL of digits drawn by this run's last checkpoint. Replace `{label}` with a digit. Null if its "
        "training data are not a built-in set of digits."
    )
    images: Link | None = Field(
        description="URL of images drawn by this run's last checkpoint. Replace `{label}` with the name of a class."
    )


class JobView(Job):
    epochs: list[EpochView] = Field([], description="One entry per finished epoch.")  # type: ignore[assignment]
    links: JobLinks

    @classmethod
    def of(cls, job: Job) -> "JobView":
        here = f"/jobs/{job.id}"
        epochs = [EpochView.of(job.id, epoch) for epoch in job.epochs]
        images = digits = None
        if epochs:
            drawn = f"{{label}}?n=40&checkpoint={epochs[-1].checkpoint}"
            images = f"/images/{name_of(job.config.dataset)}/{drawn}"
            data = DATASETS.get(job.config.dataset)
            digits = f"/digits/{drawn}" if data and data.classes == DIGITS else None
        links = JobLinks(self=here, events=f"{here}/events", digits=digits, images=images)
        return cls(**{**dict(job), "epochs": epochs}, links=links)


class UnreadableJobView(UnreadableJob):
    links: JobLinks

    @classmethod
    def of(cls, job: UnreadableJob) -> "UnreadableJobView":
        here = f"/jobs/{job.id}"
        return cls(**dict(job), links=JobLinks(self=here, events=f"{here}/events", digits=None, images=None))


AnyJobView = JobView | UnreadableJobView


def view_of(job: AnyJob) -> AnyJobView:
    return UnreadableJobView.of(job) if isinstance(job, UnreadableJob) else JobView.of(job)


class JobList(BaseModel):
    jobs: list[Annotated[AnyJobView, Field(union_mode="left_to_right")]] = Field(description="In the order of `sort`.")
    next: Link | None = Field(description="URL of the next page; null on the last page.")

    @classmethod
    def of(cls, jobs: Sequence[AnyJob], page: Listed, query: "AnyJobsQuery") -> "JobList":
        return cls(jobs=[view_of(query.shorten(job)) for job in jobs], next=query.page_after("/jobs", page))


class JobHistory(Record):
    """The configuration of a run and the results of each epoch."""

    job: str
    config: TrainingConfig
    epochs: list[EpochRecord]

    @classmethod
    def of(cls, job: Job) -> "JobHistory":
        return cls(job=job.id, config=job.config, epochs=job.epochs)


class JobsQuery(BaseModel):
    model_config = ConfigDict(extra="forbid")

    limit: Annotated[int, Field(ge=1, le=100)] = Field(20, description="Maximum number of entries.")
    status: JobStatus | None = Field(None, description="List only jobs with this status.")
    before: Annotated[str, Field(max_length=100)] | None = Field(
        None, description="List only jobs accepted before this one, the last job of the previous page."
    )
    at: Annotated[str, Field(max_length=400, json_schema_extra={"pattern": CLEAN})] | None = Field(
        None, description="Position of `before` when the previous page was made; `next` contains it."
    )
    epochs: Literal["all", "last"] = Field(
        "all",
        description="All epochs of each run, or only the last one. With all, a list of long runs has megabytes, and a "
        "page ends before `limit` if its runs have more than 2,000 epochs together.",
    )

    def shorten(self, job: AnyJob) -> AnyJob:
        return job.model_copy(update={"epochs": job.epochs[-1:]}) if self.epochs == "last" else job

    def page_selection(self, kind: JobKind, sort: Sort = "newest") -> Selection:
        """Raises JobNotFound if no list with this order has the position `at`."""
        is_number = self.at is None or sort == "name" or re.fullmatch(r"-?[0-9]{1,19}", self.at)
        if not is_number or (self.at is not None and self.before is None):
            raise JobNotFound(
                "this list has no such position: `at` should be as `next` of the previous page has it, with the same "
                "query and `before`"
            )
        chosen = self.model_dump(include={"limit", "status", "before", "at"})
        return Selection(kind=kind, sort=sort, only_last_epoch=self.epochs == "last", **chosen)

    def page_after(self, path: str, page: Listed) -> str | None:
        """Return the address of the next page: the same query, after the last job. None after the last page.

        It has the position of that job, which may be deleted or change before the next page is requested.
        """
        if page.last is None:
            return None
        given = self.model_dump(mode="json", exclude_defaults=True, exclude={"limit", "before", "at"})
        named = {name: str(value).lower() if isinstance(value, bool) else value for name, value in given.items()}
        return f"{path}?" + urlencode({"limit": self.limit, **named, "before": page.last, "at": page.at})


class AnyJobsQuery(JobsQuery):
    kind: JobKind = Field(
        JobKind.TRAINING,
        description="Which jobs to list: runs, generated data sets, files that become training data, or evaluations.",
    )
    sort: Sort = Field(
        "newest",
        description="`newest`; `active`: running and waiting jobs before the others; `name`; `epochs`: those with the "
        "most finished epochs first; `frechet`: those with the lowest Frechet distance of any epoch first. Equal ones "
        "are listed newest first.",
    )
    search: Annotated[str, Field(max_length=200, json_schema_extra={"pattern": CLEAN}), AfterValidator(searched)] = (
        Field(
            "",
            description="List only jobs that have each of these words in name or tags, or as the beginning of the id.",
        )
    )
    tag: Annotated[str, Field(max_length=30, json_schema_extra={"pattern": CLEAN}), AfterValidator(searched)] = Field(
        "", description="List only jobs with this tag."
    )
    archived: bool | None = Field(None, description="List only archived jobs, or only those that are not.")

    @property
    def selection(self) -> Selection:
        """Raises JobNotFound if no list with this order has the position `at`."""
        searched = self.model_dump(include={"search", "tag", "archived"})
        return self.page_selection(self.kind, self.sort)._replace(**searched)


# ----------------------------------------------------------------------------
# Labels.


def clean_notes(notes: str) -> str:
    """Strip notes. Raises ValueError if they have control characters other than tabs and ends of lines."""
    notes = notes.replace("\r\n", "\n").strip()
    if re.search(f"[{HIDDEN}]", re.sub(r"[\n\t]", "", notes)):
        raise ValueError("should be text without control characters")
    return notes


def distinct(tags: list[str | None]) -> list[str]:
    """Return the tags without blank and repeated ones. Two tags are equal if they differ only in case."""
    return list({tag.casefold(): tag for tag in reversed(tags) if tag}.values())[::-1]


Tag = Annotated[str, Field(max_length=30, json_schema_extra={"pattern": CLEAN}), AfterValidator(clean)]


class JobLabels(BaseModel):
    """Labels of a job. Those that are omitted stay as they are."""

    model_config = ConfigDict(extra="forbid")

    name: Label | None = Field(None, description="Null or a blank name removes it.")
    notes: Annotated[
        str, Field(max_length=2000, json_schema_extra={"pattern": CLEAN_LINES}), AfterValidator(clean_notes)
    ] = ""
    tags: Annotated[list[Tag], Field(max_length=10), AfterValidator(distinct)] = []
    archived: bool = False

    @property
    def labels(self) -> Labels:
        """The labels that were sent."""
        sent = {name: getattr(self, name) for name in self.model_fields_set}
        return Labels(**{**sent, **({"name": sent["name"] or ""} if "name" in sent else {})})
