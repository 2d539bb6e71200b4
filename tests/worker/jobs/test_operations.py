"""Waiting and running jobs in a real Redis: workers are lost, callers cancel, resume and reorder."""

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import redis

from models.config import TrainingConfig
from tests.conftest import RunningRedis
from tests.support.job_lists import newest
from tests.worker.conftest import Ask, accept
from worker.jobs.client import IdempotencyConflict, InvalidTransition, JobClient, JobNotFound, Order
from worker.jobs.consumer import LOSSES, LOST, Claim, JobConsumer, LeaseLost
from worker.jobs.keys import EVENTS, job_key
from worker.jobs.model import ENDED, HIGHEST_PRIORITY, JobStatus
from worker.jobs.redis_client import UnsafeRedisConfig

# ----------------------------------------------------------------------------
# Leases, and jobs whose worker is lost.


def expire_leases(consumer: JobConsumer) -> None:
    """As if no worker had renewed its lease in time."""
    client: Any = consumer.redis
    for job_id in client.zrange("acgan:leases", 0, -1):
        client.zadd("acgan:leases", {job_id: 1.0})


def let_backoff_pass(consumer: JobConsumer) -> list[float]:
    """Returns the times until which each job would have had to wait, by Redis' clock."""
    client: Any = consumer.redis
    delayed = dict(client.zrange("acgan:delayed", 0, -1, withscores=True))
    for job_id in delayed:
        client.zadd("acgan:delayed", {job_id: 1.0})
    return list(delayed.values())


def clock_of_redis(consumer: JobConsumer) -> float:
    seconds, microseconds = consumer.redis.time()
    return seconds + microseconds / 1e6


def test_a_job_is_left_alone_as_long_as_its_lease_is_renewed(ask: Ask[Any], consumer: JobConsumer) -> None:
    accept(ask)
    claim = consumer.claim(30)
    assert claim is not None
    assert consumer.reconcile(10) == []
    expire_leases(consumer)
    assert consumer.renew(claim, 30) == JobStatus.RUNNING
    assert consumer.reconcile(10) == []


def test_a_job_whose_worker_is_lost_is_the_next_of_its_priority(ask: Ask[Any], consumer: JobConsumer) -> None:
    job_id, urgent, later = (
        accept(ask).id,
        ask(lambda jobs: jobs.create(Order(TrainingConfig(), 5))).id,
        accept(ask).id,
    )
    assert take(consumer).job.id == urgent
    first = take(consumer)
    assert first.job.id == job_id
    expire_leases(consumer)
    assert sorted(consumer.reconcile(10)) == sorted([(job_id, "queued"), (urgent, "queued")])
    assert ask(lambda jobs: jobs.get(job_id)).status == JobStatus.QUEUED
    with pytest.raises(LeaseLost):
        consumer.renew(first, 30)
    claims = [take(consumer) for _ in range(3)]
    assert [claim.job.id for claim in claims] == [urgent, job_id, later]
    assert claims[1].fence > first.fence


def take(consumer: JobConsumer) -> Claim:
    """Claim as a worker does, which renews its lease at once."""
    claim = consumer.claim(30)
    assert claim is not None
    consumer.renew(claim, 30)
    return claim


@pytest.mark.parametrize("saves", [False, True])
def test_three_workers_lost_in_a_row_end_a_job_unless_it_made_progress(
    ask: Ask[Any], consumer: JobConsumer, saves: bool
) -> None:
    job_id = accept(ask).id
    ends, earliest, latest = list[float](), list[float](), list[float]()
    for turn in range(3):
        claim = take(consumer)
        if saves:
            consumer.saved(claim, epoch=1, iteration=10 * turn)
        expire_leases(consumer)
        began = clock_of_redis(consumer)
        became = consumer.reconcile(10)
        if delayed := let_backoff_pass(consumer):
            ends += delayed
            earliest.append(began + 10)
            latest.append(clock_of_redis(consumer) + 10)
        consumer.reconcile(10)
    job = ask(lambda jobs: jobs.get(job_id))
    if saves:
        assert job.status == JobStatus.QUEUED
        assert ends == []
    else:
        assert became == [(job_id, "failed")]
        assert job.status == JobStatus.FAILED
        assert "3 workers in a row" in str(job.error)
        (end,) = ends
        assert earliest[0] - 0.001 <= end <= latest[0] + 0.001
        assert consumer.claim(30) is None


