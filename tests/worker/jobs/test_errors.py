"""All calls to Redis raise StoreUnavailable, which shows whether Redis responds."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
import redis
import redis.asyncio

from models.data.reference import Reference
from tests.support.job_lists import newest
from tests.worker.conftest import Ask
from worker.jobs.client import JobClient
from worker.jobs.consumer import JobConsumer
from worker.jobs.errors import StoreUnavailable
from worker.jobs.keys import JOBS, WORKERS
from worker.jobs.listing import (
    accepted_after,
    not_ended,
    read_not_ended,
    read_unfinished,
    read_unfinished_datasets,
    read_users_of_training_data,
    users_of_training_data,
)
from worker.jobs.redis_client import connect_reader

NOWHERE = "redis://127.0.0.1:9/0"
LETTERS = Reference("letters", 1)
CALLS: dict[str, Callable[[], Any]] = {
    "the consumer": lambda: JobConsumer.connect(NOWHERE).claim(),
    "the client": lambda: asyncio.run(newest(JobClient.connect(NOWHERE), 1)),
    "a list for the worker": lambda: not_ended(redis.Redis.from_url(NOWHERE)),
    "the jobs after another": lambda: accepted_after(redis.Redis.from_url(NOWHERE), "x"),
    "the users of training data": lambda: users_of_training_data(
        redis.Redis.from_url(NOWHERE), Reference("letters", 1)
    ),
    "the same for the API": lambda: asyncio.run(read_users_of_training_data(connect_reader(NOWHERE, 1), LETTERS)),
    **{
        read.__name__: lambda read=read: asyncio.run(read(connect_reader(NOWHERE, 1)))  # type: ignore[misc]
        for read in (read_not_ended, read_unfinished, read_unfinished_datasets)
    },
}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_a_redis_that_is_not_there(call: Callable[[], Any]) -> None:
    with pytest.raises(StoreUnavailable) as raised:
        call()
    assert not raised.value.refuses
    assert isinstance(raised.value.__cause__, redis.ConnectionError)


def test_a_redis_that_refuses(consumer: JobConsumer, ask: Ask[Any]) -> None:
    for key in (JOBS, WORKERS):
        consumer.redis.set(key, "not a sorted set")
    for call in (lambda: consumer.seen("cpu", 60), lambda: ask(lambda jobs: jobs.standing())):
        with pytest.raises(StoreUnavailable) as raised:
            call()
        assert raised.value.refuses
        assert not raised.value.is_memory_full


@pytest.mark.parametrize("error", [redis.exceptions.OutOfMemoryError(), redis.ResponseError("OOM command not allowed")])
def test_a_full_memory_is_recognised(error: redis.RedisError) -> None:
    assert StoreUnavailable.of(error).is_memory_full
