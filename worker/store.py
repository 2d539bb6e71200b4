"""Every Redis key and script. The record is the truth; the Celery message is a knock on the door.

    acgan:jobs               sorted set: every job id, by the order of acceptance
    acgan:queue              sorted set: the ids that wait for a worker, first come first served
    acgan:sequence           counter of accepted jobs, behind both orders and the ids
    acgan:fence              counter of claims: every claim gets a token higher than all before
    acgan:job:{id}           hash: status, config, created_at, started_at, ended_at, progress, device, error, fence
    acgan:job:{id}:epochs    hash: epoch number -> its record, so that an epoch told twice is there once

None of them expires: a job's record lives as long as its checkpoints may. A hundred epochs take about 60 KB.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import NamedTuple

import redis
import redis.asyncio
from redis.backoff import NoBackoff
from redis.retry import Retry

from models.config import TrainingConfig
from models.history import Progress
from worker.jobs import EpochRecord, Job, JobStatus, before, job_id_of

JOBS = "acgan:jobs"
QUEUE = "acgan:queue"
SEQUENCE = "acgan:sequence"
FENCE = "acgan:fence"


def job_key(job_id: str) -> str:
    return f"acgan:job:{job_id}"


def epochs_key(job_id: str) -> str:
    return f"acgan:job:{job_id}:epochs"


class JobNotFound(Exception):
    """No job has this id."""


class JobLost(Exception):
    """The record no longer belongs to this worker: another claimed it since, or it has ended."""


# ----------------------------------------------------------------------------
# Scripts. Each is one step: nobody sees it half done.

NOW = """
local time = redis.call('TIME')
local now = time[1] .. '.' .. string.format('%06d', time[2])
"""

# KEYS: job, jobs, queue. ARGV: id, config, place. Accept a job: record and place in the queue, together.
# Asked twice, since an answer may be lost, it does it once. Returns the time of acceptance.
CREATE = (
    NOW
    + """
if redis.call('EXISTS', KEYS[1]) == 0 then
  redis.call('HSET', KEYS[1], 'status', 'queued', 'config', ARGV[2], 'created_at', now)
  redis.call('ZADD', KEYS[2], ARGV[3], ARGV[1])
  redis.call('ZADD', KEYS[3], ARGV[3], ARGV[1])
end
return redis.call('HGET', KEYS[1], 'created_at')
"""
)

# KEYS: queue, fence. ARGV: prefix of job keys. Take the job that has waited longest, and a token that only grows.
# Returns its id, the token, its record and its epochs.
CLAIM = (
    NOW
    + """
while true do
  local head = redis.call('ZPOPMIN', KEYS[1])
  if #head == 0 then return false end
  local job = ARGV[1] .. head[1]
  if redis.call('HGET', job, 'status') == 'queued' then
    local fence = redis.call('INCR', KEYS[2])
    redis.call('HSET', job, 'status', 'running', 'fence', fence)
    redis.call('HSETNX', job, 'started_at', now)
    redis.call('HDEL', job, 'ended_at', 'error')
    return {head[1], fence, redis.call('HGETALL', job), redis.call('HGETALL', job .. ':epochs')}
  end
end
"""
)

# KEYS: job, epochs. ARGV: fence, epoch number or '', epoch record, then field, value, ...
# Write, if the job is still the caller's.
WRITE = """
local held = redis.call('HMGET', KEYS[1], 'status', 'fence')
if held[2] ~= ARGV[1] or (held[1] ~= 'running' and held[1] ~= 'cancelling') then return 0 end
if ARGV[2] ~= '' then redis.call('HSET', KEYS[2], ARGV[2], ARGV[3]) end
if #ARGV > 3 then redis.call('HSET', KEYS[1], unpack(ARGV, 4)) end
return 1
"""

# KEYS: job, queue. ARGV: id, fence, status, error or '', then the states it may follow.
# End the job, or put it back in front of the queue.
FINISH = (
    NOW
    + """
local held = redis.call('HMGET', KEYS[1], 'status', 'fence')
local legal = false
for i = 5, #ARGV do legal = legal or held[1] == ARGV[i] end
if held[2] ~= ARGV[2] or not legal then return 0 end
redis.call('HSET', KEYS[1], 'status', ARGV[3])
if ARGV[4] ~= '' then redis.call('HSET', KEYS[1], 'error', ARGV[4]) end
if ARGV[3] == 'queued' then
  redis.call('ZADD', KEYS[2], 0, ARGV[1])
else
  redis.call('HSET', KEYS[1], 'ended_at', now)
