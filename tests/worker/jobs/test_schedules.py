"""Any order of claims, renewals, losses, publications and rollbacks of Redis, against a real Redis and a real store.

Hypothesis controls the time: leases expire when it decides so. SCHEDULES in the environment sets their number.
"""

import os
import shutil
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import redis
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from models.config import TrainingConfig
from models.registry.store import CheckpointId, CheckpointStore, FenceRejected
from tests.support import records
from worker.jobs import scripts
from worker.jobs.client import Order
from worker.jobs.consumer import Claim, JobConsumer, LeaseLost
from worker.jobs.keys import DELAYED, EVENTS, LEASES, QUEUE, index_key, job_key
from worker.jobs.listing import accepted_after
from worker.jobs.model import ENDED, RUNS_ON, EpochRecord, JobKind, JobStatus

SCHEDULES = int(os.environ.get("SCHEDULES", "200"))
JOB_IDS = ["20260101-000000-000001", "20260101-000000-000002"]
WORKERS = st.sampled_from(["one", "two", "three"])
JOB = st.sampled_from(JOB_IDS)
MEMORY = Path("/dev/shm") if Path("/dev/shm").is_dir() else None  # noqa: S108
DAMAGED = "a checkpoint is damaged"  # a trouble of results, which stays
FILES = {"generator.safetensors": b"g"}


