"""The worker's side of the job record, synchronous: it claims a job and is then the only one to write it."""

import os
import socket
from collections.abc import Sequence
from typing import NamedTuple

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from models.config import TrainingConfig
from models.history import Progress
from worker import scripts
from worker.jobs import RUNS_ON, EpochRecord, Job, JobStatus, RunsOn, before
from worker.keys import FENCE, JOBS, WORKERS, epochs_key, index_key, queue_key
from worker.queue import knocks_key
from worker.store import check_eviction, decode_job, pairs

LOSSES = 3  # workers lost in a row, without progress that was saved, that end a job
GIVEN_UP = (
    f"{LOSSES} workers in a row were lost while they ran it, and none had saved any progress (out of memory, or a "
    "crash?): see the worker's log, then POST /jobs/{id}/resume"
)
LONGEST_BACKOFF_SECONDS = 360.0
MENDED_AT_ONCE = 500  # jobs: Redis does nothing else meanwhile


class JobLost(Exception):
    """The record no longer belongs to this worker: another claimed it since, or it has ended."""


class Claim(NamedTuple):
    """The right to run a job. Writes under a lower fence than the record's do nothing."""

    job: Job
    fence: int
    told: dict[int, EpochRecord]  # what the record tells of epochs, unless Redis comes back older than it was


def ourselves() -> str:
    return f"{socket.gethostname()}:{os.getpid()}"


class JobBench:
    """Calls raise redis.RedisError where Redis does not answer within two seconds; nothing is sent twice by itself."""

    def __init__(self, client: "redis.Redis") -> None:
        self.redis = client
        self._claim = client.register_script(scripts.CLAIM)
        self._renew = client.register_script(scripts.RENEW)
        self._write = client.register_script(scripts.WRITE)
        self._finish = client.register_script(scripts.FINISH)
        self._reconcile = client.register_script(scripts.RECONCILE)
        self._seen = client.register_script(scripts.SEEN)
        self._index = client.register_script(scripts.INDEX)

    @classmethod
    def connect(cls, url: str) -> "JobBench":
        client = redis.Redis.from_url(
            url, decode_responses=True, socket_timeout=2.0, socket_connect_timeout=2.0, retry=Retry(NoBackoff(), 0)
        )
        return cls(client)

    def check_eviction(self) -> None:
        """Raises Unsuitable where this Redis may lose jobs."""
        check_eviction(self.redis.info("memory"))

    def waiting(self, runs_on: RunsOn = "any") -> int:
        """How many jobs of one queue a worker could claim now."""
        return int(self.redis.zcard(queue_key(runs_on)))

    def knocks(self, runs_on: RunsOn = "any") -> int:
        """How many knocks no worker has heard yet."""
        return int(self.redis.llen(knocks_key(runs_on)))

    def claims(self) -> int:
        """How many claims there ever were."""
        return int(self.redis.get(FENCE) or 0)

    def seen(self, kind: RunsOn, seconds: float) -> None:
        """Note that this worker is there, and forget those that were not for so long."""
        self._seen(args=[f"{kind} {ourselves()}", seconds])

    def gone(self, kind: RunsOn) -> None:
        """Note that this worker ends."""
        self.redis.zrem(WORKERS, f"{kind} {ourselves()}")

    def claim(
        self, lease_seconds: float = 30.0, lowest_fence: int = 0, takes: Sequence[RunsOn] = RUNS_ON
    ) -> Claim | None:
        """Take the job whose turn it is, or None where none waits. Its token is higher than `lowest_fence`."""
        answer = self._claim(args=[lowest_fence, lease_seconds, ourselves(), *takes])
        if answer is None:
            return None
        job_id, fence, fields, epochs = answer
        job = decode_job(job_id, pairs(fields), pairs(epochs))
        return Claim(job, int(fence), {each.epoch: each for each in job.epochs})

    def renew(self, claim: Claim, lease_seconds: float) -> JobStatus:
        """Hold the job for so much longer, and hear how it is wanted. Raises JobLost."""
        return self._still_ours(claim, self._renew(args=[claim.job.id, claim.fence, lease_seconds]))

    def settle(self, claim: Claim, config: TrainingConfig, device: str) -> None:
        """Store what was settled when the run started. Raises JobLost."""
        self._put(claim, "config", config.model_dump_json(), "device", device)

    def report(self, claim: Claim, progress: Progress) -> None:
        """Raises JobLost."""
        told = progress.model_dump_json()
        self._put(claim, "progress", told, kind="progress", data=told)

    def saved(self, claim: Claim, epoch: int, iteration: int) -> None:
        """Note that the run's state is kept up to there. Raises JobLost."""
        self._put(claim, "saved", f"{epoch}:{iteration}")

    def tell_trouble(self, claim: Claim, trouble: str) -> None:
        """Say what keeps the run from going on; nothing, where it goes on. Raises JobLost."""
        self._put(claim, "trouble", trouble, kind="trouble", data=trouble)

    def add_epoch(self, claim: Claim, epoch: EpochRecord) -> None:
        """Raises JobLost."""
        claim.told[epoch.epoch] = epoch
        self._put(claim, kind="epoch", data=epoch.model_dump_json(), number=epoch.epoch)

    def finish(self, claim: Claim, status: JobStatus, error: str = "") -> None:
        """End the job, or hand it back as `queued`. Raises JobLost.

        A Redis that came back older than it was is told again of the epochs that it has forgotten.
        """
        known = self.redis.hkeys(epochs_key(claim.job.id))
        for epoch in [each for each in claim.told.values() if str(each.epoch) not in known]:
            self.add_epoch(claim, epoch)
        args = [claim.job.id, claim.fence, status.value, error, *before(status)]
        self._still_ours(claim, self._finish(args=args))

    def reconcile(self, backoff_seconds: float) -> list[tuple[str, str]]:
        """Queue what nobody runs any more. Returns pairs (job id, `queued`, `failed`, `cancelled` or `due`)."""
        told = self._reconcile(args=[LOSSES, backoff_seconds, LONGEST_BACKOFF_SECONDS, GIVEN_UP])
        return list(zip(told[::2], told[1::2], strict=True))

    def mend_lists(self) -> bool:
        """Make the lists of jobs by kind and status anew where they tell of another number of jobs than there are.

        As in a Redis that an older version filled. Returns whether they were.
        """
        kinds = [index_key(datasets) for datasets in (False, True)]
        statuses = [index_key(datasets, status) for datasets in (False, True) for status in JobStatus]
        with self.redis.pipeline(transaction=True) as pipeline:
            for ids in (JOBS, *kinds, *statuses):
                pipeline.zcard(ids)
            jobs, *told = pipeline.execute()
        if sum(told[: len(kinds)]) == sum(told[len(kinds) :]) == jobs:
            return False
        for first in range(0, jobs, MENDED_AT_ONCE):
            listed: list[str] = self.redis.zrange(JOBS, first, first + MENDED_AT_ONCE - 1)  # type: ignore[assignment]
            self._index(args=listed)
        return True

    def _put(
        self, claim: Claim, *fields_and_values: str, kind: str = "", data: str = "", number: int | str = ""
    ) -> None:
        args = (claim.job.id, claim.fence, kind, data, number, *fields_and_values)
        self._still_ours(claim, self._write(args=args))

    def _still_ours(self, claim: Claim, status: str | None) -> JobStatus:
        if status is None:
            raise JobLost(claim.job.id)
        return JobStatus(status)

    def close(self) -> None:
        self.redis.close()
