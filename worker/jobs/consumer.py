"""The worker's synchronous access to job records. A worker claims a job; then only this worker writes its record."""

import json
import logging
import os
import socket
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple
from uuid import uuid4

import redis
from pydantic import BaseModel

from models.config import TrainingConfig
from models.records import Progress
from models.registry.manifest import CheckpointId
from worker.jobs import scripts
from worker.jobs.codec import AnyJob, UnreadableJob, decode, decode_job, pairs
from worker.jobs.errors import raises_store_unavailable
from worker.jobs.keys import (
    FENCE,
    JOBS,
    LOOPS,
    PULSES,
    STORES,
    THINNED,
    WORKERS,
    epochs_key,
    index_key,
    job_key,
    notifications_key,
    queue_key,
)
from worker.jobs.model import RUNS_ON, EpochRecord, Job, JobKind, JobStatus, RunsOn, before
from worker.jobs.redis_client import check_eviction, connect_client

logger = logging.getLogger(__name__)

LOSSES = 3  # a job fails after this number of lost workers in a row without saved progress
GIVEN_UP = (
    f"{LOSSES} workers in a row were lost while they ran the job, without saving any progress (out of memory, or a "
    "crash?): see the workers' logs, then resume the job"
)
LOST = "its worker does not respond: the run resumes from its last saved state when a worker takes it"
LONGEST_BACKOFF_SECONDS = 360.0
CLAIM_ATTEMPTS = 3
CLAIM_SECONDS = 8.0  # for the response to a claim: a slow Redis must not prevent it
MENDED_AT_ONCE = 500  # jobs: each batch blocks Redis


class LeaseLost(Exception):
    """This worker no longer holds the job: another worker has claimed it, or it has ended."""


class Claim(NamedTuple):
    """The right to run a job. Writes with a lower fence token than the record's are rejected."""

    job: Job
    fence: int
    # The epochs of the record, including those that Redis loses in a restart with older data.
    reported: dict[int, EpochRecord]
    asked_at: float = 0.0  # by `clock`; the lease began later
    saved: str = ""  # `epoch:iteration` of the saved state in the record
    attempt: int = 1  # number of this claim of the job

    @property
    def has_results(self) -> bool:
        """Whether the record names checkpoints or a saved state, so that the store must have files of it."""
        return bool(self.reported or self.saved)


def clock() -> float:
    """Return monotonic seconds that also count the time while the machine sleeps."""
    return time.clock_gettime(time.CLOCK_BOOTTIME) if hasattr(time, "CLOCK_BOOTTIME") else time.monotonic()


def process_name(pid: int) -> str:
    return f"{socket.gethostname()}:{pid}"


def pid_of(process: str) -> int:
    return int(process.rpartition(":")[2])


def ourselves() -> str:
    return process_name(os.getpid())


