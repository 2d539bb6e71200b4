"""The synchronous client."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import httpx2

from app.client import calls
from app.client.answers import PAUSE_SECONDS, RECORD_LIMIT, Body, Drawn, check, in_a_sentence
from app.client.calls import DEFAULT_URL, STREAM_SECONDS, Answer, Call, Policy, headers
from app.client.connecting import Route
from app.client.deadline import limit_reads, reads_within, stream
from app.client.downloading import arriving, files_of, is_whole
from app.client.errors import Unavailable, Unreachable
from app.client.following import Change, Follower
from app.schemas.checkpoints import CheckpointList, CheckpointView, Serving
from app.schemas.datasets import DatasetList, DatasetView
from app.schemas.health import Readiness
from app.schemas.jobs import JobHistory, JobList, JobView
from models.config import TrainingConfig
from worker.jobs.model import JobStatus

if TYPE_CHECKING:  # takes a while to load, and only `pixels` needs it
    import numpy as np


class Client:
    """Sends requests to the service at `url`, with the API key `key` if it requires one.

    A request whose response was lost is sent again if it is idempotent. `follow` reconnects after a restart of the
    service, unless that lasts longer than `patience_seconds`.
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
        self.route = Route(self.url)
        with in_a_sentence(self.route):
            self.http = httpx2.Client(
                base_url=self.url,
                headers=headers(key),
                timeout=timeout_seconds,
                transport=transport,
                **self.route.options(),
            )
        limit_reads(self.http)

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
        """Start a run with `order` (a TrainingConfig or TrainingOrder), `fields` of it, or else the original recipe."""
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
        """Run a job's recipe again from the start. Returns the new job."""
        return self._ask(calls.control(job_id, "retry"))

    def move_to_front(self, job_id: str) -> JobView:
        return self._ask(calls.control(job_id, "front"))

    def history(self, job_id: str) -> JobHistory:
        return self._ask(calls.history(job_id))

    def history_csv(self, job_id: str) -> str:
        return self._ask(calls.history_csv(job_id))

    def samples(self, job_id: str, epoch: int) -> bytes:
        """Return the plot of an epoch, a PNG."""
        return self._ask(calls.samples(job_id, epoch))

    def follow(self, job_id: str) -> Iterator[Change]:
        """Yield every change until the run has ended. The last one has the final record.

        Yields each finished epoch once, also those that finished before the call. Raises Refused, and Unreachable or
        Unavailable after `patience_seconds` of it.
        """
        follower = Follower(job_id, self.patience_seconds)
        while True:
            try:
                if follower.ended:
                    yield Change("job", self.job(job_id))
                    return
                call = follower.call()
                with (
                    in_a_sentence(self.route),
                    stream(self.http, "GET", call.path, headers=call.headers, timeout=STREAM_SECONDS) as response,
                ):
                    if response.status_code != 200:
                        check(self._read(response), self.route.by)
                        follower.ended = True  # 204: the stream has no more events
                        continue
                    for event in follower.events(response):
                        yield from follower.take(event)
                pause = 0.0 if follower.ended else follower.wait()
            except (Unavailable, Unreachable) as error:
                pause = follower.wait(error)
            time.sleep(pause)

    # ----------------------------------------------------------------------------
    # Digits and checkpoints.

    def digits(self, label: int | None = None, **query: Any) -> Drawn:
        """Draw digits of one label, or of all ten, as a file. `n`, `seed`, `format` etc. as in `GET /digits`."""
        return self._ask(calls.digits(label, query))

    def pixels(self, label: int | None = None, **query: Any) -> "np.ndarray":
        """Draw digits as an array: uint8 (n, 28, 28), or of all ten classes (n, 10, 28, 28)."""
        return self._ask(calls.digit_pixels(label, query))

    def numbers(self, number: str, **query: Any) -> Drawn:
        """Draw a number of up to 40 decimal digits in one style, as a PNG."""
        return self._ask(calls.numbers(number, query))

    def morph(self, first: int, last: int, **query: Any) -> Drawn:
        """Draw an animation from one digit to another. `format` is `gif`, `webp` or `png`."""
        return self._ask(calls.morph(first, last, query))

    def evolution(self, job_id: str, label: int, **query: Any) -> bytes:
        """Draw one address with every epoch of a run: a strip as PNG, or an animation."""
        return self._ask(calls.evolution(job_id, label, query))

    def checkpoints(self) -> CheckpointList:
        return self._ask(calls.checkpoints())

    def checkpoint(self, name: str) -> CheckpointView:
        return self._ask(calls.checkpoint(name))

    def serving(self) -> Serving:
        return self._ask(calls.serving())

    def serve(self, policy: Policy, checkpoint: str | None = None) -> Serving:
        """Serve the newest checkpoint, the best, or, with `pinned`, the given one."""
        return self._ask(calls.serve(policy, checkpoint))

    def readiness(self) -> Readiness:
        return self._ask(calls.readiness())

    # ----------------------------------------------------------------------------
    # Generated data sets.

    def order(self, *, idempotency_key: str | None = None, **fields: Any) -> DatasetView:
        """Generate a data set. `per_class`, `seed` etc. as in `POST /datasets`. `dataset` returns its progress."""
        return self._ask(calls.order(fields, idempotency_key))

    def dataset(self, name: str) -> DatasetView:
        return self._ask(calls.dataset(name))

    def datasets(self, limit: int = 20, before: str | None = None) -> DatasetList:
        return self._ask(calls.datasets(limit, before))

    def download(self, name: str, folder: Path) -> Iterator[Path]:
        """Download the files of a data set into a folder, check each against its SHA-256, and yield its path.

        Files that are already complete are kept. Raises Refused until the data set is complete. Raises NotUnderstood,
        and leaves no partial file, if a file is damaged or the service names files that no data set has.
        """
        for file, record in files_of(self._ask(calls.manifest(name))).items():
            if not is_whole(folder / file, record):
                with (
                    in_a_sentence(self.route),
                    arriving(folder / file, record) as arrival,
                    stream(self.http, "GET", calls.at("datasets", name, file)) as response,
                ):
                    arrival.expect(response)
                    if response.status_code != 200:
                        check(self._read(response), self.route.by)
                    with reads_within(arrival.seconds):
                        for data in response.iter_raw():
                            arrival.take(data)
            yield folder / file

    def _ask(self, call: Call[Answer]) -> Answer:
        for left in reversed(range(calls.TRIES if call.repeatable else 1)):
            try:
                with (
                    in_a_sentence(self.route),
                    stream(self.http, call.method, call.path, **call.options()) as response,
                ):
                    whole = self._read(response, call.limit)
                    check(whole, self.route.by)
                    return call.read(whole)
            except Unreachable as error:
                if not left or calls.is_hopeless(error):
                    raise
            time.sleep(PAUSE_SECONDS)
        raise AssertionError("the last try returns or raises")

    def _read(self, response: httpx2.Response, limit: int = RECORD_LIMIT) -> httpx2.Response:
        body = Body(response, limit)
        with reads_within(body.seconds):
            for data in response.iter_raw():
                body.take(data)
        return body.whole()
