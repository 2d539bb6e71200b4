"""Waiting and running jobs in a real Redis: workers are lost, callers cancel, resume and reorder."""

import asyncio
from functools import partial
from typing import Any

import pytest
import redis

from models.config import TrainingConfig
from tests.conftest import RunningRedis
from tests.worker.conftest import Ask, accept
from worker.jobs.client import JobDesk, JobNotFound, KeyReused, NotNow, Order, Unsuitable
from worker.jobs.consumer import Claim, JobBench, JobLost
from worker.jobs.model import JobStatus

# ----------------------------------------------------------------------------
# Leases, and jobs whose worker is lost.


def expire_leases(bench: JobBench) -> None:
    """As if no worker had renewed its lease in time."""
    client: Any = bench.redis
    for job_id in client.zrange("acgan:leases", 0, -1):
        client.zadd("acgan:leases", {job_id: 1.0})


def let_backoff_pass(bench: JobBench) -> dict[str, float]:
    """Returns the seconds that each job would have had to wait."""
    client: Any = bench.redis
    (seconds, _), delayed = client.time(), dict(client.zrange("acgan:delayed", 0, -1, withscores=True))
    for job_id in delayed:
        client.zadd("acgan:delayed", {job_id: 1.0})
    return {job_id: until - seconds for job_id, until in delayed.items()}


def test_a_job_is_left_alone_as_long_as_its_lease_is_renewed(ask: Ask[Any], bench: JobBench) -> None:
    accept(ask)
    claim = bench.claim(30)
    assert claim is not None
    assert bench.reconcile(10) == []
    expire_leases(bench)
    assert bench.renew(claim, 30) == JobStatus.RUNNING
    assert bench.reconcile(10) == []


def test_a_job_whose_worker_is_lost_is_the_next_of_its_priority(ask: Ask[Any], bench: JobBench) -> None:
    job_id, urgent, later = (
        accept(ask).id,
        ask(lambda desk: desk.create(Order(TrainingConfig(), 5))).id,
        accept(ask).id,
    )
    assert take(bench).job.id == urgent
    first = take(bench)
    assert first.job.id == job_id
    expire_leases(bench)
    assert sorted(bench.reconcile(10)) == sorted([(job_id, "queued"), (urgent, "queued")])
    assert ask(lambda desk: desk.get(job_id)).status == JobStatus.QUEUED
    with pytest.raises(JobLost):
        bench.renew(first, 30)
    claims = [take(bench) for _ in range(3)]
    assert [claim.job.id for claim in claims] == [urgent, job_id, later]
    assert claims[1].fence > first.fence


def take(bench: JobBench) -> Claim:
    """Claim as a worker does, which renews its lease at once."""
    claim = bench.claim(30)
    assert claim is not None
    bench.renew(claim, 30)
    return claim


@pytest.mark.parametrize("saves", [False, True])
def test_three_workers_lost_in_a_row_end_a_job_unless_it_made_progress(
    ask: Ask[Any], bench: JobBench, saves: bool
) -> None:
    job_id = accept(ask).id
    waits: list[float] = []
    for turn in range(3):
        claim = take(bench)
        if saves:
            bench.saved(claim, epoch=1, iteration=10 * turn)
        expire_leases(bench)
        became = bench.reconcile(10)
        waits += let_backoff_pass(bench).values()
        bench.reconcile(10)
    job = ask(lambda desk: desk.get(job_id))
    if saves:
        assert job.status == JobStatus.QUEUED
        assert waits == []
    else:
        assert became == [(job_id, "failed")]
        assert job.status == JobStatus.FAILED
        assert "3 workers in a row" in str(job.error)
        assert waits == pytest.approx([10], abs=2)
        assert bench.claim(30) is None


def test_a_token_is_higher_than_any_on_disk(ask: Ask[Any], bench: JobBench) -> None:
    """A Redis that lost its last writes has lost tokens that writers still hold."""
    accept(ask)
    claim = bench.claim(30, lowest_fence=41)
    assert claim is not None
    assert claim.fence == 42


# ----------------------------------------------------------------------------
# Commands to jobs.


def test_a_waiting_job_is_cancelled_at_once_and_can_be_resumed(ask: Ask[Any], bench: JobBench) -> None:
    job_id = accept(ask).id
    job = ask(lambda desk: desk.cancel(job_id))
    assert job.status == JobStatus.CANCELLED
    assert job.ended_at is not None
    assert bench.claim() is None
    job = ask(lambda desk: desk.resume(job_id))
    assert (job.status, job.ended_at) == (JobStatus.QUEUED, None)
    claim = bench.claim()
    assert claim is not None
    assert claim.job.id == job_id


