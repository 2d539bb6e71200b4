"""The API's access to job records: it accepts, reads, cancels, resumes and deletes jobs."""

import hashlib
import json
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any, NamedTuple

import redis
import redis.asyncio
from pydantic import BaseModel
from redis.backoff import NoBackoff

from models.config import TrainingConfig
from models.errors import Conflict, NotFound, Unavailable
from worker.jobs import scripts
from worker.jobs.codec import BEING_DELETED, AnyJob, UnreadableJob, decode, encode, present, with_trouble
from worker.jobs.errors import raises_store_unavailable
from worker.jobs.keys import (
    SEQUENCE,
    WORKERS,
    epochs_key,
    idempotency_key,
    job_key,
)
from worker.jobs.model import (
    ENDED,
    Job,
    JobKind,
    JobStatus,
    RunsOn,
    Standing,
    job_id_of,
    kind_of_order,
)
from worker.jobs.redis_client import check_eviction, check_memory, heedful
from worker.jobs.standing import read_standing, read_worker_loops


class JobNotFound(NotFound, code="job-not-found"):
    """No job has this id."""


class QueueFull(Unavailable, code="queue-full"):
    """The queue has no free place."""

    message = "{limit} jobs wait already: retry when some of them have run"

    def __init__(self, limit: int) -> None:
        super().__init__(self.message.format(limit=limit), limit=limit)


class ShareTaken(QueueFull, code="queue-share-used"):
    """The caller's waiting jobs have reached its share of the queue."""

    message = (
        "you have too many waiting jobs: of {limit} places, one caller never gets more than are still free, so that "
        "others can queue jobs. Retry when some of your jobs have run"
    )


class IdempotencyConflict(Conflict, code="idempotency-conflict"):
    """An idempotency key was sent with a different request than before."""


class InvalidTransition(Conflict, code="invalid-transition"):
    """The job's state does not allow the operation. The message names the states that do."""


class NotUnderstood(InvalidTransition, code="record-not-understood"):
    """This version does not understand the job's record. The message gives the reason."""


def conflict(job_id: str) -> IdempotencyConflict:
    return IdempotencyConflict(f"this idempotency key was used for another request, now job {job_id}: use a new one")


# ----------------------------------------------------------------------------
# The asynchronous client.


NewId = tuple[str, int]  # of a job, and its place in the order of acceptance


class Order(NamedTuple):
    """A request for a job. `dataset` is what it makes, unless it is a run.

    Of a generated data set, `config` is that of the run that trained its generator.
    """

    config: TrainingConfig
    priority: int = 0
    runs_on: RunsOn = "any"
    caller: str | None = None
    retry_of: str | None = None
    dataset: BaseModel | None = None
    idempotency_key: str | None = None
    webhook: str | None = None  # address of the messages about its ends
    given_kind: JobKind | None = None  # if None, `dataset` decides
    traceparent: str = ""  # context of the trace that continues in the worker
    asked: TrainingConfig | None = None  # the config in the request, if `config` says more, such as a version
    request: str = ""  # checksum of the request as it was sent

    @property
    def kind(self) -> JobKind:
        return self.given_kind or kind_of_order(self.dataset)

    @property
    def fields(self) -> dict[str, str]:
        """Return the first fields of the record."""
        named = {"caller": self.caller, "retry_of": self.retry_of, "webhook": self.webhook}
        named |= {"traceparent": self.traceparent}
        return encode(self.kind, self.config, self.priority, self.runs_on, self.dataset, named)

    @property
    def fingerprint(self) -> str:
        """Return the checksum that earlier versions compare. It omits the trace and the kind, as theirs did."""
        wanted = self._replace(config=self.asked or self.config).fields
        fields = {name: value for name, value in wanted.items() if name not in ("kind", "traceparent")}
        return hashlib.sha256(json.dumps(fields).encode()).hexdigest()


def understood(job: AnyJob) -> Job:
    """Return the job, if this version understands its record. Raises NotUnderstood."""
    if isinstance(job, UnreadableJob):
        raise NotUnderstood(f"job {job.id}: {job.trouble}")
    return job


def wording(status: str) -> str:
    return f"has {status} already" if status in (JobStatus.SUCCEEDED, JobStatus.FAILED) else f"is {status}"