def test_a_token_is_higher_than_any_on_disk(ask: Ask[Any], consumer: JobConsumer) -> None:
    """A Redis that lost its last writes has lost tokens that writers still hold."""
    accept(ask)
    claim = consumer.claim(30, lowest_fence=41)
    assert claim is not None
    assert claim.fence == 42


# ----------------------------------------------------------------------------
# Commands to jobs.


def test_a_waiting_job_is_cancelled_at_once_and_can_be_resumed(ask: Ask[Any], consumer: JobConsumer) -> None:
    job_id = accept(ask).id
    job = ask(lambda jobs: jobs.cancel(job_id))
    assert job.status == JobStatus.CANCELLED
    assert job.ended_at is not None
    assert consumer.claim() is None
    job = ask(lambda jobs: jobs.resume(job_id))
    assert (job.status, job.ended_at) == (JobStatus.QUEUED, None)
    claim = consumer.claim()
    assert claim is not None
    assert claim.job.id == job_id


def test_a_running_job_is_cancelled_by_its_worker(ask: Ask[Any], consumer: JobConsumer) -> None:
    job_id = accept(ask).id
    claim = consumer.claim()
    assert claim is not None
    assert ask(lambda jobs: jobs.cancel(job_id)).status == JobStatus.CANCELLING
    assert ask(lambda jobs: jobs.cancel(job_id)).status == JobStatus.CANCELLING
    assert consumer.renew(claim, 30) == JobStatus.CANCELLING
    consumer.finish(claim, JobStatus.CANCELLED)
    assert ask(lambda jobs: jobs.cancel(job_id)).status == JobStatus.CANCELLED


def test_a_cancelling_job_ends_although_its_worker_is_lost(ask: Ask[Any], consumer: JobConsumer) -> None:
    job_id = accept(ask).id
    consumer.claim()
    ask(lambda jobs: jobs.cancel(job_id))
    expire_leases(consumer)
    assert consumer.reconcile(10) == [(job_id, "cancelled")]


def lose(consumer: JobConsumer) -> None:
    expire_leases(consumer)
    assert consumer.reconcile(10) != []


def lost_and_queued_again(ask: Ask[Any], consumer: JobConsumer, job_id: str) -> None:
    take(consumer)
    lose(consumer)
    assert consumer.redis.hget(job_key(job_id), "trouble") == LOST


def waiting_for_the_store(ask: Ask[Any], consumer: JobConsumer, job_id: str) -> None:
    consumer.tell_waiting(["any"], "it does not answer")


def cancelled_with_a_full_disk(ask: Ask[Any], consumer: JobConsumer, job_id: str) -> None:
    consumer.set_trouble(take(consumer), "the disk is full")
    assert ask(lambda jobs: jobs.cancel(job_id)).trouble == "the disk is full"  # the worker has not stopped yet
    lose(consumer)


def lost_for_the_last_time_with_a_full_disk(ask: Ask[Any], consumer: JobConsumer, job_id: str) -> None:
    consumer.set_trouble(take(consumer), "the disk is full")
    consumer.redis.hset(job_key(job_id), "lost", LOSSES)
    lose(consumer)


@pytest.mark.parametrize(
    "what",
    [
        lost_and_queued_again,
        waiting_for_the_store,
        cancelled_with_a_full_disk,
        lost_for_the_last_time_with_a_full_disk,
    ],
)
def test_a_job_that_ends_no_longer_has_the_trouble_that_delayed_it(
    ask: Ask[Any], consumer: JobConsumer, what: Callable[[Ask[Any], JobConsumer, str], None]
) -> None:
    job_id = accept(ask).id
    what(ask, consumer, job_id)
    if ask(lambda jobs: jobs.get(job_id)).status == JobStatus.QUEUED:
        ask(lambda jobs: jobs.cancel(job_id))
    job = ask(lambda jobs: jobs.get(job_id))
    assert (job.status in ENDED, job.trouble) == (True, None)
    client: Any = consumer.redis
    last = [(event["kind"], event["data"]) for _, event in client.xrange(EVENTS)][-2:]
    assert last == [("trouble", ""), ("status", job.status)]  # streams end with the status