@raises_store_unavailable
class JobConsumer:
    """Calls raise StoreUnavailable if Redis does not respond within two seconds. Claims wait longer and are retried."""

    def __init__(self, client: "redis.Redis", patient: "redis.Redis | None" = None) -> None:
        """`patient` is a client with a longer timeout, for claims."""
        self.redis = client
        self.patient = patient or client
        self._next = client.register_script(scripts.NEXT)
        self._claim = client.register_script(scripts.CLAIM)
        self._leave_alone = client.register_script(scripts.LEAVE_ALONE)
        self._waiting_trouble = client.register_script(scripts.WAITING_TROUBLE)
        self._renew = client.register_script(scripts.RENEW)
        self._write = client.register_script(scripts.WRITE)
        self._finish = client.register_script(scripts.FINISH)
        self._thinned = client.register_script(scripts.THINNED)
        self._reconcile = client.register_script(scripts.RECONCILE)
        self._seen = client.register_script(scripts.SEEN)
        self._pulse = client.register_script(scripts.PULSE)
        self._loop_states = client.register_script(scripts.LOOP_STATES)
        self._held_by = client.register_script(scripts.HELD_BY)
        self._release = client.register_script(scripts.RELEASE)
        self._index = client.register_script(scripts.INDEX)

    @classmethod
    def connect(cls, url: str) -> "JobConsumer":
        return cls(connect_client(url), connect_client(url, CLAIM_SECONDS))

    def check_eviction(self) -> None:
        """Raises UnsafeRedisConfig if this Redis may lose jobs."""
        check_eviction(self.redis.info("memory"))

    def waiting(self, runs_on: RunsOn = "any") -> int:
        """Return the number of jobs in one queue, including those that only another version understands."""
        return int(self.redis.zcard(queue_key(runs_on)))

    def notifications(self, runs_on: RunsOn = "any") -> int:
        """Return the number of messages that no worker has received yet."""
        return int(self.redis.llen(notifications_key(runs_on)))

    def claims(self) -> int:
        """Return the number of all claims so far."""
        return int(self.redis.get(FENCE) or 0)

    def seen(self, kind: RunsOn, seconds: float) -> None:
        """Record that this worker is live, and remove workers not seen for `seconds`."""
        self._seen(args=[f"{kind} {ourselves()}", seconds])

    def gone(self, kind: RunsOn) -> None:
        """Remove this worker from the list: it ends."""
        self.redis.zrem(WORKERS, f"{kind} {ourselves()}")
        self.redis.hdel(LOOPS, ourselves())

    def pulse(self, states: str = "{}") -> None:
        """Record that this training process is live. `states` are those of its background loops, as JSON."""
        self._pulse(args=[ourselves(), states])

    def report_loops(self, states: str) -> None:
        """Store the states of the background loops of this process, as JSON."""
        self._loop_states(args=[ourselves(), states])

    def held_by(self, parent: int) -> dict[str, str]:
        """Return the jobs held by training processes of a worker on this machine: id -> `host:pid`."""
        held: list[str] = self._held_by(args=[process_name(parent)])
        return dict(pairs(held))

    def last_pulse(self, process: str) -> float | None:
        """Return when a training process (`host:pid`) was last seen, in seconds by Redis' clock; None if never seen."""
        score: float | None = self.redis.zscore(PULSES, process)
        return score

    def release_ended(self, parent: int, is_alive: Callable[[int], bool]) -> list[str]:
        """End the leases of training processes of a worker on this machine that are no longer alive.

        `parent` is the process id of the worker, the Celery parent process. Returns the ids of their jobs.
        """
        ended = [(job_id, worker) for job_id, worker in self.held_by(parent).items() if not is_alive(pid_of(worker))]
        return [job_id for job_id, worker in ended if self._release(args=[job_id, worker])]

    def claim(
        self, lease_seconds: float = 30.0, lowest_fence: int = 0, takes: Sequence[RunsOn] = RUNS_ON
    ) -> Claim | None:
        """Claim the next job, or return None if none waits. The fence token is higher than `lowest_fence`.

        A job whose record this version does not understand is not claimed; its `trouble` gives the reason.
        """
        seen: list[str] = []  # also those that another worker claims first
        while (job := self._look(takes, seen)) is not None:
            if isinstance(job, UnreadableJob):
                logger.warning("job %s is not claimed: %s", job.id, job.trouble)
                self._leave_alone(args=[job.id, job.trouble])
            elif (claimed := self._take(job.id, lease_seconds, lowest_fence)) is not None:
                return claimed
        return None

    def can_claim(self, takes: Sequence[RunsOn] = RUNS_ON) -> bool:
        """Return whether a job waits that this version understands."""
        seen: list[str] = []
        while isinstance(job := self._look(takes, seen), UnreadableJob):
            continue
        return job is not None

    def _look(self, takes: Sequence[RunsOn], seen: list[str]) -> AnyJob | None:
        """Return the next waiting job that is not in `seen`, and add its id there; None if there is no other."""
        if (found := self._next(args=[len(takes), *takes, *seen])) is None:
            return None
        job_id, fields, epochs = found
        seen.append(job_id)
        return decode(job_id, pairs(fields), pairs(epochs))

    def _take(self, job_id: str, lease_seconds: float, lowest_fence: int) -> Claim | None:
        """Claim one job. Without a response in time, repeat the claim under the same name, which is idempotent."""
        name, asked_at = uuid4().hex, clock()
        holder = ourselves(), process_name(os.getppid())
        args: list[str | int | float] = [job_id, name, lowest_fence, lease_seconds, *holder]
        for attempt in range(1, CLAIM_ATTEMPTS + 1):
            try:
                answer = self._claim(args=args, client=self.patient)
                break
            except (redis.TimeoutError, redis.ConnectionError) as error:
                if attempt == CLAIM_ATTEMPTS:
                    raise
                logger.warning("job %s: no response to the claim, retrying: %s", job_id, error)
        if answer is None:
            return None
        fence, fields, epochs = answer
        stored = pairs(fields)
        job = decode_job(job_id, stored, pairs(epochs))
        reported, attempt = {each.epoch: each for each in job.epochs}, int(stored.get("attempts", 1))
        return Claim(job, int(fence), reported, asked_at, stored.get("saved", ""), attempt)

    def tell_waiting(self, takes: Sequence[RunsOn], trouble: str) -> None:
        """Set `trouble` of the waiting jobs: the reason why no worker claims them. An empty text clears it."""
        self._waiting_trouble(args=[trouble, *takes])

    def store_identity(self, address: str) -> str | None:
        """Return the identity of the store in which jobs were claimed at this address; None before the first claim."""
        found: Any = self.redis.hget(STORES, address)
        return None if found is None else str(found)

    def note_store(self, address: str, identity: str) -> None:
        self.redis.hset(STORES, address, identity)

    def renew(self, claim: Claim, lease_seconds: float) -> JobStatus:
        """Extend the lease. Returns the job's status, which shows a cancellation. Raises LeaseLost."""
        return self._still_ours(claim, self._renew(args=[claim.job.id, claim.fence, lease_seconds]))

    def record_runtime(self, claim: Claim, config: TrainingConfig, device: str) -> None:
        """Store the device and the final configuration, which are determined at the start. Raises LeaseLost."""
        self._put(claim, "config", config.model_dump_json(), "device", device)

    def report(self, claim: Claim, progress: Progress) -> None:
        """Store the progress of the job. Raises LeaseLost."""
        data = progress.model_dump_json()
        self._put(claim, "progress", data, kind="progress", data=data)

    def saved(self, claim: Claim, epoch: int, iteration: int) -> None:
        """Record the position up to which the run's state is saved. Raises LeaseLost."""
        self._put(claim, "saved", f"{epoch}:{iteration}")

    def record_result(self, claim: Claim, result: BaseModel) -> None:
        """Store what the job has made. Raises LeaseLost."""
        self._put(claim, "result", result.model_dump_json())

    def set_trouble(self, claim: Claim, trouble: str) -> None:
        """Set the problem that delays the job; empty to clear it. Raises LeaseLost."""
        self._put(claim, "trouble", trouble, kind="trouble", data=trouble)

    def add_epoch(self, claim: Claim, epoch: EpochRecord) -> None:
        """Add a finished epoch to the record. Raises LeaseLost."""
        claim.reported[epoch.epoch] = epoch
        self._put(claim, kind="epoch", data=epoch.model_dump_json(), number=epoch.epoch)

    def note_thinned(self, checkpoints: Sequence[CheckpointId]) -> None:
        """Record that checkpoints were deleted to stay within the store's budget."""
        if checkpoints:
            self._thinned(args=[part for checkpoint in checkpoints for part in checkpoint])

    def has_record(self, job_id: str) -> bool:
        """Return whether the job was accepted and not deleted since."""
        return bool(self.redis.exists(job_key(job_id)))

    def status(self, job_id: str) -> str | None:
        """Return the stored status of a job, which may be one of another version; None if it has no record."""
        status: Any = self.redis.hget(job_key(job_id), "status")
        return None if status is None else str(status)

    def running(self, job_id: str, fence: int) -> Job | None:
        """Return the job if it runs under this token, else None; also if this version does not understand it."""
        fields: Any = self.redis.hgetall(job_key(job_id))
        job = decode(job_id, fields, {})
        holds = fields.get("fence") == str(fence)
        return job if isinstance(job, Job) and job.status == JobStatus.RUNNING and holds else None

    def thinned(self, job_id: str) -> set[int]:
        """Return the epochs whose checkpoints were deleted to stay within the store's budget."""
        fields: Any = self.redis.hkeys(job_key(job_id))
        return {int(name.removeprefix(THINNED)) for name in fields if name.startswith(THINNED)}

    def finish(self, claim: Claim, status: JobStatus, error: str = "", trouble: str = "") -> JobStatus:
        """End the job, or hand it back as `queued`. Returns its new status: `cancelled` if that was requested.

        `trouble`: faults of its results. First adds epochs that Redis lost. May be repeated. Raises LeaseLost.
        """
        known = self.redis.hkeys(epochs_key(claim.job.id))
        for epoch in [each for each in claim.reported.values() if str(each.epoch) not in known]:
            self.add_epoch(claim, epoch)
        args = [claim.job.id, claim.fence, status.value, error, trouble, *before(status)]
        return self._still_ours(claim, self._finish(args=args))

    def reconcile(self, backoff_seconds: float, lease_seconds: float = 30.0) -> list[tuple[str, str]]:
        """Queue jobs whose worker was lost. Returns pairs (job id, `queued`, `failed`, `cancelled` or `due`)."""
        args: list[str | int | float] = [
            LOSSES,
            backoff_seconds,
            LONGEST_BACKOFF_SECONDS,
            GIVEN_UP,
            lease_seconds,
            LOST,
        ]
        changes = self._reconcile(args=args)
        return list(zip(changes[::2], changes[1::2], strict=True))

    def rebuild_indexes(self) -> bool:
        """Rebuild the lists of jobs by kind and status if their numbers differ from the number of jobs.

        They differ in a Redis with data of an older version. Returns whether they were rebuilt.
        """
        kinds = [index_key(kind) for kind in JobKind]
        statuses = [index_key(kind, status) for kind in JobKind for status in JobStatus]
        with self.redis.pipeline(transaction=True) as pipeline:
            for ids in (JOBS, *kinds, *statuses):
                pipeline.zcard(ids)
            jobs, *counts = pipeline.execute()
        if sum(counts[: len(kinds)]) == sum(counts[len(kinds) :]) == jobs:
            return False
        for first in range(0, jobs, MENDED_AT_ONCE):
            listed: list[str] = self.redis.zrange(JOBS, first, first + MENDED_AT_ONCE - 1)  # type: ignore[assignment]
            self._index(args=listed)
        return True

    def add_warning(self, claim: Claim, warning: str) -> None:
        """Add a sentence to the record's warnings, once. Raises LeaseLost."""
        if warning not in claim.job.warnings:
            claim.job.warnings.append(warning)
            self._put(claim, "warnings", json.dumps(claim.job.warnings))

    def _put(
        self, claim: Claim, *fields_and_values: str, kind: str = "", data: str = "", number: int | str = ""
    ) -> None:
        args = (claim.job.id, claim.fence, kind, data, number, *fields_and_values)
        self._still_ours(claim, self._write(args=args))

    def _still_ours(self, claim: Claim, status: str | None) -> JobStatus:
        if status is None:
            raise LeaseLost(claim.job.id)
        return JobStatus(status)

    def close(self) -> None:
        self.redis.close()
        self.patient.close()
