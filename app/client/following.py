"""The state of a followed run, and when to reconnect. Sends no requests."""

import re
import time
from dataclasses import dataclass
from typing import Literal

import httpx2
from pydantic import BaseModel

from app.client.answers import PAUSE_SECONDS, RECORD_LIMIT, parse
from app.client.calls import LONGEST_PAUSE_SECONDS, Call, at
from app.client.errors import ClientError, NotUnderstood, Unavailable
from app.schemas.jobs import EpochView, JobView
from models.records import Progress
from worker.jobs.model import ENDED, JobStatus

EVENT_ID = re.compile(r"[0-9]{1,20}-[0-9]{1,20}")
MOST_EPOCHS = 10_000  # ten times the maximum of a run


class StatusEvent(BaseModel):
    status: JobStatus


class TroubleEvent(BaseModel):
    trouble: str | None


@dataclass(frozen=True)
class Change:
    """A change of a run: `kind` is its type, `job` the whole record after it."""

    kind: Literal["job", "status", "progress", "epoch", "trouble"]
    job: JobView
    epoch: EpochView | None = None  # the finished epoch, if `kind` is "epoch"


class Follower:
    """The state of a followed run, and when to reconnect. Sends no requests."""

    def __init__(self, job_id: str, patience_seconds: float) -> None:
        self.job_id = job_id
        self.patience_seconds = patience_seconds
        self.job: JobView | None = None
        self.last_id = ""
        self.ended = False
        self._told: set[int] = set()
        self._pause = 0.0
        self._failing_since: float | None = None

    def call(self) -> Call[None]:
        headers = {"Accept": "text/event-stream", **({"Last-Event-ID": self.last_id} if self.last_id else {})}
        return Call("GET", at("jobs", self.job_id, "events"), lambda _: None, headers=headers)

    def events(self, response: httpx2.Response) -> httpx2.EventSource:
        """Return the events of a stream, decoded as UTF-8. Raises NotUnderstood if it is compressed."""
        if "Content-Encoding" in response.headers:
            raise NotUnderstood(f"the events of {response.url.host} are compressed, which this client did not request")
        response.encoding = "utf-8"
        return httpx2.EventSource(response, RECORD_LIMIT)

    def take(self, event: httpx2.ServerSentEvent) -> list[Change]:
        """Apply an event to the record and return the changes. Each finished epoch is reported once.

        Epochs that finished before the first event are reported too. Raises ValueError or NotUnderstood for an event
        that no acgan service sends.
        """
        if EVENT_ID.fullmatch(event.id):
            self.last_id = event.id
        self._pause, self._failing_since = 0.0, None
        if event.event == "job":
            self.job = parse(JobView, event.data)
            self.ended = self.job.status in ENDED
            return [Change("job", self.job), *(self._finished(epoch) for epoch in self._untold(self.job))]
        if self.job is None:
            return []
        match event.event:
            case "status":
                status = parse(StatusEvent, event.data).status
                trouble = self.job.trouble if status == JobStatus.CANCELLING else None
                self.job = self.job.model_copy(update={"status": status, "trouble": trouble})
                self.ended = self.job.status in ENDED
                return [Change("status", self.job)]
            case "progress":
                progress = parse(Progress, event.data)
                self.job = self.job.model_copy(update={"progress": progress})
                return [Change("progress", self.job)]
            case "trouble":
                self.job = self.job.model_copy(update={"trouble": parse(TroubleEvent, event.data).trouble})
                return [Change("trouble", self.job)]
            case "epoch":
                epoch = parse(EpochView, event.data)
                others = [each for each in self.job.epochs if each.epoch != epoch.epoch]
                epochs = sorted([*others, epoch], key=lambda each: each.epoch)
                if len(epochs) > MOST_EPOCHS:
                    raise NotUnderstood(
                        f"the server sent more than {MOST_EPOCHS:,} epochs of a run, so it is not an acgan service"
                    )
                self.job = self.job.model_copy(update={"epochs": epochs})
                return [self._finished(epoch)]
        return []

    def _untold(self, job: JobView) -> list[EpochView]:
        return [epoch for epoch in job.epochs if epoch.epoch not in self._told]

    def _finished(self, epoch: EpochView) -> Change:
        assert self.job is not None
        self._told.add(epoch.epoch)
        return Change("epoch", self.job, epoch)

    def wait(self, error: ClientError | None = None) -> float:
        """Return the seconds to wait before reconnecting, after a stream that ended or an error.

        Raises the error if every attempt has failed for `patience_seconds`.
        """
        self._pause = min(2 * self._pause or PAUSE_SECONDS, LONGEST_PAUSE_SECONDS)
        if error is None:
            return self._pause
        now = time.monotonic()
        if self._failing_since is None:
            self._failing_since = now
        if now - self._failing_since >= self.patience_seconds:
            raise error
        after = error.retry_after if isinstance(error, Unavailable) else 0.0
        return min(max(after, self._pause), LONGEST_PAUSE_SECONDS)
