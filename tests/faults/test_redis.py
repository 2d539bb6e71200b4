"""Redis dies, loses writes, is cut off or refuses: no job is lost, no epoch reported twice, no token issued twice."""

import random
import shutil
import time
from typing import Any

import pytest
import redis

from tests.faults.places import BOTH
from tests.faults.world import PACE, RECOVERY_SECONDS, Outcome, World, check
from worker.celery_app import make_celery, notify_workers
from worker.jobs.model import JobStatus
from worker.settings import WorkerSettings


@BOTH
@pytest.mark.long
def test_a_run_survives_a_redis_that_is_killed(here: World, undisturbed: Outcome, seed: int) -> None:
    """Training continues as long as the lease allows; then a worker continues from the last state."""
    job_id, moments = here.accept(), random.Random(seed)
    here.note("seed", seed)
    for down in (1.0, 6.0, 0.2):
        here.until("it runs or has ended", lambda: here.trainer(job_id) or here.ended(job_id), 2 * RECOVERY_SECONDS)
        here.pause(moments.uniform(0, 1.0))
        here.redis.kill()
        here.note("redis killed")
        here.pause(down)
        here.redis.start()
        here.note("redis is back")
    assert here.until_ended(job_id).status == JobStatus.SUCCEEDED
    check(here, [job_id], undisturbed)


@pytest.mark.long
def test_a_worker_that_shuts_down_while_redis_is_down_loses_nothing(here: World, undisturbed: Outcome) -> None:
    job_id = here.accept(epochs=3)
    here.until_running(job_id)
    here.until("progress", lambda: here.saved(job_id))
    here.redis.kill()
    worker = here.workers[0]
    worker.terminate()
    here.pause(1)
    here.redis.start()
    worker.wait(25 * PACE)
    here.start_worker()
    assert here.until_ended(job_id).status == JobStatus.SUCCEEDED
    check(here, [job_id], undisturbed)


@pytest.mark.long
def test_jobs_run_after_the_brokers_keys_are_erased(here: World, undisturbed: Outcome) -> None:
    """Ten jobs have no message any more; only the reconciler notifies workers."""
    jobs = [here.accept(epochs=1, train_examples=8) for _ in range(10)]
    here.until_running(jobs[0])
    with here.redis.client() as client:
        keys: list[str] = client.keys("acgan:celery:*")
        client.delete(*keys)
        here.note("erased", keys)
    for job_id in jobs:
        assert here.until_ended(job_id).status == JobStatus.SUCCEEDED
    assert not any("lost" in line for line in here.log.read_text().splitlines())


@pytest.mark.long
def test_jobs_run_although_every_connection_is_cut_repeatedly(here: World, undisturbed: Outcome) -> None:
    """A worker may exit because of it, and is started again."""
    here.supervised = True
    jobs = [here.accept(), here.accept()]
    here.until_running(jobs[0])
    with here.redis.client() as client:
        for _ in range(30):
            client.client_kill_filter(_type="normal", skipme=True)
            client.client_kill_filter(_type="pubsub", skipme=True)
            here.note("cut")
            here.pause(2)
    for job_id in jobs:
        assert here.until_ended(job_id).status == JobStatus.SUCCEEDED
    later = here.accept(epochs=1)
    here.until_running(later, 15)
    assert here.until_ended(later).status == JobStatus.SUCCEEDED
    here.note("workers", len(here.workers))
    check(here, [*jobs, later], undisturbed)


@pytest.mark.long
def test_a_redis_that_lost_its_last_writes_repeats_no_token(here: World, undisturbed: Outcome) -> None:
    """Its append-only file loses its tail: the lost writes were already carried out, under tokens that are on disk."""
    first = here.accept(epochs=2)
    here.until_running(first)
    folder = here.folder / "redis" / "appendonlydir"
    kept = here.folder / "kept"
    with here.redis.client() as client:
        client.bgrewriteaof()
    time.sleep(0.5)
    shutil.copytree(folder, kept)
    second = here.accept(epochs=2)
    assert here.until_ended(first).status == JobStatus.SUCCEEDED
    here.until_running(second)
    before = here.store.highest_fence()

    here.redis.kill()
    shutil.rmtree(folder)
    shutil.copytree(kept, folder)
    here.redis.start()
    here.note("redis is back, older")

    job = here.until("the first is done again", lambda: succeeded(here, first), 60)
    assert job
    check(here, [first], undisturbed)
    third = here.accept(epochs=1)
    assert here.until_ended(third).status == JobStatus.SUCCEEDED
    check(here, [first, third], undisturbed)
    with here.redis.client() as client:
        assert int(client.hget(f"acgan:job:{third}", "fence") or 0) > before


def succeeded(here: World, job_id: str) -> bool:
    return here.job(job_id).status == JobStatus.SUCCEEDED


def test_a_redis_that_refuses_writes_for_a_while_loses_no_job(here: World, undisturbed: Outcome) -> None:
    """Out of memory, Redis deletes nothing, and no job is reported as accepted. Celery may exit because of it."""
    here.supervised = True
    job_id = here.accept()
    here.until_running(job_id)
    with here.redis.client() as client:
        memory: Any = client.info("memory")
        client.config_set("maxmemory", max(1, memory["used_memory"] // 2))
        here.note("no memory left")
        refused = 0
        for _ in range(20):
            try:
                here.accept()
            except redis.RedisError:
                refused += 1
            time.sleep(0.2)
        client.config_set("maxmemory", 0)
        here.note("memory again")
        stats: Any = client.info("stats")
    assert refused == 20
    assert stats["evicted_keys"] == 0
    assert here.until_ended(job_id).status == JobStatus.SUCCEEDED
    check(here, [job_id], undisturbed)


@pytest.mark.long
def test_duplicated_notifications_run_every_job_once(patient: World) -> None:
    """As from a broker that considers its consumers dead, because a clock was set."""
    patient.start_worker()
    jobs = [patient.accept(epochs=2) for _ in range(3)]
    celery = make_celery(WorkerSettings(redis_url=patient.redis.url))
    for _ in range(40):
        notify_workers(celery)
    for job_id in jobs:
        assert patient.until_ended(job_id).status == JobStatus.SUCCEEDED
    with patient.redis.client() as client:
        assert int(client.get("acgan:fence") or 0) == len(jobs)
