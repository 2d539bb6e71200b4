"""Resume states stay within ACGAN_STORE_LIMIT although no epoch is ever published."""

import os
import time

import pytest

from benchmarks.records import ask_desk
from models.config import TrainingConfig
from models.registry.retention import GRACE_SECONDS, Usage
from models.registry.store import CheckpointStore, StateDeleted
from tests.worker.conftest import cancel_during_run, keep_leases
from tests.worker.lifecycle.test_storage_retry import record
from worker.jobs.client import Order
from worker.jobs.consumer import JobConsumer
from worker.jobs.model import JobStatus
from worker.runner import run_next_job
from worker.settings import WorkerSettings


@pytest.fixture
def settings(redis_url: str) -> WorkerSettings:
    return WorkerSettings(redis_url=redis_url, save_seconds=1e-9)


def cancel_after_a_save(settings: WorkerSettings, config: TrainingConfig, monkeypatch: pytest.MonkeyPatch) -> str:
    """Run a job that is cancelled as soon as its state is saved. It is stopped before its next iteration."""
    job_id = ask_desk(settings.redis_url, lambda jobs: jobs.create(Order(config))).id
    saved = JobConsumer.saved

    def save_and_cancel(self: JobConsumer, *arguments: object) -> None:
        saved(self, *arguments)  # type: ignore[arg-type]
        cancel_during_run(settings, job_id, leases)

    monkeypatch.setattr("models.training.throughput.REPORT_SECONDS", 0.0)
    with monkeypatch.context() as patch:
        leases = keep_leases(patch)
        patch.setattr(JobConsumer, "saved", save_and_cancel)
        run_next_job(settings)
    assert record(settings, job_id).status == JobStatus.CANCELLED
    return job_id


def test_cancelled_runs_leave_no_more_states_than_the_limit(
    settings: WorkerSettings, config: TrainingConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    long = config.model_copy(update={"epochs": 1000})
    store = CheckpointStore(settings.store_dir)
    first = cancel_after_a_save(settings, long, monkeypatch)
    limit = Usage(store.storage.files()).total * 3 // 2
    limited = settings.model_copy(update={"store_limit": limit})
    for _ in range(2):
        for path in store.root.rglob("resume-*"):
            os.utime(path, (time.time() - GRACE_SECONDS - 60,) * 2)
        last = cancel_after_a_save(limited, long, monkeypatch)
    assert Usage(store.storage.files()).total <= limit
    with pytest.raises(StateDeleted):
        store.load_state(first)
    assert store.load_state(last) is not None
    assert store.epochs(last) == []


def test_a_run_that_was_just_cancelled_keeps_its_state(
    settings: WorkerSettings, config: TrainingConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Beyond the limit too: it can be resumed for ten minutes."""
    long = config.model_copy(update={"epochs": 1000})
    job_id = cancel_after_a_save(settings.model_copy(update={"store_limit": 0}), long, monkeypatch)
    assert CheckpointStore(settings.store_dir).load_state(job_id) is not None
