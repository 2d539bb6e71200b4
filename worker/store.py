"""Every Redis key, and the API's side of the job record: it accepts jobs, reads them, and tells them what to do.

    acgan:jobs               sorted set: every job id, by the order of acceptance
    acgan:queue              sorted set: the ids that wait for a worker, by priority and order of acceptance
    acgan:delayed            sorted set: the ids that wait until a time, after their worker was lost
    acgan:leases             sorted set: the ids that a worker runs, and until when it may
    acgan:sequence           counter of accepted jobs, behind both orders and the ids
    acgan:fence              counter of claims: every claim gets a token higher than all before
    acgan:events             stream: the last ten thousand changes of all jobs
    acgan:idempotency:{key}  hash: fingerprint of a request and the job it became; for a day
    acgan:rate:{...}         counters of how often each caller asked lately; for two windows of the rate
    acgan:job:{id}           hash: status, config, priority, order, retry_of, created_at, started_at, ended_at,
                             progress, device, worker, error, trouble, fence; saved, lost, saved_when_lost count lost
                             workers
    acgan:job:{id}:epochs    hash: epoch number -> its record, so that an epoch told twice is there once

A job's record does not expire: it lives as long as its checkpoints may. A hundred epochs take about 60 KB.
"""

import hashlib
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

import redis
import redis.asyncio
from redis.backoff import NoBackoff

from models.config import TrainingConfig
from models.datasets import DatasetOrder
from models.history import Progress
from worker import scripts
from worker.jobs import EpochRecord, Job, JobStatus, accepted_at, job_id_of

JOBS = "acgan:jobs"
QUEUE = "acgan:queue"
DELAYED = "acgan:delayed"
LEASES = "acgan:leases"
SEQUENCE = "acgan:sequence"
FENCE = "acgan:fence"
EVENTS = "acgan:events"
RATES = "acgan:rate"
LOOKED_AT = 1000  # jobs that wait, at most, among which the oldest is looked for
PRIORITY_WEIGHT = 2**40  # places in the queue that one step of priority jumps: all of them


def job_key(job_id: str) -> str:
    return f"acgan:job:{job_id}"


def epochs_key(job_id: str) -> str:
    return f"acgan:job:{job_id}:epochs"


class JobNotFound(Exception):
    """No job has this id."""


class QueueFull(Exception):
    """No more jobs may wait."""

    def __init__(self, limit: int) -> None:
        super().__init__(f"{limit} jobs wait already: try again when some have run")


class KeyReused(Exception):
    """An idempotency key came with another request than before."""


class NotNow(Exception):
    """The job's state does not allow what was asked. The message says which does."""


class Unsuitable(Exception):
    """This Redis may lose jobs. The message says how to set it."""


def check_eviction(info: Mapping[str, object]) -> None:
    """Raises Unsuitable where `INFO memory` tells of a Redis that deletes keys when it is short of memory."""
    policy = str(info.get("maxmemory_policy", ""))
    if policy.startswith("allkeys"):
        raise Unsuitable(
            f"Redis may delete jobs when it is short of memory (maxmemory-policy {policy}): "
            "set maxmemory-policy to noeviction"
        )


# ----------------------------------------------------------------------------
# Between hashes and records.


Hash = Mapping[str, str]


def decode_job(job_id: str, fields: Hash, epochs: Hash) -> Job:
    """Fields that this version does not know are left out: a newer one may have written the record."""
    return Job(
        id=job_id,
        status=JobStatus(fields["status"]),
        config=TrainingConfig.model_validate_json(fields["config"], extra="ignore"),
        created_at=_time(fields["created_at"]),
        started_at=_time(fields["started_at"]) if "started_at" in fields else None,
        ended_at=_time(fields["ended_at"]) if "ended_at" in fields else None,
        progress=Progress.model_validate_json(fields["progress"]) if "progress" in fields else None,
        epochs=[EpochRecord.model_validate_json(epochs[number]) for number in sorted(epochs, key=int)],
        device=fields.get("device"),
        error=fields.get("error"),
        trouble=fields.get("trouble") or None,
        worker=fields.get("worker"),
        priority=int(fields.get("priority", 0)),
        order=DatasetOrder.model_validate_json(fields["order"], extra="ignore") if "order" in fields else None,
        retry_of=fields.get("retry_of"),
    )


