"""With a protection switched off, what it protects from must happen: else the other tests would prove nothing."""

from pathlib import Path

import pytest

from models.checkpoints import CheckpointId, CheckpointStore, Superseded
from tests.faults.publish_once import FILES, JOB, manifest
from tests.faults.world import RECOVERY_SECONDS, Outcome, is_alive, outcome, world
from worker.jobs import JobStatus


def test_without_a_reconciler_a_lost_job_stays_lost(tmp_path: Path) -> None:
    with world(tmp_path, environment={"ACGAN_RECONCILE_SECONDS": "3600"}) as here:
        here.start_worker()
        job_id = here.accept()
        with pytest.raises(AssertionError, match="runs: not within"):
            here.until_running(job_id, RECOVERY_SECONDS)
        assert here.job(job_id).status == JobStatus.QUEUED


def test_without_a_lease_that_runs_out_a_killed_run_stays_lost(tmp_path: Path) -> None:
    with world(tmp_path, environment={"ACGAN_LEASE_SECONDS": "3600"}) as here:
        here.start_worker()
        job_id = here.accept()
        killed = here.until_running(job_id)
        here.kill(killed)
        here.until("it is dead", lambda: not is_alive(killed))
        with pytest.raises(AssertionError, match="runs: not within"):
            here.until_running(job_id, RECOVERY_SECONDS)
        assert here.job(job_id).status == JobStatus.RUNNING


def test_without_tokens_on_disk_a_zombie_publishes(tmp_path: Path) -> None:
    guarded, open_to_all = CheckpointStore(tmp_path / "guarded"), CheckpointStore(tmp_path / "open")
    guarded.take(JOB, 2)
    with pytest.raises(Superseded):
        guarded.publish(manifest(1, fence=1), FILES)
    assert guarded.latest() is None
    open_to_all.publish(manifest(1, fence=1), FILES)
    assert open_to_all.latest() == CheckpointId(JOB, 1)


def test_another_run_comes_to_something_else(tmp_path: Path, undisturbed: Outcome) -> None:
    with world(tmp_path) as here:
        here.start_worker()
        same, other = here.accept(), here.accept(seed=1338)
        assert outcome(here.store, here.until_ended(same)) == undisturbed
        assert outcome(here.store, here.until_ended(other)) != undisturbed
