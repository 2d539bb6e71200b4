"""What is known of a run that is followed, and when to ask again. Does no asking itself."""

import time
from dataclasses import dataclass
from typing import Any, Literal

import httpx2

from app.client.calls import LONGEST_PAUSE_SECONDS, PAUSE_SECONDS, Call, ClientError, Unavailable, at
from app.schemas import EpochView, JobView
from models.history import Progress
from worker.jobs import ENDED, JobStatus


@dataclass(frozen=True)
class Change:
    """What has changed about a run: `kind` says what, and `job` is the whole record as it stands now."""

    kind: Literal["job", "status", "progress", "epoch", "trouble"]
    job: JobView
    epoch: EpochView | None = None  # that was finished, where one was


class Follower:
    """What is known of a run that is followed, and when to ask again. Does no asking itself."""

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

    def take(self, event: httpx2.ServerSentEvent) -> list[Change]:
        """Enter what was told into the record. Each finished epoch is told once, those before this began too."""
        self.last_id = event.id or self.last_id
        self._pause, self._failing_since = 0.0, None
        if event.event == "job":
            self.job = JobView.model_validate_json(event.data, extra="ignore")
            self.ended = self.job.status in ENDED
            return [Change("job", self.job), *(self._finished(epoch) for epoch in self._untold(self.job))]
        if self.job is None:
            return []
        data: Any = event.json()
        match event.event:
            case "status":
                status = JobStatus(data["status"])
                trouble = self.job.trouble if status == JobStatus.CANCELLING else None
                self.job = self.job.model_copy(update={"status": status, "trouble": trouble})
                self.ended = self.job.status in ENDED
                return [Change("status", self.job)]
            case "progress":
                progress = Progress.model_validate(data)
                self.job = self.job.model_copy(update={"progress": progress})
                return [Change("progress", self.job)]
            case "trouble":
                self.job = self.job.model_copy(update={"trouble": data["trouble"]})
                return [Change("trouble", self.job)]
            case "epoch":
                epoch = EpochView.model_validate(data)
                others = [each for each in self.job.epochs if each.epoch != epoch.epoch]
                epochs = sorted([*others, epoch], key=lambda each: each.epoch)
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
        """Say in how many seconds to ask again, after a stream that ended, or an error.

        Raises the error where there has been nothing else for longer than the patience.
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
