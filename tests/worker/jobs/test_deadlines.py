"""Deadlines written while Redis' clock was ahead: if they exceed the longest legal one, they count as expired."""

import asyncio
import time
from typing import Any

import redis.asyncio

from app.security.rate_limit import SharedRate, TooFast, read_rate
from tests.worker.conftest import Ask, accept
from worker.jobs.consumer import JobConsumer, ourselves
from worker.jobs.keys import JOBS, QUEUE, WORKERS, index_key, job_key
from worker.jobs.model import JobKind

YEARS = 10 * 365 * 86400.0


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
    for key in (JOBS, index_key(JobKind.TRAINING), QUEUE):
        consumer.redis.zadd(key, {name: -1.0})
    job_id = accept(ask).id
    claim = consumer.claim()
    assert claim is not None
    assert claim.job.id == job_id
    assert consumer.redis.hget(job_key("").encode() + name, "trouble") is not None