def test_jobs_that_ended_otherwise_are_neither_cancelled_nor_resumed(ask: Ask[Any], consumer: JobConsumer) -> None:
    job_id = accept(ask).id
    claim = consumer.claim()
    assert claim is not None
    with pytest.raises(InvalidTransition, match="only a failed or cancelled job"):
        ask(lambda jobs: jobs.resume(job_id))
    consumer.finish(claim, JobStatus.SUCCEEDED)
    for question in (JobClient.cancel, JobClient.resume, JobClient.move_to_front):
        with pytest.raises(InvalidTransition, match="succeeded"):
            ask(partial(question, job_id=job_id))
        with pytest.raises(JobNotFound):
            ask(partial(question, job_id="20260101-000000-abcdef"))


def test_the_front_and_priority_decide_which_job_is_next(ask: Ask[Any], consumer: JobConsumer) -> None:
    def order(priority: int) -> str:
        job_id: str = ask(lambda jobs: jobs.create(Order(TrainingConfig(), priority))).id
        return job_id

    low, high, low_too, highest = order(0), order(5), order(0), order(9)
    ask(lambda jobs: jobs.move_to_front(low_too))
    claimed = [consumer.claim() for _ in range(4)]
    assert [claim.job.id for claim in claimed if claim] == [low_too, highest, high, low]


def test_a_job_at_the_front_runs_before_jobs_that_come_later(ask: Ask[Any], consumer: JobConsumer) -> None:
    def order(priority: int) -> str:
        job_id: str = ask(lambda jobs: jobs.create(Order(TrainingConfig(), priority))).id
        return job_id

    first = order(HIGHEST_PRIORITY)
    ask(lambda jobs: jobs.move_to_front(first))
    second = order(0)
    ask(lambda jobs: jobs.move_to_front(second))
    third = order(HIGHEST_PRIORITY)
    claimed = [consumer.claim() for _ in range(3)]
    assert [claim.job.id for claim in claimed if claim] == [second, first, third]


def test_the_number_of_waiting_jobs_is_limited(ask: Ask[Any], redis_url: str) -> None:
    async def fill(jobs: JobClient) -> list[str]:
        jobs.queue_limit = 3
        answers = await asyncio.gather(
            *(jobs.create(Order(TrainingConfig())) for _ in range(20)), return_exceptions=True
        )
        return [type(answer).__name__ for answer in answers]

    answers = ask(fill)
    assert sorted(answers) == ["Job"] * 3 + ["QueueFull"] * 17
    assert len(ask(lambda jobs: newest(jobs, 100))) == 3


def test_an_idempotency_key_is_one_job(ask: Ask[Any], redis_url: str) -> None:
    order = Order(TrainingConfig(epochs=3), idempotency_key="mine")

    async def send_often(jobs: JobClient) -> set[str]:
        return {job.id for job in await asyncio.gather(*(jobs.create(order) for _ in range(30)))}

    assert len(ask(send_often)) == 1
    with pytest.raises(IdempotencyConflict, match="use a new one"):
        ask(lambda jobs: jobs.create(order._replace(config=TrainingConfig(epochs=4))))
    with redis.Redis.from_url(redis_url) as client:
        assert 0 < client.ttl("acgan:idempotency::mine") <= 86400


def test_jobs_are_listed_by_state_and_page_by_page(ask: Ask[Any], consumer: JobConsumer) -> None:
    ids = [accept(ask).id for _ in range(7)]
    for _ in range(3):
        consumer.claim()
    running = ask(lambda jobs: newest(jobs, 2, JobStatus.RUNNING))
    assert [job.id for job in running] == [ids[2], ids[1]]
    assert [job.id for job in ask(lambda jobs: newest(jobs, 2, JobStatus.RUNNING, ids[1]))] == [ids[0]]
    assert [job.id for job in ask(lambda jobs: newest(jobs, 3, None, ids[5]))] == ids[4:1:-1]


@pytest.mark.parametrize("policy", ["allkeys-lru", "noeviction", "volatile-ttl"])
def test_a_redis_that_may_lose_jobs_is_refused(mortal_redis: RunningRedis, policy: str) -> None:
    consumer = JobConsumer.connect(mortal_redis.url)
    consumer.redis.config_set("maxmemory-policy", policy)
    if policy.startswith("allkeys"):
        with pytest.raises(UnsafeRedisConfig, match="noeviction"):
            consumer.check_eviction()
    else:
        consumer.check_eviction()
