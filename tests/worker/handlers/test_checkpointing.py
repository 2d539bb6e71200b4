"""Checkpoints are published by a thread beside the training, and the job's record and the state stay consistent."""

import errno
import threading
import time

import pytest

from benchmarks.records import ask_desk
from models.config import DatasetName, TrainingConfig
from models.evaluation.epoch_snapshot import EpochSnapshot
from models.registry.store import CheckpointStore, Manifest
from models.training import training_state
from models.training.trainer import Trainer
from tests.conftest import small
from tests.worker.conftest import cancel_during_run, keep_leases
from tests.worker.handlers.test_training import accept, read_job
from worker.handlers.checkpointing import CheckpointPublisher
from worker.jobs.consumer import Claim, JobConsumer
from worker.jobs.model import EpochRecord, JobStatus
from worker.runner import run_next_job
from worker.settings import WorkerSettings


@pytest.fixture
def settings(redis_url: str) -> WorkerSettings:
    return WorkerSettings(redis_url=redis_url)


def test_an_epoch_is_published_while_the_next_one_is_trained(
    settings: WorkerSettings, config: TrainingConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first publication ends only after the second epoch has been trained a little."""
    trained = threading.Event()

    def step(self: Trainer, epoch: int, iteration: int) -> None:
        train(self, epoch, iteration)
        if epoch == 2:
            trained.set()

    def publish(self: CheckpointPublisher, snapshot: EpochSnapshot) -> Manifest:
        assert trained.wait(30), "training waits for the publication"
        return really_publish(self, snapshot)

    train, really_publish = Trainer.step, CheckpointPublisher.publish
    monkeypatch.setattr(Trainer, "step", step)
    monkeypatch.setattr(CheckpointPublisher, "publish", publish)
    job_id = accept(settings, config)
    run_next_job(settings)
    job = read_job(settings, job_id)
    assert job.status == JobStatus.SUCCEEDED
    assert [epoch.epoch for epoch in job.epochs] == [1, 2]


def test_no_state_is_saved_past_an_epoch_that_is_not_recorded(
    settings: WorkerSettings, dataset_name: DatasetName, monkeypatch: pytest.MonkeyPatch
) -> None:
    """States are saved at every tick, and recording an epoch takes longer than training until the next epoch."""
    saved = list[tuple[int, int]]()

    def save_state(self: CheckpointStore, job: str, data: bytes, fence: int | None = None) -> None:
        saved.append((training_state.from_bytes(data).position.epoch, len(read_job(settings, job).epochs)))
        really_save(self, job, data, fence)

    def add_epoch(self: JobConsumer, claim: Claim, epoch: EpochRecord) -> None:
        time.sleep(0.3)
        really_add(self, claim, epoch)

    really_save, really_add = CheckpointStore.save_state, JobConsumer.add_epoch
    monkeypatch.setattr(CheckpointStore, "save_state", save_state)
    monkeypatch.setattr(JobConsumer, "add_epoch", add_epoch)
    monkeypatch.setattr("models.training.throughput.REPORT_SECONDS", 0.0)
    job_id = accept(settings, small(dataset_name, epochs=3))
    run_next_job(settings.model_copy(update={"save_seconds": 1e-9}))
    assert read_job(settings, job_id).status == JobStatus.SUCCEEDED
    assert {epoch for epoch, _ in saved} == {1, 2, 3, 4}
    assert all(recorded == epoch - 1 for epoch, recorded in saved)


def test_a_job_cancelled_while_its_epoch_cannot_be_published_repeats_that_epoch(
    settings: WorkerSettings, config: TrainingConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The disk is full, and the second epoch is being trained: no state past the first epoch may be saved."""

    def publish(self: CheckpointPublisher, snapshot: EpochSnapshot) -> Manifest:
        cancel_during_run(settings, job_id, leases)
        raise OSError(errno.ENOSPC, "no space left on device")

    leases = keep_leases(monkeypatch)
    monkeypatch.setattr(CheckpointPublisher, "publish", publish)
    job_id = accept(settings, config)
    run_next_job(settings)
    assert read_job(settings, job_id).status == JobStatus.CANCELLED
    data = CheckpointStore(settings.store_dir).load_state(job_id)
    assert data is None or training_state.from_bytes(data).position.epoch == 1
    monkeypatch.undo()
    monkeypatch.setenv("ACGAN_HOME", str(settings.home))
    ask_desk(settings.redis_url, lambda jobs: jobs.resume(job_id))
    run_next_job(settings)
    job = read_job(settings, job_id)
    assert job.status == JobStatus.SUCCEEDED
    assert [epoch.epoch for epoch in job.epochs] == [1, 2]
