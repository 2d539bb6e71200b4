"""If a protection is switched off, the failure that it prevents must happen; else the other tests prove nothing."""

import os
import subprocess
import time
from collections import Counter
from pathlib import Path

import httpx2
import pytest

from app.server.embedded_redis import APPENDED
from models.networks import weights
from models.registry.store import GENERATOR, CheckpointDamaged, CheckpointId, CheckpointStore, FenceRejected
from tests.app.conftest import publish
from tests.faults.api import Api, outcomes_of_requests_in_flight
from tests.faults.publish_once import FILES, JOB, manifest
from tests.faults.world import RECOVERY_SECONDS, TINY, Outcome, is_alive, outcome, running_world
from tests.models.registry.test_store import OLD
from worker.jobs.client import JobNotFound
from worker.jobs.model import JobStatus


@pytest.mark.long
def test_without_a_reconciler_a_lost_job_stays_lost(tmp_path: Path) -> None:
    with running_world(tmp_path, environment={"ACGAN_RECONCILE_SECONDS": "3600"}) as world:
        world.start_worker()
        world.until("a worker is registered", lambda: any(world.ask(lambda jobs: jobs.standing()).workers.values()))
        time.sleep(1)  # it runs one round when it starts
        job_id = world.accept()
        with pytest.raises(AssertionError, match="runs: not within"):
            world.until_running(job_id, RECOVERY_SECONDS)
        assert world.job(job_id).status == JobStatus.QUEUED


@pytest.mark.long
def test_without_an_expiring_lease_a_killed_run_stays_lost(tmp_path: Path) -> None:
    with running_world(tmp_path, environment={"ACGAN_LEASE_SECONDS": "3600"}) as world:
        world.start_worker()
        job_id = world.accept()
        killed = world.until_running(job_id)
        world.kill(world.workers[-1].pid)  # it would release the lease of its training process
        world.kill(killed)
        world.until("it is dead", lambda: not is_alive(killed))
        world.start_worker()
        with pytest.raises(AssertionError, match="runs: not within"):
            world.until_running(job_id, RECOVERY_SECONDS)
        assert world.job(job_id).status == JobStatus.RUNNING


def test_without_a_token_any_worker_can_publish(tmp_path: Path) -> None:
    guarded, open_to_all = CheckpointStore(tmp_path / "guarded"), CheckpointStore(tmp_path / "open")
    guarded.take(JOB, 2)
    with pytest.raises(FenceRejected):
        guarded.publish(manifest(1, fence=1), FILES)
    assert guarded.latest() is None
    open_to_all.publish(manifest(1, fence=0), FILES)  # as an import does: no token, no check
    assert open_to_all.latest() == CheckpointId(JOB, 1)


@pytest.mark.long
def test_another_run_has_another_result(tmp_path: Path, undisturbed: Outcome) -> None:
    with running_world(tmp_path) as world:
        world.start_worker()
        same, other = world.accept(epochs=1), world.accept(epochs=1, seed=1338)
        assert outcome(world.store, world.until_ended(same)) == undisturbed[:1]
        assert outcome(world.store, world.until_ended(other)) != undisturbed[:1]


def test_without_an_append_only_file_accepted_jobs_are_lost_with_redis(tmp_path: Path) -> None:
    with running_world(tmp_path) as world:
        with world.redis.client() as client:
            client.config_set("appendonly", "no")
        job_id = world.accept()
        world.redis.kill()
        world.redis.start()
        with pytest.raises(JobNotFound):
            world.job(job_id)


def test_without_permission_to_truncate_a_half_written_file_redis_does_not_start(tmp_path: Path) -> None:
    with running_world(tmp_path) as world:
        world.accept()
        world.redis.kill()
        (appended,) = (world.folder / "redis" / APPENDED).glob("*.incr.aof")
        os.truncate(appended, appended.stat().st_size - 3)
        strict = [*world.redis.server.command, "--aof-load-truncated", "no"]
        assert subprocess.run(strict, capture_output=True, timeout=120, check=False).returncode != 0
        world.redis.start()


def test_without_its_checksum_a_changed_weight_is_accepted(tmp_path: Path) -> None:
    store = CheckpointStore(tmp_path)
    found = store.manifest(CheckpointId.parse(publish(store, OLD, 1, seed=1)))
    path = store.folder(found.checkpoint) / GENERATOR
    data = bytearray(path.read_bytes())
    data[-4] ^= 1
    path.write_bytes(data)
    weights.generator_from_bytes(bytes(data))
    with pytest.raises(CheckpointDamaged, match="its checksum differs"):
        store.read(found, GENERATOR)


@pytest.mark.long
def test_without_limit_key_and_graceful_shutdown_bursts_duplicates_and_cut_responses_happen(tmp_path: Path) -> None:
    with running_world(tmp_path, environment={"ACGAN_QUEUE_LIMIT": "100000"}) as world:
        publish(world.store, OLD, 1, seed=1)
        api = Api(world)
        try:
            with httpx2.Client(base_url=api.url) as client:
                answers = [client.post("/train", json=TINY) for _ in range(150)]
            assert Counter(answer.status_code for answer in answers) == {202: 150}
            assert len({answer.json()["id"] for answer in answers}) == 150
            outcomes = outcomes_of_requests_in_flight(api, 30, api.process.kill)
            assert outcomes["200"] < 30
        finally:
            api.end()
