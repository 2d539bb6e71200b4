"""Deadlines written while Redis' clock was ahead: if they exceed the longest legal one, they count as expired."""

import asyncio
import time
from typing import Any

import pytest
import redis.asyncio

from app.security.rate_limit import SharedRate, TooFast, read_rate
from benchmarks.records import ask_desk
from models.config import TrainingConfig
from models.registry import bundled
from models.synthesis.order import DatasetOrder
from models.version import code_version
from tests.worker.conftest import Ask, accept
from worker.handlers.sharing import Shared, Sharing
from worker.jobs.client import Order
from worker.jobs.consumer import Claim, JobConsumer, ourselves
from worker.jobs.keys import JOBS, QUEUE, WORKERS, index_key, job_key, parts_key

YEARS = 10 * 365 * 86400.0


@pytest.fixture
def shared(redis_url: str, consumer: JobConsumer) -> Shared:
    order = DatasetOrder(checkpoint=str(bundled.checkpoint()))
    ask_desk(redis_url, lambda jobs: jobs.create(Order(TrainingConfig(), dataset=order)))
    claim = consumer.claim()
    assert isinstance(claim, Claim)
    return Shared.of(claim, code_version())


@pytest.mark.parametrize("ahead", [3600.0, YEARS])
def test_a_part_taken_while_the_clock_was_ahead_can_be_taken_again(
    consumer: JobConsumer, shared: Shared, ahead: float
) -> None:
    sharing = Sharing(consumer.redis)
    sharing.welcome(shared, ["a", "b"])
    assert [sharing.take(shared, seconds) for seconds in (60, 30)] == ["a", "b"]
    assert sharing.find() is None
    consumer.redis.zincrby(parts_key(shared.job), ahead, "a")
    assert sharing.find() == shared
    assert sharing.take(shared, 60) == "a"
    assert sharing.take(shared, 60) is None, "b is being drawn"


def test_a_part_with_the_longest_legal_time_stays_taken(consumer: JobConsumer, shared: Shared) -> None:
    sharing = Sharing(consumer.redis)
    sharing.welcome(shared, ["a"])
    assert sharing.take(shared, 1000) == "a"
    assert sharing.take(shared, 10) is None
    assert sharing.find() is None


def test_a_worker_seen_in_the_future_does_not_hide_that_no_worker_is_available(
    consumer: JobConsumer, ask: Ask[Any]
) -> None:
    job_id = accept(ask).id
    consumer.seen("cpu", 60)
    assert ask(lambda jobs: jobs.get(job_id)).trouble is None
    consumer.redis.zadd(WORKERS, {f"cpu {ourselves()}": time.time() + YEARS})
    assert "no worker is available" in ask(lambda jobs: jobs.get(job_id)).trouble
    assert ask(lambda jobs: jobs.standing()).workers == {"cpu": 0, "gpu": 0}
    consumer.seen("cpu", 60)
    assert ask(lambda jobs: jobs.get(job_id)).trouble is None


def test_a_rate_counted_while_the_clock_was_ahead_blocks_no_caller(redis_url: str, consumer: JobConsumer) -> None:
    rate = read_rate("2/minute")
    assert rate is not None

    async def refused() -> list[bool]:
        client = redis.asyncio.Redis.from_url(redis_url)
        shared_rate, answers = SharedRate(rate, client), []
        for number in range(6):
            if number == 3:
                for key in consumer.redis.keys("acgan:rate*"):
                    consumer.redis.pexpire(key, int(1e3 * YEARS))
            try:
                await shared_rate.admit("ann")
                answers.append(False)
            except TooFast:
                answers.append(True)
        await client.aclose()
        return answers

    assert asyncio.run(refused()) == [False, False, True, False, False, True]


def test_a_job_whose_id_is_not_utf8_does_not_block_the_queue(consumer: JobConsumer, ask: Ask[Any]) -> None:
    """A claim takes the next job until it finds a readable one: it must name the one that it skips."""
    name = b"20260101-000000-\xff\xfe"
    consumer.redis.hset(job_key("").encode() + name, mapping={"status": "queued", "config": b"\xff"})
    for key in (JOBS, index_key(False), QUEUE):
        consumer.redis.zadd(key, {name: -1.0})
    job_id = accept(ask).id
    claim = consumer.claim()
    assert claim is not None
    assert claim.job.id == job_id
    assert consumer.redis.hget(job_key("").encode() + name, "trouble") is not None
