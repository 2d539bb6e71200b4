"""The state of a followed or awaited job, and when to ask again. Sends no requests."""

import re
import time
from dataclasses import dataclass
from typing import Literal

import httpx2

from acgan_client.calls import LONGEST_PAUSE_SECONDS, Call, at
from acgan_client.deadlines import Deadline
from acgan_client.errors import ClientError, NotUnderstood, Unavailable, WaitTimeout
from acgan_client.records import Dataset, Epoch, Job, JobStatus, Progress, Record
from acgan_client.records.evaluations import Evaluation
from acgan_client.responses import PAUSE_SECONDS, RECORD_LIMIT, ignored, parse

EVENT_ID = re.compile(r"[0-9]{1,20}-[0-9]{1,20}")
MOST_EPOCHS = 10_000  # ten times the maximum of a run
LONGEST_POLL_SECONDS = 2.0


class StatusEvent(Record):
    status: JobStatus


class TroubleEvent(Record):
    trouble: str | None


@dataclass(frozen=True)
class Change:
    """A change of a run: `kind` is its type, `job` the whole record after it."""

    kind: Literal["job", "status", "progress", "epoch", "trouble"]
    job: Job
    epoch: Epoch | None = None  # the finished epoch, if `kind` is "epoch"

    def _repr_html_(self) -> str:
        """Show the run in a notebook."""
        return self.job._repr_html_()


class Patience:
    """The pauses between attempts, and the end of an attempt to reach a service that stays away."""

    def __init__(self, patience_seconds: float, longest: float = LONGEST_PAUSE_SECONDS) -> None:
        self.patience_seconds = patience_seconds
        self.longest = longest
        self._pause = 0.0
        self._failing_since: float | None = None

    def answered(self) -> None:
        """Note that the service has answered."""
        self._failing_since = None

    def wait(self, error: ClientError | None = None) -> float:
        """Return the seconds to wait before the next attempt, after a response without news or an error.

        Raises the error if every attempt has failed for `patience_seconds`.
        """
        self._pause = min(2 * self._pause or PAUSE_SECONDS, self.longest)
        if error is None:
            return self._pause
        now = time.monotonic()
        if self._failing_since is None:
            self._failing_since = now
        if now - self._failing_since >= self.patience_seconds:
            raise error
        after = error.retry_after if isinstance(error, Unavailable) else 0.0
        return min(max(after, self._pause), LONGEST_PAUSE_SECONDS)


class Wait:
    """The time limit and the pauses of `wait`."""

    def __init__(self, job_id: str, timeout_seconds: float | None, patience_seconds: float) -> None:
        self.job_id = job_id
        self.timeout_seconds = timeout_seconds
        self.status = "not known"
        self.deadline = Deadline(timeout_seconds)
        self.patience = Patience(patience_seconds, LONGEST_POLL_SECONDS)

    def pause(self, record: Job | Dataset | Evaluation) -> float:
        """Return the seconds until the next request, while the job has not ended. Raises WaitTimeout."""
        self.status = record.status.value
        self.patience.answered()
        return self._within(self.patience.wait())

    def pause_after(self, error: ClientError) -> float:
        """Return the seconds until the next request. Raises WaitTimeout, or the error after `patience_seconds`."""
        return self._within(self.patience.wait(error))

    def _within(self, pause: float) -> float:
        if not self.deadline.allows(0):
            late = f"job {self.job_id} has not ended after {self.timeout_seconds} s"
            raise WaitTimeout(f"{late}; its status is {self.status}")
        return min(pause, pause if self.deadline.left is None else self.deadline.left)


class Follower(Patience):
    """The state of a followed run, and when to reconnect. Sends no requests."""

    def __init__(self, job_id: str, patience_seconds: float) -> None:
        super().__init__(patience_seconds)
        self.job_id = job_id
        self.job: Job | None = None
        self.last_id = ""
        self.ended = False
        self._reported: set[int] = set()

    def call(self) -> Call[None]:
        headers = {"Accept": "text/event-stream", **({"Last-Event-ID": self.last_id} if self.last_id else {})}
        return Call("GET", at("jobs", self.job_id, "events"), ignored, headers=headers)

    def events(self, response: httpx2.Response) -> httpx2.EventSource:
        """Return the events of a stream, decoded as UTF-8. Raises NotUnderstood if it is compressed."""
        if "Content-Encoding" in response.headers:
            raise NotUnderstood(f"the events of {response.url.host} are compressed, which this client did not request")
        response.encoding = "utf-8"
        return httpx2.EventSource(response, RECORD_LIMIT)

    def take(self, event: httpx2.ServerSentEvent) -> list[Change]:
        """Apply an event to the record and return the changes. Each finished epoch is reported once.

        Epochs that finished before the first event are reported too. Events of a kind that a newer service adds are
        ignored. Raises ValueError or NotUnderstood for an event that no acgan service sends.
        """
        if EVENT_ID.fullmatch(event.id):
            self.last_id = event.id
        self.answered()
        self._pause = 0.0
        if event.event == "job":
            self.job = parse(Job, event.data)
            self.ended = self.job.ended
            return [Change("job", self.job), *(self._finished(epoch) for epoch in self._unreported(self.job))]
        if self.job is None:
            return []
        match event.event:
            case "status":
                status = parse(StatusEvent, event.data).status
                trouble = self.job.trouble if status == JobStatus.CANCELLING else None
                self.job = self.job.model_copy(update={"status": status, "trouble": trouble})
                self.ended = self.job.ended
                return [Change("status", self.job)]
            case "progress":
                self.job = self.job.model_copy(update={"progress": parse(Progress, event.data)})
                return [Change("progress", self.job)]
            case "trouble":
                self.job = self.job.model_copy(update={"trouble": parse(TroubleEvent, event.data).trouble})
                return [Change("trouble", self.job)]
            case "epoch":
                return [self._add(self.job, parse(Epoch, event.data))]
        return []

    def _add(self, job: Job, epoch: Epoch) -> Change:
        epochs = sorted([*(each for each in job.epochs if each.epoch != epoch.epoch), epoch], key=lambda e: e.epoch)
        if len(epochs) > MOST_EPOCHS:
            raise NotUnderstood(
                f"the server sent more than {MOST_EPOCHS:,} epochs of a run, so it is not an acgan service"
            )
        self.job = job.model_copy(update={"epochs": epochs})
        return self._finished(epoch)

    def _unreported(self, job: Job) -> list[Epoch]:
        return [epoch for epoch in job.epochs if epoch.epoch not in self._reported]

    def _finished(self, epoch: Epoch) -> Change:
        assert self.job is not None
        self._reported.add(epoch.epoch)
        return Change("epoch", self.job, epoch)
