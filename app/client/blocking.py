"""A client that waits for each answer."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import httpx2

from app.client import calls
from app.client.calls import (
    DEFAULT_URL,
    LONGEST_EVENT,
    STREAM_SECONDS,
    Answer,
    Call,
    Drawn,
    Policy,
    Unavailable,
    Unreachable,
    check,
    headers,
    in_a_sentence,
)
from app.client.downloading import arriving, is_whole
from app.client.following import Change, Follower
from app.schemas import CheckpointList, CheckpointView, JobHistory, JobList, JobView, Readiness, Serving
from app.wire.ordering import DatasetList, DatasetView
from models.config import TrainingConfig
from worker.jobs import JobStatus

if TYPE_CHECKING:  # takes a while to load, and only `pixels` needs it
    import numpy as np


class Client:
    """Asks the service at `url`, with `key` where it wants one.

    What was lost on the way is asked again, where asking twice is asking once. `follow` goes on through restarts of
    the service, as long as none lasts longer than `patience_seconds`.
    """

    def __init__(
        self,
        url: str = DEFAULT_URL,
        key: str | None = None,
        timeout_seconds: float = 30.0,
        patience_seconds: float = 60.0,
        transport: httpx2.BaseTransport | None = None,
    ) -> None:
        self.url = url.rstrip("/")
        self.patience_seconds = patience_seconds
        with in_a_sentence(url):
            self.http = httpx2.Client(
                base_url=self.url, headers=headers(key), timeout=timeout_seconds, transport=transport
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self.http.close()

    # ----------------------------------------------------------------------------
    # Runs.

    def train(
        self, order: TrainingConfig | None = None, *, idempotency_key: str | None = None, **fields: Any
    ) -> JobView:
        """Start a run: `order`, a TrainingConfig or TrainingOrder, or the same fields by name, or the seed's recipe."""
        return self._ask(calls.start(order, idempotency_key, fields))

    def jobs(self, limit: int = 20, status: JobStatus | str | None = None, before: str | None = None) -> JobList:
        return self._ask(calls.jobs(limit, status, before))

    def job(self, job_id: str) -> JobView:
        return self._ask(calls.job(job_id))

    def cancel(self, job_id: str) -> JobView:
        return self._ask(calls.control(job_id, "cancel"))

    def resume(self, job_id: str) -> JobView:
        return self._ask(calls.control(job_id, "resume"))

    def retry(self, job_id: str) -> JobView:
        """Run a job's recipe once more. Returns the new job."""
        return self._ask(calls.control(job_id, "retry"))

    def move_to_front(self, job_id: str) -> JobView:
        return self._ask(calls.control(job_id, "front"))

    def history(self, job_id: str) -> JobHistory:
        return self._ask(calls.history(job_id))

    def history_csv(self, job_id: str) -> str:
        return self._ask(calls.history_csv(job_id))

    def samples(self, job_id: str, epoch: int) -> bytes:
        """Fetch an epoch's plot, a PNG."""
        return self._ask(calls.samples(job_id, epoch))

    def follow(self, job_id: str) -> Iterator[Change]:
        """Tell of every change until the run has ended; the last one carries its record as it ended.

        Every finished epoch is told once, those finished before too. Raises Refused, and Unreachable or Unavailable
        once that has lasted for `patience_seconds`.
        """
        follower = Follower(job_id, self.patience_seconds)
        while True:
            try:
                if follower.ended:
                    yield Change("job", self.job(job_id))
                    return
                call = follower.call()
                with (
                    in_a_sentence(self.url),
                    self.http.stream("GET", call.path, headers=call.headers, timeout=STREAM_SECONDS) as response,
                ):
                    if response.status_code != 200:
                        response.read()
                        check(response)
                        follower.ended = True  # 204: there is no more to come
                        continue
                    for event in httpx2.EventSource(response, LONGEST_EVENT):
                        yield from follower.take(event)
                pause = 0.0 if follower.ended else follower.wait()
            except (Unavailable, Unreachable) as error:
                pause = follower.wait(error)
            time.sleep(pause)

    # ----------------------------------------------------------------------------
    # Digits, and what draws them.

    def digits(self, label: int | None = None, **query: Any) -> Drawn:
        """Draw digits of a label, or of all ten, as a file; `n`, `seed`, `format` and so on as in `GET /digits`."""
        return self._ask(calls.digits(label, query))

    def pixels(self, label: int | None = None, **query: Any) -> "np.ndarray":
        """Draw digits as an array: uint8 (n, 28, 28), or of all ten classes (n, 10, 28, 28)."""
        return self._ask(calls.digit_pixels(label, query))

    def numbers(self, number: str, **query: Any) -> Drawn:
        """Write a number, up to 40 decimal digits, in one hand: a PNG."""
        return self._ask(calls.numbers(number, query))

    def morph(self, first: int, last: int, **query: Any) -> Drawn:
        """Film one digit that turns into another; `format` is `gif`, `webp` or `png`."""
        return self._ask(calls.morph(first, last, query))

    def evolution(self, job_id: str, label: int, **query: Any) -> bytes:
        """Fetch one address at every epoch of a run: a strip as PNG, or a film."""
        return self._ask(calls.evolution(job_id, label, query))

    def checkpoints(self) -> CheckpointList:
        return self._ask(calls.checkpoints())

    def checkpoint(self, name: str) -> CheckpointView:
        return self._ask(calls.checkpoint(name))

    def serving(self) -> Serving:
        return self._ask(calls.serving())

    def serve(self, policy: Policy, checkpoint: str | None = None) -> Serving:
        """Serve the newest checkpoint, the best, or, with `pinned`, the one that is named."""
        return self._ask(calls.serve(policy, checkpoint))

    def readiness(self) -> Readiness:
        return self._ask(calls.readiness())

    # ----------------------------------------------------------------------------
    # Data sets on order.

    def order(self, *, idempotency_key: str | None = None, **fields: Any) -> DatasetView:
        """Order a data set, `per_class`, `seed` and so on as in `POST /datasets`; follow it by `dataset`."""
        return self._ask(calls.order(fields, idempotency_key))

    def dataset(self, name: str) -> DatasetView:
        return self._ask(calls.dataset(name))

    def datasets(self, limit: int = 20, before: str | None = None) -> DatasetList:
        return self._ask(calls.datasets(limit, before))

    def download(self, name: str, folder: Path) -> Iterator[Path]:
        """Fetch the files of a data set into a folder, each checked against its SHA-256, and tell of each.

        What lies there already is kept. Raises Refused before all are made, NotUnderstood where a file came damaged.
        """
        manifest = self._ask(calls.manifest(name))
        for file, record in manifest.files.items():
            if not is_whole(folder / file, record):
                with (
                    in_a_sentence(self.url),
                    arriving(folder / file, record) as arrival,
                    self.http.stream("GET", calls.at("datasets", name, file)) as response,
                ):
                    if response.status_code != 200:
                        response.read()
                        check(response)
                    for data in response.iter_raw():
                        arrival.take(data)
            yield folder / file

    def _ask(self, call: Call[Answer]) -> Answer:
        for left in reversed(range(calls.TRIES if call.repeatable else 1)):
            try:
                with in_a_sentence(self.url):
                    response = self.http.request(call.method, call.path, **call.options())
                    check(response)
                    return call.read(response)
            except Unreachable as error:
                if not left or isinstance(error.__cause__, httpx2.ConnectError):
                    raise
            time.sleep(calls.PAUSE_SECONDS)
        raise AssertionError("the last try returns or raises")
