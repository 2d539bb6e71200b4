"""Both sides of the job record, over a real Redis."""

import time
from collections.abc import Callable, Coroutine, Iterator
from functools import partial
from typing import Any, TypeVar

import pytest

from benchmarks.records import ask_desk
from models.config import TrainingConfig
from worker.jobs.client import JobClient, Order
from worker.jobs.consumer import JobConsumer
from worker.jobs.model import Job
from worker.lifecycle import shutdown

Answer = TypeVar("Answer")
Ask = Callable[[Callable[[JobClient], Coroutine[Any, Any, Answer]]], Answer]


@pytest.fixture(autouse=True)
def no_interruption() -> Iterator[None]:
    shutdown._requested.clear()
    yield
    shutdown._requested.clear()


@pytest.fixture
def ask(redis_url: str) -> Ask[Any]:
    """Run one coroutine on the API's side."""
    return partial(ask_desk, redis_url)


@pytest.fixture
def consumer(redis_url: str) -> JobConsumer:
    return JobConsumer.connect(redis_url)


def accept(ask: Ask[Job], **fields: Any) -> Job:
    return ask(lambda jobs: jobs.create(Order(TrainingConfig(**fields))))


def until(true: Callable[[], bool], seconds: float = 10) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.02)