end
return 1
"""
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
    )


def pairs(flat: Sequence[str]) -> Hash:
    return dict(zip(flat[::2], flat[1::2], strict=True))


def _time(seconds: str) -> datetime:
    return datetime.fromtimestamp(float(seconds), UTC)


# ----------------------------------------------------------------------------
# The API's side, asynchronous: it accepts jobs and reads them.


class JobDesk:
    def __init__(self, client: "redis.asyncio.Redis") -> None:
        self.redis = client
        self._create = client.register_script(CREATE)

    @classmethod
    def connect(cls, url: str) -> "JobDesk":
        """Connect lazily; a Redis that is gone makes calls fail within about a second, not hang."""
        client = redis.asyncio.Redis.from_url(
            url,
            decode_responses=True,
            socket_timeout=1.0,
            socket_connect_timeout=1.0,
            retry=redis.asyncio.retry.Retry(NoBackoff(), 1),
        )
        return cls(client)

    async def ping(self) -> None:
        await self.redis.ping()

    async def create(self, config: TrainingConfig) -> Job:
        """Accept a run: from here on it is queued, whatever dies."""
        async with self.redis.pipeline(transaction=True) as pipeline:
            pipeline.time()
            pipeline.incr(SEQUENCE)
            (seconds, _), place = await pipeline.execute()
        job_id = job_id_of(datetime.fromtimestamp(seconds, UTC), place)
        keys = [job_key(job_id), JOBS, QUEUE]
        created_at = await self._create(keys=keys, args=[job_id, config.model_dump_json(), place])
        return Job(id=job_id, status=JobStatus.QUEUED, config=config, created_at=_time(created_at))

    async def get(self, job_id: str) -> Job:
        """Raises JobNotFound."""
        async with self.redis.pipeline(transaction=True) as pipeline:
            pipeline.hgetall(job_key(job_id))
            pipeline.hgetall(epochs_key(job_id))
            fields, epochs = await pipeline.execute()
        if not fields:
            raise JobNotFound(f"there is no job {job_id}: see GET /jobs")
        return decode_job(job_id, fields, epochs)

    async def newest(self, limit: int) -> list[Job]:
        """List the jobs accepted last, newest first."""
        job_ids = [str(job_id) for job_id in await self.redis.zrevrange(JOBS, 0, limit - 1)]
        async with self.redis.pipeline(transaction=False) as pipeline:
            for job_id in job_ids:
                pipeline.hgetall(job_key(job_id))
                pipeline.hgetall(epochs_key(job_id))
            answers = await pipeline.execute()
        records = zip(job_ids, answers[::2], answers[1::2], strict=True)
        return [decode_job(job_id, fields, epochs) for job_id, fields, epochs in records if fields]

    async def close(self) -> None:
        await self.redis.aclose()


# ----------------------------------------------------------------------------
# The worker's side, synchronous: it claims a job and is then the only one to write it.


class Claim(NamedTuple):
    """The right to run a job. Writes under a lower fence than the record's do nothing."""

    job: Job
    fence: int


class JobBench:
    """Calls raise redis.RedisError where Redis does not answer within two seconds; nothing is sent twice by itself."""

    def __init__(self, client: "redis.Redis") -> None:
        self.redis = client
        self._claim = client.register_script(CLAIM)
        self._write = client.register_script(WRITE)
        self._finish = client.register_script(FINISH)

    @classmethod
    def connect(cls, url: str) -> "JobBench":
        client = redis.Redis.from_url(
            url, decode_responses=True, socket_timeout=2.0, socket_connect_timeout=2.0, retry=Retry(NoBackoff(), 0)
        )
        return cls(client)

    def waiting(self) -> int:
        """How many jobs wait for a worker."""
        return int(self.redis.zcard(QUEUE))

    def claim(self) -> Claim | None:
        """Take the job that has waited longest, or None where none waits."""
        answer = self._claim(keys=[QUEUE, FENCE], args=[job_key("")])
        if answer is None:
            return None
        job_id, fence, fields, epochs = answer
        return Claim(decode_job(job_id, pairs(fields), pairs(epochs)), int(fence))

    def settle(self, claim: Claim, config: TrainingConfig, device: str) -> None:
        """Store what was settled when the run started. Raises JobLost."""
        self._put(claim, "config", config.model_dump_json(), "device", device)

    def report(self, claim: Claim, progress: Progress) -> None:
        """Raises JobLost."""
        self._put(claim, "progress", progress.model_dump_json())

    def add_epoch(self, claim: Claim, epoch: EpochRecord) -> None:
        """Raises JobLost."""
        self._put(claim, number=epoch.epoch, record=epoch.model_dump_json())

    def finish(self, claim: Claim, status: JobStatus, error: str = "") -> None:
        """End the job, or hand it back as `queued`. Raises JobLost."""
        keys = [job_key(claim.job.id), QUEUE]
        if not self._finish(keys=keys, args=[claim.job.id, claim.fence, status.value, error, *before(status)]):
            raise JobLost(claim.job.id)

    def _put(self, claim: Claim, *fields_and_values: str, number: int | str = "", record: str = "") -> None:
        keys = [job_key(claim.job.id), epochs_key(claim.job.id)]
        if not self._write(keys=keys, args=[claim.fence, number, record, *fields_and_values]):
            raise JobLost(claim.job.id)

    def close(self) -> None:
        self.redis.close()
