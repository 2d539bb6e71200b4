"""Redis dies, loses writes, is cut off or refuses: no job is lost, no epoch reported twice, no token issued twice."""

import random
import shutil
import time
from typing import Any

import pytest

from tests.faults.places import BOTH
from tests.faults.world import PACE, START_SECONDS, Outcome, World, check
from worker.celery_app import make_celery, notify_workers
from worker.jobs.errors import StoreUnavailable
from worker.jobs.model import JobStatus
from worker.settings import WorkerSettings


@BOTH
@pytest.mark.long
def test_a_run_survives_a_redis_that_is_killed(world: World, undisturbed: Outcome, seed: int) -> None:
    """Training continues as long as the lease allows; then a worker continues from the last state."""
    job_id, moments = world.accept(), random.Random(seed)
    world.note("seed", seed)
    for down in (1.0, 6.0, 0.2):
        world.until("it runs or has ended", lambda: world.trainer(job_id) or world.ended(job_id), START_SECONDS)
        world.pause(moments.uniform(0, 1.0))
        world.redis.kill()
        world.note("redis killed")
        world.pause(down)
        world.redis.start()
        world.note("redis is back")
    assert world.until_ended(job_id).status == JobStatus.SUCCEEDED
    check(world, [job_id], undisturbed)


@pytest.mark.long
def test_a_worker_that_shuts_down_while_redis_is_down_loses_nothing(world: World, undisturbed: Outcome) -> None:
    job_id = world.accept(epochs=3)
    world.until_running(job_id)
    world.until("progress", lambda: world.saved(job_id))
    world.redis.kill()
    worker = world.workers[0]
    worker.terminate()
    world.pause(1)
    world.redis.start()
    worker.wait(25 * PACE)
    world.start_worker()
    assert world.until_ended(job_id).status == JobStatus.SUCCEEDED
    check(world, [job_id], undisturbed)


@pytest.mark.long
def test_jobs_run_after_the_brokers_keys_are_erased(lasting_world: World, undisturbed: Outcome) -> None:
    """Ten jobs have no message any more; only the reconciler notifies workers."""
    jobs = [lasting_world.accept(epochs=1, train_examples=8) for _ in range(10)]
    lasting_world.until_running(jobs[0])
    with lasting_world.redis.client() as client:
        keys: list[str] = client.keys("acgan:celery:*")
        client.delete(*keys)
        lasting_world.note("erased", keys)
    for job_id in jobs:
        assert lasting_world.until_ended(job_id).status == JobStatus.SUCCEEDED
    assert not any("lost" in line for line in lasting_world.log.read_text().splitlines())


@pytest.mark.long
def test_jobs_run_although_every_connection_is_cut_repeatedly(world: World, undisturbed: Outcome) -> None:
    """A worker may exit because of it, and is started again."""
    world.supervised = True
    jobs = [world.accept(), world.accept()]
    world.until_running(jobs[0])
    with world.redis.client() as client:
        for _ in range(30):
            client.client_kill_filter(_type="normal", skipme=True)
            client.client_kill_filter(_type="pubsub", skipme=True)
            world.note("cut")
            world.pause(2)
    for job_id in jobs:
        assert world.until_ended(job_id).status == JobStatus.SUCCEEDED
    later = world.accept(epochs=1)
    world.until_running(later, 15)
    assert world.until_ended(later).status == JobStatus.SUCCEEDED
    world.note("workers", len(world.workers))
    check(world, [*jobs, later], undisturbed)


@pytest.mark.long
def test_a_redis_that_lost_its_last_writes_repeats_no_token(world: World, undisturbed: Outcome) -> None:
    """Its append-only file loses its tail: the lost writes were already carried out, under tokens that are on disk."""
    first = world.accept(epochs=2)
    world.until_running(first)
    folder = world.folder / "redis" / "appendonlydir"
    kept = world.folder / "kept"
    world.redis.start_rewrite()
    world.redis.wait_for_rewrite()
    shutil.copytree(folder, kept)
    second = world.accept(epochs=2)
    assert world.until_ended(first).status == JobStatus.SUCCEEDED
    world.until_running(second)
    before = world.store.highest_fence()

    world.redis.kill()
    shutil.rmtree(folder)
    shutil.copytree(kept, folder)
    world.redis.start()
    world.note("redis is back, older")

    job = world.until("the first is done again", lambda: succeeded(world, first), 60)
    assert job
    check(world, [first], undisturbed)
    third = world.accept(epochs=1)
    assert world.until_ended(third).status == JobStatus.SUCCEEDED
    check(world, [first, third], undisturbed)
    with world.redis.client() as client:
        assert int(client.hget(f"acgan:job:{third}", "fence") or 0) > before


def succeeded(world: World, job_id: str) -> bool:
    return world.job(job_id).status == JobStatus.SUCCEEDED


def test_a_redis_that_refuses_writes_for_a_while_loses_no_job(world: World, undisturbed: Outcome) -> None:
    """Out of memory, Redis deletes nothing, and no job is reported as accepted. Celery may exit because of it."""
    world.supervised = True
    job_id = world.accept()
    world.until_running(job_id)
    with world.redis.client() as client:
        memory: Any = client.info("memory")
        client.config_set("maxmemory", max(1, memory["used_memory"] // 2))
        world.note("no memory left")
        refused = 0
        for _ in range(20):
            try:
                world.accept()
            except StoreUnavailable:
                refused += 1
            time.sleep(0.2)
        client.config_set("maxmemory", 0)
        world.note("memory again")
        stats: Any = client.info("stats")
    assert refused == 20
    assert stats["evicted_keys"] == 0
    assert world.until_ended(job_id).status == JobStatus.SUCCEEDED
    check(world, [job_id], undisturbed)


@pytest.mark.long
def test_duplicated_notifications_run_every_job_once(lasting_world: World) -> None:
    """As from a broker that considers its consumers dead, because a clock was set."""
    lasting_world.start_worker()
    jobs = [lasting_world.accept(epochs=2) for _ in range(3)]
    celery = make_celery(WorkerSettings(redis_url=lasting_world.redis.url))
    for _ in range(40):
        notify_workers(celery)
    for job_id in jobs:
        assert lasting_world.until_ended(job_id).status == JobStatus.SUCCEEDED
    with lasting_world.redis.client() as client:
        assert int(client.get("acgan:fence") or 0) == len(jobs)