@raises_store_unavailable
class JobClient:
    """Calls raise StoreUnavailable if Redis does not respond within about a second."""

    def __init__(self, client: "redis.asyncio.Redis", queue_limit: int = 100, has_shares: bool = False) -> None:
        self.redis = client
        self.queue_limit = queue_limit
        self.has_shares = has_shares  # whether callers share the queue; only API keys identify them
        self._create = client.register_script(scripts.CREATE)
        self._cancel = client.register_script(scripts.CANCEL)
        self._resume = client.register_script(scripts.RESUME)
        self._front = client.register_script(scripts.FRONT)
        self._delete = client.register_script(scripts.DELETE)

    @classmethod
    def connect(cls, url: str, queue_limit: int = 100, has_shares: bool = False) -> "JobClient":
        """Return a client that connects at the first call. Without Redis, calls fail within about a second."""
        client = redis.asyncio.Redis.from_url(
            url,
            decode_responses=True,
            encoding_errors="replace",
            socket_timeout=1.0,
            socket_connect_timeout=1.0,
            retry=redis.asyncio.retry.Retry(NoBackoff(), 1),
        )
        return cls(heedful(client), queue_limit, has_shares)

    async def ping(self) -> None:
        """Raises UnsafeRedisConfig if this Redis may lose jobs."""
        check_eviction(await self.redis.info("memory"))

    async def check_memory(self) -> None:
        """Raises UnsafeRedisConfig, and RedisNearlyFull if what a caller stores would take memory of accepted jobs."""
        check_memory(await self.redis.info("memory"))

    async def new_id(self) -> NewId:
        """Return the id of a job that is accepted next, so that its files can be stored before it is."""
        async with self.redis.pipeline(transaction=True) as pipeline:
            pipeline.time()
            pipeline.incr(SEQUENCE)
            (seconds, microseconds), place = await pipeline.execute()
        return job_id_of(datetime.fromtimestamp(seconds, UTC).replace(microsecond=microseconds), place), place

    async def create(self, order: Order, new: NewId | None = None) -> Job:
        """Accept a job. When this returns, the job is stored in the queue. Raises QueueFull, IdempotencyConflict.

        `new` is the id that it gets, unless the idempotency key belongs to another job, which is then returned.
        """
        job_id, place = new or await self.new_id()
        before = idempotency_key(order.caller, order.idempotency_key) if order.idempotency_key else ""
        fields = [word for field in order.fields.items() for word in field]
        share = order.caller if self.has_shares and order.caller else ""
        args: list[str | int] = [job_id, place, self.queue_limit, before, order.fingerprint, order.request, share]
        args += fields
        outcome, *about = await self._create(args=args)
        match outcome:
            case "full":
                raise QueueFull(self.queue_limit)
            case "share":
                raise ShareTaken(self.queue_limit)
            case "other":
                raise conflict(about[0])
            case "known":
                return await self.get(about[0])
        job = decode(job_id, {"status": JobStatus.QUEUED, "created_at": about[1]} | order.fields, {})
        return understood(with_trouble(job, about[2], float(about[1])))

    async def known(self, caller: str | None, key: str | None, request: str) -> Job | None:
        """Return the job of an earlier request with this idempotency key. Raises IdempotencyConflict, NotUnderstood.

        `request` is the checksum of the request. Nothing else is compared: since the first request, `latest` may have
        become another checkpoint, and the store may be full. None if there is no such job, or if an earlier version
        accepted it: then `create` compares the orders.
        """
        if key is None:
            return None
        client: Any = self.redis
        job_id, before = await client.hmget(idempotency_key(caller, key), "job", "request")
        if not before:
            return None
        with suppress(JobNotFound):
            job = await self.get(job_id)
            if before != request:
                raise conflict(job_id)
            return job
        return None  # that job was deleted

    async def get(self, job_id: str) -> Job:
        """Raises JobNotFound, and NotUnderstood if this version does not understand the record."""
        return understood(await self.read(job_id))

    async def read(self, job_id: str) -> AnyJob:
        """Return a job, even if this version does not understand its record. Raises JobNotFound."""
        jobs = await self.read_all([job_id])
        if not jobs:
            raise JobNotFound(f"there is no job {job_id}")
        return jobs[0]

    async def read_all(self, job_ids: list[str]) -> list[AnyJob]:
        async with self.redis.pipeline(transaction=True) as pipeline:
            for job_id in job_ids:
                pipeline.hgetall(job_key(job_id))
                pipeline.hgetall(epochs_key(job_id))
            pipeline.zrange(WORKERS, 0, -1, withscores=True)
            pipeline.time()
            *answers, workers, (seconds, _) = await pipeline.execute()
        records = zip(job_ids, answers[::2], answers[1::2], strict=True)
        found = [decode(job_id, fields, epochs) for job_id, fields, epochs in records if fields]
        return [with_trouble(job, present(workers, seconds), seconds) for job in found]

    async def cancel(self, job_id: str) -> AnyJob:
        """Cancel a job: at once if it waits, else through its worker.

        Raises JobNotFound, and InvalidTransition if it has succeeded or failed.
        """
        status = await self._cancel(args=[job_id])
        if status in (JobStatus.SUCCEEDED, JobStatus.FAILED):
            raise InvalidTransition(f"job {job_id} has {status} already: there is nothing to cancel")
        return await self.read(job_id)

    async def resume(self, job_id: str, traceparent: str = "") -> Job:
        """Queue a failed or cancelled job again. `traceparent` applies if its record has none.

        Raises JobNotFound, QueueFull, InvalidTransition, NotUnderstood.
        """
        await self.get(job_id)  # a worker of this version does not run a record that it does not understand
        status = await self._resume(args=[job_id, self.queue_limit, int(self.has_shares), traceparent])
        if status == "deleting":
            raise InvalidTransition(f"job {job_id} cannot be resumed: {BEING_DELETED}")
        if status in ("full", "share"):
            raise QueueFull(self.queue_limit) if status == "full" else ShareTaken(self.queue_limit)
        if status not in (None, JobStatus.QUEUED):
            raise InvalidTransition(f"job {job_id} {wording(status)}: only a failed or cancelled job can be resumed")
        return await self.get(job_id)

    async def move_to_front(self, job_id: str) -> AnyJob:
        """Make a waiting job the next to run. Raises JobNotFound, InvalidTransition."""
        status = await self._front(args=[job_id])
        if status not in (None, JobStatus.QUEUED):
            raise InvalidTransition(f"job {job_id} {wording(status)}: only a waiting job can be moved to the front")
        return await self.read(job_id)

    async def begin_deletion(self, job_id: str) -> int:
        """Mark an ended job as being deleted: it can no longer be resumed. Returns the fence token of its last claim.

        Returns 0 if the job was never claimed. The record stays until `end_deletion`, so that an interrupted deletion
        can be repeated. Raises JobNotFound, InvalidTransition.
        """
        return await self._delete_step(job_id, "begin")

    async def keep_after_all(self, job_id: str) -> None:
        """Undo `begin_deletion`, since the job is in use. Raises JobNotFound, InvalidTransition."""
        await self._delete_step(job_id, "keep")

    async def end_deletion(self, job_id: str) -> None:
        """Delete the record of a job after `begin_deletion`. Raises InvalidTransition.

        If the response of Redis is lost, redis-py repeats the call and finds no record: then the job is deleted.
        """
        with suppress(JobNotFound):
            await self._delete_step(job_id, "end")

    async def _delete_step(self, job_id: str, step: str) -> int:
        answer = await self._delete(args=[job_id, step])
        if answer is None:
            raise JobNotFound(f"there is no job {job_id}")
        status, token = answer
        if status not in ENDED:
            raise InvalidTransition(
                f"job {job_id} is {status}: only a job that has ended can be deleted, so cancel it first"
            )
        return int(token)

    async def standing(self) -> Standing:
        """Count waiting and running jobs, and workers. The cost does not depend on the number of ended jobs."""
        return await read_standing(self.redis)

    async def worker_loops(self) -> dict[str, str]:
        """Return the states of the workers' background loops by name: `running`, or the reason for not working."""
        return await read_worker_loops(self.redis)

    async def close(self) -> None:
        await self.redis.aclose()
