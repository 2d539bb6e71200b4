"""The asynchronous client: the same methods as `Client`, as coroutines."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import anyio
import httpx2

from app.client import calls
from app.client.answers import PAUSE_SECONDS, RECORD_LIMIT, Body, Drawn, check, in_a_sentence
from app.client.calls import DEFAULT_URL, STREAM_SECONDS, Answer, Call, Policy, headers
from app.client.connecting import Route
from app.client.deadline import async_reads_within, async_stream
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


class AsyncClient:
    """Like Client, with coroutines."""

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
        self.route = Route(self.url)
        with in_a_sentence(self.route):
            self.http = httpx2.AsyncClient(
                base_url=self.url,
                headers=headers(key),
                timeout=timeout_seconds,
                transport=transport,
                **self.route.options(),
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
                with in_a_sentence(self.route):
                    async with async_stream(
                        self.http, "GET", call.path, headers=call.headers, timeout=STREAM_SECONDS
                    ) as response:
                        if response.status_code != 200:
                            check(await self._read(response), self.route.by)
                            follower.ended = True
                            continue
                        async for event in follower.events(response):
                            for change in follower.take(event):
                                yield change
                pause = 0.0 if follower.ended else follower.wait()
            except (Unavailable, Unreachable) as error:
                pause = follower.wait(error)
            await anyio.sleep(pause)

    # ----------------------------------------------------------------------------
    # Digits and checkpoints.

    async def digits(self, label: int | None = None, **query: Any) -> Drawn:
        return await self._ask(calls.digits(label, query))

    async def pixels(self, label: int | None = None, **query: Any) -> "np.ndarray":
        return await self._ask(calls.digit_pixels(label, query))

    async def numbers(self, number: str, **query: Any) -> Drawn:
        return await self._ask(calls.numbers(number, query))

    async def morph(self, first: int, last: int, **query: Any) -> Drawn:
        return await self._ask(calls.morph(first, last, query))

    async def evolution(self, job_id: str, label: int, **query: Any) -> bytes:
        return await self._ask(calls.evolution(job_id, label, query))

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

    # ----------------------------------------------------------------------------
    # Generated data sets.

    async def order(self, *, idempotency_key: str | None = None, **fields: Any) -> DatasetView:
        return await self._ask(calls.order(fields, idempotency_key))

    async def dataset(self, name: str) -> DatasetView:
        return await self._ask(calls.dataset(name))

    async def datasets(self, limit: int = 20, before: str | None = None) -> DatasetList:
        return await self._ask(calls.datasets(limit, before))

    async def download(self, name: str, folder: Path) -> AsyncIterator[Path]:
        for file, record in files_of(await self._ask(calls.manifest(name))).items():
            if not is_whole(folder / file, record):
                with in_a_sentence(self.route), arriving(folder / file, record) as arrival:
                    async with async_stream(self.http, "GET", calls.at("datasets", name, file)) as response:
                        arrival.expect(response)
                        if response.status_code != 200:
                            check(await self._read(response), self.route.by)
                        async with async_reads_within(arrival.seconds):
                            async for data in response.aiter_raw():
                                arrival.take(data)
            yield folder / file

    async def _ask(self, call: Call[Answer]) -> Answer:
        for left in reversed(range(calls.TRIES if call.repeatable else 1)):
            try:
                with in_a_sentence(self.route):
                    async with async_stream(self.http, call.method, call.path, **call.options()) as response:
                        whole = await self._read(response, call.limit)
                    check(whole, self.route.by)
                    return call.read(whole)
            except Unreachable as error:
                if not left or calls.is_hopeless(error):
                    raise
            await anyio.sleep(PAUSE_SECONDS)
        raise AssertionError("the last try returns or raises")

    async def _read(self, response: httpx2.Response, limit: int = RECORD_LIMIT) -> httpx2.Response:
        body = Body(response, limit)
        async with async_reads_within(body.seconds):
            async for data in response.aiter_raw():
                body.take(data)
        return body.whole()
