"""The server-sent events of a job: the name of each, and the JSON document that its `data` is."""

from typing import Annotated, Literal

from pydantic import BaseModel, Field, RootModel

from app.schemas.jobs import AnyJobView, EpochView
from models.records import Progress
from worker.jobs.model import JobStatus


class NamedEvent(BaseModel):
    id: str = Field(description="For `Last-Event-ID`.", examples=["1769860900123-0"])


class RecordEvent(NamedEvent):
    """The whole record. The first event of a stream, unless `Last-Event-ID` continues an earlier one."""

    event: Literal["job"]
    data: AnyJobView


class ProgressEvent(NamedEvent):
    event: Literal["progress"]
    data: Progress


class EpochEvent(NamedEvent):
    """An epoch has finished."""

    event: Literal["epoch"]
    data: EpochView


class StatusChange(BaseModel):
    status: JobStatus


class StatusEvent(NamedEvent):
    event: Literal["status"]
    data: StatusChange


class TroubleChange(BaseModel):
    trouble: str | None = Field(description="What is wrong with the run; null if that is over.")


class TroubleEvent(NamedEvent):
    event: Literal["trouble"]
    data: TroubleChange


AnyEvent = RecordEvent | ProgressEvent | EpochEvent | StatusEvent | TroubleEvent


class JobEvent(RootModel[Annotated[AnyEvent, Field(discriminator="event")]]):
    """One event of the stream. `data` is sent as JSON."""
