"""Request and response bodies of evaluations."""

from datetime import datetime
from typing import Annotated

from pydantic import BaseModel, Field

from app.schemas.jobs import WEBHOOK, JobsQuery, Priority, UnreadableJobView, Webhook
from app.schemas.links import Link
from models.evaluation.evaluation_records import Effort, Evaluation, EvaluationOrder
from models.records import Record
from worker.jobs.lists.catalog import Listed, Selection
from worker.jobs.model import Job, JobKind, JobStatus, RunsOn


class WantedEvaluation(EvaluationOrder):
    """A checkpoint to evaluate, the priority and the workers that may evaluate it."""

    priority: Priority = Field(
        0,
        description="Jobs with a higher priority start first. Evaluations wait behind runs and data sets of the same "
        "priority.",
    )
    runs_on: RunsOn = Field("any", description="Workers that may evaluate it.")
    webhook: Webhook | None = WEBHOOK

    def order(self, checkpoint: str) -> EvaluationOrder:
        """Return the order with the id of the checkpoint that `latest` or `best` refers to now."""
        return EvaluationOrder(checkpoint=checkpoint, effort=self.effort)


class EvaluationProgress(Record):
    done: int = Field(description="Steps that are done.")
    steps: int
    eta_seconds: float


class EvaluationLinks(Record):
    self: Link
    job: Link = Field(description="The job that evaluates. Cancel, resume, follow and delete it like any other job.")
    events: Link
    checkpoint: Link
    result: Link | None = Field(description="URL of the figures; null until they are computed.")
    picture: Link | None = Field(description="URL of the charts; null until the figures are computed.")


class EvaluationView(Record):
    """An evaluation of a checkpoint, and its figures when they are computed."""

    id: str
    status: JobStatus
    checkpoint: str
    effort: Effort
    created_at: datetime
    started_at: datetime | None
    ended_at: datetime | None
    progress: EvaluationProgress | None = Field(description="Null until the first step has begun.")
    error: str | None
    result: Evaluation | None = Field(description="The figures. Null until they are computed.")
    links: EvaluationLinks

    @classmethod
    def of(cls, job: Job, result: Evaluation | None = None) -> "EvaluationView":
        assert job.evaluation is not None
        here, progress = f"/evaluations/{job.id}", job.progress
        return cls(
            **job.model_dump(include={"id", "status", "created_at", "started_at", "ended_at", "error"}),
            checkpoint=job.evaluation.checkpoint,
            effort=job.evaluation.effort,
            progress=progress
            and EvaluationProgress(done=progress.batch, steps=progress.batches, eta_seconds=progress.eta_seconds),
            result=result,
            links=EvaluationLinks(
                self=here,
                job=f"/jobs/{job.id}",
                events=f"/jobs/{job.id}/events",
                checkpoint=f"/checkpoints/{job.evaluation.checkpoint}",
                result=result and f"{here}/result.json",
                picture=result and f"{here}/picture.png",
            ),
        )


class EvaluationsQuery(JobsQuery):
    checkpoint: Annotated[str, Field(max_length=100)] | None = Field(
        None, description="List only evaluations of this checkpoint, given its id."
    )

    @property
    def selection(self) -> Selection:
        """Raises JobNotFound if no list with this order has the position `at`."""
        return self.page_selection(JobKind.EVALUATION)._replace(checkpoint=self.checkpoint or "")


class EvaluationList(BaseModel):
    evaluations: list[Annotated[EvaluationView | UnreadableJobView, Field(union_mode="left_to_right")]] = Field(
        description="Newest first."
    )
    next: Link | None = Field(description="URL of the next page, with older evaluations; null on the last page.")

    @classmethod
    def of(
        cls, evaluations: list[EvaluationView | UnreadableJobView], page: Listed, query: EvaluationsQuery
    ) -> "EvaluationList":
        return cls(evaluations=evaluations, next=query.page_after("/evaluations", page))
