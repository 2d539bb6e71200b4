"""Both sides of the job record, over a real Redis."""

import time
from collections.abc import Callable, Coroutine, Iterator
from functools import partial
from typing import Any, TypeVar

import pytest

from benchmarks.records import ask_desk
from models.config import TrainingConfig
from worker.jobs.client import JobDesk, Order
from worker.jobs.consumer import JobBench
from worker.jobs.model import Job
from worker.lifecycle import shutdown

Answer = TypeVar("Answer")
Ask = Callable[[Callable[[JobDesk], Coroutine[Any, Any, Answer]]], Answer]


@pytest.fixture(autouse=True)
def nobody_interrupts() -> Iterator[None]:
    shutdown._requested.clear()
    yield
    shutdown._requested.clear()


@pytest.fixture
def ask(redis_url: str) -> Ask[Any]:
    """Run one coroutine on the API's side."""
    return partial(ask_desk, redis_url)


@pytest.fixture
def bench(redis_url: str) -> JobBench:
    return JobBench.connect(redis_url)


def accept(ask: Ask[Job], **fields: Any) -> Job:
    return ask(lambda desk: desk.create(Order(TrainingConfig(**fields))))


def until(true: Callable[[], bool], seconds: float = 10) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.02)
