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
from worker.lifecycle.lease import Lease
from worker.settings import WorkerSettings

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


def until(true: Callable[[], bool], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def keep_leases(monkeypatch: pytest.MonkeyPatch) -> list[Lease]:
    """Return a list to which each lease of this process is added when it begins."""
    leases: list[Lease] = []
    enter = Lease.__enter__

    def begin(self: Lease) -> Lease:
        leases.append(self)
        return enter(self)

    monkeypatch.setattr(Lease, "__enter__", begin)
    return leases


def cancel_during_run(settings: WorkerSettings, job_id: str, leases: list[Lease]) -> None:
    """Cancel a job that this process runs, and wait until its lease knows. The next check then stops the run."""
    ask_desk(settings.redis_url, lambda jobs: jobs.cancel(job_id))
    assert leases[-1]._cancelled.wait(30)