class Schedule(RuleBasedStateMachine):
    consumer: JobConsumer  # set by the test

    @initialize()
    def accept(self) -> None:
        self.redis: Any = self.consumer.redis
        self.redis.flushdb()
        self.store = CheckpointStore(Path(tempfile.mkdtemp(dir=MEMORY)))
        self.claims: dict[str, Claim] = {}
        self.tokens: set[int] = set()
        self.taken: dict[str, int] = {}
        self.latest = CheckpointId("", 0)
        self.snapshot: dict[str, bytes] | None = None
        for place, job_id in enumerate(JOB_IDS):
            fields = [word for field in Order(TrainingConfig()).fields.items() for word in field]
            self.script(scripts.CREATE, [job_id, place, 100, "", "", "", "", *fields])

    def script(self, text: str, args: list[Any]) -> Any:
        return self.redis.register_script(text)(args=args)

    # ----------------------------------------------------------------------------
    # Actions of workers.

    @rule(worker=WORKERS, answer_arrives=st.booleans())
    def claim(self, worker: str, answer_arrives: bool) -> None:
        claim = self.consumer.claim(30, self.store.highest_fence())
        if claim is None or not answer_arrives:
            return
        with suppress(FenceRejected):
            self.store.take(claim.job.id, claim.fence, accepted_later=accepted_after(self.redis, claim.job.id))
            assert claim.fence not in self.tokens, "a token was handed out twice"
            assert claim.fence > self.taken.get(claim.job.id, 0)
            self.tokens.add(claim.fence)
            self.taken[claim.job.id] = claim.fence
            self.claims[worker] = claim

    @precondition(lambda self: self.claims)
    @rule(data=st.data())
    def renew(self, data: st.DataObject) -> None:
        with suppress(LeaseLost):
            self.consumer.renew(self.held(data), 30)

    @precondition(lambda self: self.claims)
    @rule(data=st.data(), epoch=st.integers(1, 3))
    def publish(self, data: st.DataObject, epoch: int) -> None:
        """A worker publishes, even without its lease; the store knows which one may."""
        claim = self.held(data)
        wanted = records.manifest(claim.job.id, epoch, fence=claim.fence)
        try:
            self.store.publish(wanted, FILES)
        except FenceRejected:
            assert claim.fence < self.taken[claim.job.id]
        else:
            assert claim.fence == self.taken[claim.job.id], "a zombie published"

    @precondition(lambda self: self.claims)
    @rule(data=st.data(), epoch=st.integers(1, 3))
    def report(self, data: st.DataObject, epoch: int) -> None:
        claim = self.held(data)
        with suppress(LeaseLost):
            self.consumer.add_epoch(claim, EpochRecord(epoch=epoch, seconds=1, losses=records.losses(), checkpoint="x"))
            self.consumer.saved(claim, epoch, 0)

    @precondition(lambda self: self.claims)
    @rule(data=st.data(), status=st.sampled_from([*ENDED, JobStatus.QUEUED]))
    def finish(self, data: st.DataObject, status: JobStatus) -> None:
        with suppress(LeaseLost):
            self.consumer.finish(self.held(data), status, trouble=DAMAGED if status in ENDED else "")

    @precondition(lambda self: self.claims)
    @rule(data=st.data(), trouble=st.sampled_from(["the disk is full", ""]))
    def have_trouble(self, data: st.DataObject, trouble: str) -> None:
        with suppress(LeaseLost):
            self.consumer.set_trouble(self.held(data), trouble)

    @rule(trouble=st.sampled_from(["it is away", ""]))
    def tell_waiting(self, trouble: str) -> None:
        self.consumer.tell_waiting(RUNS_ON, trouble)

    @precondition(lambda self: self.claims)
    @rule(data=st.data())
    def die(self, data: st.DataObject) -> None:
        del self.claims[data.draw(st.sampled_from(sorted(self.claims)))]

    def held(self, data: st.DataObject) -> Claim:
        return self.claims[data.draw(st.sampled_from(sorted(self.claims)))]

    # ----------------------------------------------------------------------------
    # Actions of time, callers and Redis.

    @rule(job_id=JOB)
    def the_lease_runs_out(self, job_id: str) -> None:
        self.redis.zadd(LEASES, {job_id: 1.0}, xx=True)

    @rule(backoff_is_over=st.booleans())
    def reconcile(self, backoff_is_over: bool) -> None:
        if backoff_is_over:
            for job_id in self.redis.zrange(DELAYED, 0, -1):
                self.redis.zadd(DELAYED, {job_id: 1.0})
        self.consumer.reconcile(10)

    @rule(job_id=JOB)
    def cancel(self, job_id: str) -> None:
        self.script(scripts.CANCEL, [job_id])

    @rule(job_id=JOB)
    def resume(self, job_id: str) -> None:
        self.script(scripts.RESUME, [job_id, 100, 0])

    @rule(job_id=JOB)
    def move_to_front(self, job_id: str) -> None:
        self.script(scripts.FRONT, [job_id])

    @rule()
    def redis_is_copied(self) -> None:
        with redis.Redis(connection_pool=raw(self.consumer)) as client:
            keys: Any = client.keys("acgan:*")
            self.snapshot = {key: client.dump(key) for key in keys}

    @precondition(lambda self: self.snapshot is not None)
    @rule()
    def redis_comes_back_older(self) -> None:
        assert self.snapshot is not None
        with redis.Redis(connection_pool=raw(self.consumer)) as client:
            client.flushdb()
            for key, value in self.snapshot.items():
                client.restore(key, 0, value)

    # ----------------------------------------------------------------------------
    # Invariants.

    @invariant()
    def every_job_is_in_exactly_one_place_and_one_worker_may_write_it(self) -> None:
        if not hasattr(self, "redis"):
            return
        with self.redis.pipeline(transaction=False) as pipeline:
            for job_id in JOB_IDS:
                pipeline.hmget(job_key(job_id), "status", "fence")
                for key in (QUEUE, DELAYED, LEASES):
                    pipeline.zscore(key, job_id)
            answers = pipeline.execute()
        for job_id, (status, fence), *scores in zip(JOB_IDS, *(answers[i::4] for i in range(4)), strict=True):
            places = [key for key, score in zip((QUEUE, DELAYED, LEASES), scores, strict=True) if score is not None]
            match JobStatus(status):
                case JobStatus.QUEUED:
                    assert places in ([QUEUE], [DELAYED]), (status, places)
                case JobStatus.RUNNING | JobStatus.CANCELLING:
                    assert places == [LEASES], (status, places)
                case _:
                    assert places == [], (status, places)
            assert (
                len([claim for claim in self.claims.values() if (claim.job.id, str(claim.fence)) == (job_id, fence)])
                <= 1
            )

    @invariant()
    def every_job_is_in_the_list_of_its_status_and_in_no_other(self) -> None:
        if not hasattr(self, "redis"):
            return
        listed = {status: set(self.redis.zrange(index_key(JobKind.TRAINING, status), 0, -1)) for status in JobStatus}
        for job_id in JOB_IDS:
            status = JobStatus(self.redis.hget(job_key(job_id), "status"))
            assert [named for named, ids in listed.items() if job_id in ids] == [status]
        assert set(self.redis.zrange(index_key(JobKind.TRAINING), 0, -1)) == set(JOB_IDS)

    @invariant()
    def followers_know_the_trouble_and_an_ended_job_has_only_that_of_its_results(self) -> None:
        """A follower drops the trouble when the status changes, and reads the record of a job that has ended."""
        if not hasattr(self, "redis"):
            return
        followed: dict[str, str] = {}
        for _, event in self.redis.xrange(EVENTS):
            if event["kind"] == "trouble" or (event["kind"] == "status" and event["data"] != JobStatus.CANCELLING):
                followed[event["job"]] = event["data"] if event["kind"] == "trouble" else ""
        for job_id in JOB_IDS:
            status, trouble = self.redis.hmget(job_key(job_id), "status", "trouble")
            assert (trouble or "") in ((DAMAGED, "") if status in ENDED else (followed[job_id],)), (status, trouble)

    @invariant()
    def latest_only_moves_forwards(self) -> None:
        if (store := getattr(self, "store", None)) and (latest := store.latest()):
            assert latest >= self.latest
            self.latest = latest

    def teardown(self) -> None:
        if hasattr(self, "store"):
            shutil.rmtree(self.store.root, ignore_errors=True)


def raw(consumer: JobConsumer) -> "redis.ConnectionPool":
    """Connections that leave bytes as they are."""
    kwargs = {**consumer.redis.connection_pool.connection_kwargs, "decode_responses": False}
    return redis.ConnectionPool(connection_class=consumer.redis.connection_pool.connection_class, **kwargs)


@pytest.mark.timeout(7200)
@pytest.mark.parametrize("count", [SCHEDULES // 4, pytest.param(SCHEDULES, marks=pytest.mark.long)])
def test_no_schedule_breaks_an_invariant(redis_url: str, count: int) -> None:
    Schedule.consumer = JobConsumer.connect(redis_url)
    run_state_machine_as_test(
        Schedule,
        settings=settings(
            max_examples=count,
            stateful_step_count=30,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
