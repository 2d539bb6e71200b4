"""A real worker whose Redis may delete jobs, which it notices after its start: it hands its job back and ends."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.world import START_SECONDS, World, running_world
from worker.jobs.model import JobStatus

UNSAFE = ("--maxmemory-policy", "allkeys-lru")
SENTENCE = "Redis may delete jobs when it is short of memory (maxmemory-policy allkeys-lru)"


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with running_world(tmp_path) as made:
        yield made


def ends_because_of_redis(world: World) -> None:
    (worker,) = world.workers
    world.until("the worker ends", lambda: worker.poll() is not None)
    assert worker.returncode == 2, world.story()
    assert SENTENCE in world.log.read_text()


def test_an_unsafe_redis_that_starts_after_the_worker_ends_it(world: World) -> None:
    world.redis.kill()
    world.start_worker()
    world.until("it waits", lambda: "Redis does not respond yet" in world.log.read_text(), START_SECONDS)
    world.redis.options = UNSAFE
    world.redis.start()
    ends_because_of_redis(world)


def test_a_busy_worker_hands_its_job_back_before_it_ends(world: World) -> None:
    world.start_worker()
    job_id = world.accept(epochs=500)
    world.until_running(job_id)
    with world.redis.client() as client:
        client.config_set(*[word.removeprefix("--") for word in UNSAFE])
    ends_because_of_redis(world)
    assert world.job(job_id).status == JobStatus.QUEUED
    assert f"job {job_id} goes back to the queue" in world.log.read_text()