def test_a_running_job_is_cancelled_by_its_worker(ask: Ask[Any], bench: JobBench) -> None:
    job_id = accept(ask).id
    claim = bench.claim()
    assert claim is not None
    assert ask(lambda desk: desk.cancel(job_id)).status == JobStatus.CANCELLING
    assert ask(lambda desk: desk.cancel(job_id)).status == JobStatus.CANCELLING
    assert bench.renew(claim, 30) == JobStatus.CANCELLING
    bench.finish(claim, JobStatus.CANCELLED)
    assert ask(lambda desk: desk.cancel(job_id)).status == JobStatus.CANCELLED


def test_a_cancelling_job_ends_although_its_worker_is_lost(ask: Ask[Any], bench: JobBench) -> None:
    job_id = accept(ask).id
    bench.claim()
    ask(lambda desk: desk.cancel(job_id))
    expire_leases(bench)
    assert bench.reconcile(10) == [(job_id, "cancelled")]


def test_jobs_that_ended_otherwise_are_neither_cancelled_nor_resumed(ask: Ask[Any], bench: JobBench) -> None:
    job_id = accept(ask).id
    claim = bench.claim()
    assert claim is not None
    with pytest.raises(NotNow, match="only a failed or cancelled job"):
        ask(lambda desk: desk.resume(job_id))
    bench.finish(claim, JobStatus.SUCCEEDED)
    for question in (JobDesk.cancel, JobDesk.resume, JobDesk.move_to_front):
        with pytest.raises(NotNow, match="succeeded"):
            ask(partial(question, job_id=job_id))
        with pytest.raises(JobNotFound):
            ask(partial(question, job_id="20260101-000000-abcdef"))


def test_the_front_and_priority_decide_which_job_is_next(ask: Ask[Any], bench: JobBench) -> None:
    def order(priority: int) -> str:
        job_id: str = ask(lambda desk: desk.create(Order(TrainingConfig(), priority))).id
        return job_id

    low, high, low_too, highest = order(0), order(5), order(0), order(9)
    ask(lambda desk: desk.move_to_front(low_too))
    claimed = [bench.claim() for _ in range(4)]
    assert [claim.job.id for claim in claimed if claim] == [low_too, highest, high, low]


def test_the_number_of_waiting_jobs_is_limited(ask: Ask[Any], redis_url: str) -> None:
    async def fill(desk: JobDesk) -> list[str]:
        desk.queue_limit = 3
        answers = await asyncio.gather(
            *(desk.create(Order(TrainingConfig())) for _ in range(20)), return_exceptions=True
        )
        return [type(answer).__name__ for answer in answers]

    answers = ask(fill)
    assert sorted(answers) == ["Job"] * 3 + ["QueueFull"] * 17
    assert len(ask(lambda desk: desk.newest(100))) == 3


def test_an_idempotency_key_is_one_job(ask: Ask[Any], redis_url: str) -> None:
    order = Order(TrainingConfig(epochs=3), idempotency_key="mine")

    async def send_often(desk: JobDesk) -> set[str]:
        return {job.id for job in await asyncio.gather(*(desk.create(order) for _ in range(30)))}

    assert len(ask(send_often)) == 1
    with pytest.raises(KeyReused, match="use a new one"):
        ask(lambda desk: desk.create(order._replace(config=TrainingConfig(epochs=4))))
    with redis.Redis.from_url(redis_url) as client:
        assert 0 < client.ttl("acgan:idempotency::mine") <= 86400


def test_jobs_are_listed_by_state_and_page_by_page(ask: Ask[Any], bench: JobBench) -> None:
    ids = [accept(ask).id for _ in range(7)]
    for _ in range(3):
        bench.claim()
    running = ask(lambda desk: desk.newest(2, JobStatus.RUNNING))
    assert [job.id for job in running] == [ids[2], ids[1]]
    assert [job.id for job in ask(lambda desk: desk.newest(2, JobStatus.RUNNING, ids[1]))] == [ids[0]]
    assert [job.id for job in ask(lambda desk: desk.newest(3, None, ids[5]))] == ids[4:1:-1]


@pytest.mark.parametrize("policy", ["allkeys-lru", "noeviction", "volatile-ttl"])
def test_a_redis_that_may_lose_jobs_is_refused(mortal_redis: RunningRedis, policy: str) -> None:
    bench = JobBench.connect(mortal_redis.url)
    bench.redis.config_set("maxmemory-policy", policy)
    if policy.startswith("allkeys"):
        with pytest.raises(Unsuitable, match="noeviction"):
            bench.check_eviction()
    else:
        bench.check_eviction()
