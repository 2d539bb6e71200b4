"""Request and response bodies of generated data sets."""

from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from app.schemas.jobs import WEBHOOK, JobsQuery, Priority, UnreadableJobView, Webhook
from app.schemas.links import Link
from models.records import Record
from models.synthesis.layouts.table import LAYOUTS
from models.synthesis.order import FILES, MANIFEST, DatasetOrder
from worker.jobs.lists.catalog import Listed
from worker.jobs.model import Job, JobStatus, RunsOn

if TYPE_CHECKING:
    LayoutName = str
else:
    LayoutName = Literal[tuple(LAYOUTS)]

FILE_NAME = f"^({'|'.join(name.replace('.', '[.]') for name in [*FILES, MANIFEST])})$"


class WantedDataset(DatasetOrder):
    """A data set to generate, its priority and the workers that may generate it."""

    priority: Priority = Field(
        0, description="Jobs with a higher priority start first. Runs and data sets share one queue."
    )
    runs_on: RunsOn = Field("any", description="Workers that may generate it.")
    webhook: Webhook | None = WEBHOOK

    def order(self, checkpoint: str) -> DatasetOrder:
        """Return the order with the id of the checkpoint that `latest` or `best` refers to now."""
        return DatasetOrder(**{**self.model_dump(include=set(DatasetOrder.model_fields)), "checkpoint": checkpoint})


class ArchiveQuery(BaseModel):
    model_config = ConfigDict(extra="forbid")

    layout: LayoutName = Field(
        "mnist", description=", ".join(f"`{name}`: {layout.description}" for name, layout in LAYOUTS.items()) + "."
    )


class DatasetProgress(Record):
    drawn: int = Field(description="Digits drawn until now.")
    digits: int
    digits_per_second: float
    eta_seconds: float


class DatasetLinks(Record):
    self: Link
    job: Link = Field(description="The job that generates it. Cancel, resume and follow it like any other job.")
    events: Link
    checkpoint: Link


class DatasetView(Record):
    """A generated data set and its progress."""

    id: str
    status: JobStatus
    order: DatasetOrder
    created_at: datetime
    started_at: datetime | None
    ended_at: datetime | None
    progress: DatasetProgress | None = Field(description="Null until the first digits are drawn.")
    error: str | None
    links: DatasetLinks
    files: dict[str, Link] = Field(description="URL of each file. Empty until all files exist, and after deletion.")

    @classmethod
    def of(cls, job: Job, made: bool = False) -> "DatasetView":
        """Return the view of a job; `made` is true if its files exist."""
        assert job.order is not None
        here, progress = f"/datasets/{job.id}", job.progress
        names = [name for name in FILES if job.order.verify is not None or "redraws" not in name]
        return cls(
            **job.model_dump(include={"id", "status", "created_at", "started_at", "ended_at", "error"}),
            order=job.order,
            progress=progress
            and DatasetProgress(
                drawn=progress.batch,
                digits=progress.batches,
                digits_per_second=progress.images_per_second,
                eta_seconds=progress.eta_seconds,
            ),
            links=DatasetLinks(
                self=here,
                job=f"/jobs/{job.id}",
                events=f"/jobs/{job.id}/events",
                checkpoint=f"/checkpoints/{job.order.checkpoint}",
            ),
            files={name: f"{here}/{name}" for name in [MANIFEST, *names]} if made else {},
        )


class DatasetList(BaseModel):
    datasets: list[Annotated[DatasetView | UnreadableJobView, Field(union_mode="left_to_right")]] = Field(
        description="Newest first."
    )
    next: Link | None = Field(description="URL of the next page, with older data sets; null on the last page.")

    @classmethod
    def of(cls, datasets: list[DatasetView | UnreadableJobView], page: Listed, query: JobsQuery) -> "DatasetList":
        return cls(datasets=datasets, next=query.page_after("/datasets", page))
