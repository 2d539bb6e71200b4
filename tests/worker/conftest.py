"""Both sides of the job record, over a real Redis."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

import pytest

from models.config import TrainingConfig
from worker.bench import JobBench
from worker.jobs import Job
from worker.store import JobDesk, Order

Answer = TypeVar("Answer")
Ask = Callable[[Callable[[JobDesk], Coroutine[Any, Any, Answer]]], Answer]


@pytest.fixture
def ask(redis_url: str) -> Ask[Any]:
    """Run one coroutine on the API's side."""

    def run(question: Callable[[JobDesk], Coroutine[Any, Any, Any]]) -> Any:
        async def answer() -> Any:
            desk = JobDesk.connect(redis_url)
            try:
                return await question(desk)
            finally:
                await desk.close()

        return asyncio.run(answer())

    return run


@pytest.fixture
def bench(redis_url: str) -> JobBench:
    return JobBench.connect(redis_url)


def accept(ask: Ask[Job], **fields: Any) -> Job:
    return ask(lambda desk: desk.create(Order(TrainingConfig(**fields))))
