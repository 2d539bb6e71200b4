"""The two clients: one that waits, and one to be awaited. What is asked and how it is read is in calls.py."""

import time
from collections.abc import AsyncIterator, Iterator
from typing import Any, Literal, Self

import anyio
import httpx2
import numpy as np

from app.client import calls
from app.client.calls import (
    Answer,
    Call,
    Change,
    Drawn,
    Follower,
    Unavailable,
    Unreachable,
    check,
    in_a_sentence,
)
from app.schemas import CheckpointList, CheckpointView, JobHistory, JobList, JobView, Readiness, Serving
from models.config import TrainingConfig
from models.version import code_version
from worker.jobs import JobStatus

DEFAULT_URL = "http://127.0.0.1:8000"
STREAM_SECONDS = 45.0  # the service says something every 15, so that after these a connection is dead
LONGEST_EVENT = 64_000_000  # bytes: the record of a thousand epochs is some millions

Policy = Literal["newest", "best", "pinned"]


def headers(key: str | None) -> dict[str, str]:
    named = {"User-Agent": f"acgan/{code_version()}", "Accept": "*/*"}
    return {**named, "Authorization": f"Bearer {key}"} if key else named


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

    def pixels(self, label: int | None = None, **query: Any) -> np.ndarray:
        """Draw digits as an array: uint8 (n, 28, 28), or of all ten classes (n, 10, 28, 28)."""
        return self._ask(calls.digit_pixels(label, query))

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


class AsyncClient:
    """Client, to be awaited."""

    def __init__(
        self,
        url: str = DEFAULT_URL,
        key: str | None = None,
        timeout_seconds: float = 30.0,
        patience_seconds: float = 60.0,
        transport: httpx2.AsyncBaseTransport | None = None,
    ) -> None:
        self.url = url.rstrip("/")
        self.patience_seconds = patience_seconds
        with in_a_sentence(url):
            self.http = httpx2.AsyncClient(
                base_url=self.url, headers=headers(key), timeout=timeout_seconds, transport=transport
            )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        await self.http.aclose()

    # ----------------------------------------------------------------------------
    # Runs.

    async def train(
        self, order: TrainingConfig | None = None, *, idempotency_key: str | None = None, **fields: Any
    ) -> JobView:
        return await self._ask(calls.start(order, idempotency_key, fields))

    async def jobs(self, limit: int = 20, status: JobStatus | str | None = None, before: str | None = None) -> JobList:
        return await self._ask(calls.jobs(limit, status, before))

    async def job(self, job_id: str) -> JobView:
        return await self._ask(calls.job(job_id))

    async def cancel(self, job_id: str) -> JobView:
        return await self._ask(calls.control(job_id, "cancel"))

    async def resume(self, job_id: str) -> JobView:
        return await self._ask(calls.control(job_id, "resume"))

    async def retry(self, job_id: str) -> JobView:
        return await self._ask(calls.control(job_id, "retry"))

    async def move_to_front(self, job_id: str) -> JobView:
        return await self._ask(calls.control(job_id, "front"))

    async def history(self, job_id: str) -> JobHistory:
        return await self._ask(calls.history(job_id))

    async def history_csv(self, job_id: str) -> str:
        return await self._ask(calls.history_csv(job_id))

    async def samples(self, job_id: str, epoch: int) -> bytes:
        return await self._ask(calls.samples(job_id, epoch))

    async def follow(self, job_id: str) -> AsyncIterator[Change]:
        follower = Follower(job_id, self.patience_seconds)
        while True:
            try:
                if follower.ended:
                    yield Change("job", await self.job(job_id))
                    return
                call = follower.call()
                with in_a_sentence(self.url):
                    async with self.http.stream(
                        "GET", call.path, headers=call.headers, timeout=STREAM_SECONDS
                    ) as response:
                        if response.status_code != 200:
                            await response.aread()
                            check(response)
                            follower.ended = True
                            continue
                        async for event in httpx2.EventSource(response, LONGEST_EVENT):
                            for change in follower.take(event):
                                yield change
                pause = 0.0 if follower.ended else follower.wait()
            except (Unavailable, Unreachable) as error:
                pause = follower.wait(error)
            await anyio.sleep(pause)

    # ----------------------------------------------------------------------------
    # Digits, and what draws them.

    async def digits(self, label: int | None = None, **query: Any) -> Drawn:
        return await self._ask(calls.digits(label, query))

    async def pixels(self, label: int | None = None, **query: Any) -> np.ndarray:
        return await self._ask(calls.digit_pixels(label, query))

    async def checkpoints(self) -> CheckpointList:
        return await self._ask(calls.checkpoints())

    async def checkpoint(self, name: str) -> CheckpointView:
        return await self._ask(calls.checkpoint(name))

    async def serving(self) -> Serving:
        return await self._ask(calls.serving())

    async def serve(self, policy: Policy, checkpoint: str | None = None) -> Serving:
        return await self._ask(calls.serve(policy, checkpoint))

    async def readiness(self) -> Readiness:
        return await self._ask(calls.readiness())

    async def _ask(self, call: Call[Answer]) -> Answer:
        for left in reversed(range(calls.TRIES if call.repeatable else 1)):
            try:
                with in_a_sentence(self.url):
                    response = await self.http.request(call.method, call.path, **call.options())
                    check(response)
                    return call.read(response)
            except Unreachable as error:
                if not left or isinstance(error.__cause__, httpx2.ConnectError):
                    raise
            await anyio.sleep(calls.PAUSE_SECONDS)
        raise AssertionError("the last try returns or raises")