def pairs(flat: Sequence[str]) -> Hash:
    return dict(zip(flat[::2], flat[1::2], strict=True))


def _time(seconds: str) -> datetime:
    return datetime.fromtimestamp(float(seconds), UTC)


# ----------------------------------------------------------------------------
# The API's side, asynchronous.


class Order(NamedTuple):
    """A run as it is asked for; or a data set, by a generator that such a run has trained."""

    config: TrainingConfig
    priority: int = 0
    retry_of: str | None = None
    idempotency_key: str | None = None
    dataset: DatasetOrder | None = None

    @property
    def fingerprint(self) -> str:
        about = f"{self.config.model_dump_json()} {self.priority} {self.retry_of}"
        if self.dataset:
            about += f" {self.dataset.model_dump_json()}"
        return hashlib.sha256(about.encode()).hexdigest() if self.idempotency_key else ""


def wording(status: str) -> str:
    return f"has {status} already" if status in (JobStatus.SUCCEEDED, JobStatus.FAILED) else f"is {status}"


class Standing(NamedTuple):
    """How many jobs there are, of which kind. `oldest` are the seconds since the oldest that waits was accepted."""

    accepted: int
    ready: int
    delayed: int
    running: int
    oldest: float


class JobDesk:
    """Calls raise redis.RedisError where Redis does not answer within about a second."""

    def __init__(self, client: "redis.asyncio.Redis", queue_limit: int = 100) -> None:
        self.redis = client
        self.queue_limit = queue_limit
        self._create = client.register_script(scripts.CREATE)
        self._cancel = client.register_script(scripts.CANCEL)
        self._resume = client.register_script(scripts.RESUME)
        self._front = client.register_script(scripts.FRONT)

    @classmethod
    def connect(cls, url: str, queue_limit: int = 100) -> "JobDesk":
        """Connect lazily; a Redis that is gone makes calls fail within about a second, not hang."""
        client = redis.asyncio.Redis.from_url(
            url,
            decode_responses=True,
            socket_timeout=1.0,
            socket_connect_timeout=1.0,
            retry=redis.asyncio.retry.Retry(NoBackoff(), 1),
        )
        return cls(client, queue_limit)

    async def ping(self) -> None:
        """Raises Unsuitable where this Redis may lose jobs."""
        check_eviction(await self.redis.info("memory"))

    async def create(self, order: Order) -> Job:
        """Accept a run: from here on it is queued, whatever dies. Raises QueueFull, KeyReused."""
        async with self.redis.pipeline(transaction=True) as pipeline:
            pipeline.time()
            pipeline.incr(SEQUENCE)
            (seconds, _), place = await pipeline.execute()
        job_id = job_id_of(datetime.fromtimestamp(seconds, UTC), place)
        config, priority, retry_of, key, dataset = order
        score = place - priority * PRIORITY_WEIGHT
        outcome, *about = await self._create(
            keys=[job_key(job_id), JOBS, QUEUE, DELAYED, f"acgan:idempotency:{key}"],
            args=[
                *(job_id, config.model_dump_json(), place, score, self.queue_limit),
                *(order.fingerprint, priority, retry_of or "", dataset.model_dump_json() if dataset else ""),
            ],
        )
        match outcome:
            case "full":
                raise QueueFull(self.queue_limit)
            case "other":
                raise KeyReused(f"this Idempotency-Key is that of another request, now job {about[0]}: use a new one")
            case "known":
                return await self.get(about[0])
        created_at = _time(about[1])
        return Job(
            id=job_id,
            status=JobStatus.QUEUED,
            config=config,
            created_at=created_at,
            priority=priority,
            order=dataset,
            retry_of=retry_of,
        )

    async def get(self, job_id: str) -> Job:
        """Raises JobNotFound."""
        async with self.redis.pipeline(transaction=True) as pipeline:
            pipeline.hgetall(job_key(job_id))
            pipeline.hgetall(epochs_key(job_id))
            fields, epochs = await pipeline.execute()
        if not fields:
            raise JobNotFound(f"there is no job {job_id}: see GET /jobs")
        return decode_job(job_id, fields, epochs)

    async def newest(
        self, limit: int, status: JobStatus | None = None, before: str | None = None, datasets: bool = False
    ) -> list[Job]:
        """List the runs accepted last, or the data sets, newest first.

        Only those of one status, and before that job, where these are given.
        """
        client: Any = self.redis
        below = "+inf"  # places, which unlike ranks stay what they are while jobs are accepted
        if before is not None:
            if (place := await client.zscore(JOBS, before)) is None:
                raise JobNotFound(f"there is no job {before}: see GET /jobs")
            below = f"({place:.0f}"
        found: list[Job] = []
        while len(found) < limit:
            page = await client.zrevrangebyscore(JOBS, below, "-inf", start=0, num=limit, withscores=True)
            if not page:
                break
            below = f"({page[-1][1]:.0f}"
            jobs = await self._read([job_id for job_id, _ in page])
            found += [job for job in jobs if status in (None, job.status) and (job.order is not None) == datasets]
        return found[:limit]

    async def _read(self, job_ids: list[str]) -> list[Job]:
        async with self.redis.pipeline(transaction=False) as pipeline:
            for job_id in job_ids:
                pipeline.hgetall(job_key(job_id))
                pipeline.hgetall(epochs_key(job_id))
            answers = await pipeline.execute()
        records = zip(job_ids, answers[::2], answers[1::2], strict=True)
        return [decode_job(job_id, fields, epochs) for job_id, fields, epochs in records if fields]

    async def cancel(self, job_id: str) -> Job:
        """Ask a job to end. Raises JobNotFound, and NotNow where it has ended otherwise."""
        status = await self._cancel(keys=[job_key(job_id), QUEUE, DELAYED], args=[job_id])
        if status in (JobStatus.SUCCEEDED, JobStatus.FAILED):
            raise NotNow(f"job {job_id} has {status} already: there is nothing to cancel")
        return await self.get(job_id)

    async def resume(self, job_id: str) -> Job:
        """Let a job that failed or was cancelled go on. Raises JobNotFound, QueueFull, NotNow."""
        job = await self.get(job_id)
        score = (await self.redis.zscore(JOBS, job_id) or 0) - job.priority * PRIORITY_WEIGHT
        status = await self._resume(keys=[job_key(job_id), QUEUE, DELAYED], args=[job_id, score, self.queue_limit])
        if status == "full":
            raise QueueFull(self.queue_limit)
        if status != JobStatus.QUEUED:
            raise NotNow(f"job {job_id} {wording(status)}: only a failed or cancelled one can be resumed")
        return await self.get(job_id)

    async def move_to_front(self, job_id: str) -> Job:
        """Let a waiting job be the next. Raises JobNotFound, NotNow."""
        status = await self._front(keys=[job_key(job_id), QUEUE, DELAYED], args=[job_id])
        if status is not None and status != JobStatus.QUEUED:
            raise NotNow(f"job {job_id} {wording(status)}: only one that waits can be moved to the front")
        return await self.get(job_id)

    async def standing(self) -> Standing:
        """Count what waits and runs. Costs the same however many jobs there ever were."""
        async with self.redis.pipeline(transaction=True) as pipeline:
            pipeline.time()
            for ids in (JOBS, QUEUE, DELAYED, LEASES):
                pipeline.zcard(ids)
            for ids in (QUEUE, DELAYED):
                pipeline.zrange(ids, 0, LOOKED_AT - 1)
            (seconds, _), accepted, ready, delayed, running, *waiting = await pipeline.execute()
        oldest = min((accepted_at(job_id).timestamp() for ids in waiting for job_id in ids), default=seconds)
        return Standing(accepted, ready, delayed, running, max(0.0, seconds - oldest))

    async def close(self) -> None:
        await self.redis.aclose()
