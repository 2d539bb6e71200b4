"""The end of a job: the worker's own code on a real Redis, called as the Celery task calls it."""

import errno
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import redis

from benchmarks.records import ask_desk
from models.config import DatasetName, TrainingConfig
from models.data.dataset import load_dataset
from models.data.reference import Reference
from models.devices import DeviceUnavailable
from models.evaluation.epoch_snapshot import EpochSnapshot
from models.networks.weights import generator_from_bytes
from models.registry.store import MANIFEST, CheckpointId, CheckpointStore
from models.training import training_state
from models.training.trainer import Trainer
from tests.conftest import RunningRedis, small
from tests.support import training_sets
from worker.handlers import training
from worker.handlers.checkpointing import CheckpointPublisher
from worker.jobs.client import Order
from worker.jobs.consumer import Claim, JobConsumer, LeaseLost
from worker.jobs.errors import StoreUnavailable, store_errors
from worker.jobs.keys import QUEUE, epochs_key, job_key
from worker.jobs.model import Job, JobStatus
from worker.lifecycle import shutdown
from worker.lifecycle.retry import retry_until_stored
from worker.runner import run_next_job
from worker.settings import WorkerSettings


@pytest.fixture
def settings(redis_url: str) -> WorkerSettings:
    return WorkerSettings(redis_url=redis_url)


def accept(settings: WorkerSettings, config: TrainingConfig) -> str:
    return ask_desk(settings.redis_url, lambda jobs: jobs.create(Order(config))).id


def read_job(settings: WorkerSettings, job_id: str) -> Job:
    return ask_desk(settings.redis_url, lambda jobs: jobs.get(job_id))


def test_a_notification_without_a_waiting_job_does_nothing(settings: WorkerSettings) -> None:
    assert run_next_job(settings) is None


def test_a_job_succeeds_with_a_checkpoint_per_epoch(settings: WorkerSettings, config: TrainingConfig) -> None:
    job_id = accept(settings, config)
    run_next_job(settings)
    job = read_job(settings, job_id)
    assert job.status == JobStatus.SUCCEEDED
    store = CheckpointStore(settings.store_dir)
    for epoch in job.epochs:
        manifest = store.manifest(CheckpointId.parse(epoch.checkpoint))
        assert manifest.losses == epoch.losses
        assert manifest.config == job.config
        assert manifest.fence > 0
        assert all(store.read(manifest, name) for name in manifest.files)
    assert store.latest() == CheckpointId(job_id, 2)


def test_a_full_disk_fails_the_job_with_the_reason(
    settings: WorkerSettings, config: TrainingConfig, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("not a folder")
    settings = settings.model_copy(update={"store": tmp_path / "file" / "checkpoints"})
    job_id = accept(settings, config)
    run_next_job(settings)
    job = read_job(settings, job_id)
    assert (job.status, job.epochs) == (JobStatus.FAILED, [])
    assert "Not a directory" in str(job.error)


def test_a_worker_whose_device_is_gone_takes_no_job(settings: WorkerSettings, config: TrainingConfig) -> None:
    job_id = accept(settings, config)
    with pytest.raises(DeviceUnavailable, match="ACGAN_DEVICE=cuda:63"):
        run_next_job(settings.model_copy(update={"device": "cuda:63"}))
    assert read_job(settings, job_id).status == JobStatus.QUEUED


@pytest.mark.parametrize("poisoned", ["generator.dense.weight", "discriminator_losses"])
def test_a_run_that_diverges_keeps_its_last_good_state(
    settings: WorkerSettings, config: TrainingConfig, monkeypatch: pytest.MonkeyPatch, poisoned: str
) -> None:
    """A number becomes infinite in the middle of the second epoch; states are saved at every tick until then."""

    def step(self: Trainer, epoch: int, iteration: int) -> None:
        healthy(self, epoch, iteration)
        if (epoch, iteration) == (2, 1):
            self.tensors()[poisoned].detach().flatten()[0] = float("inf")

    healthy = Trainer.step
    monkeypatch.setattr(Trainer, "step", step)
    monkeypatch.setattr("models.training.throughput.REPORT_SECONDS", 0.0)
    job_id = accept(settings, config)
    run_next_job(settings.model_copy(update={"save_seconds": 1e-9}))

    job = read_job(settings, job_id)
    assert job.status == JobStatus.FAILED
    assert "the run has diverged; try again with a lower adam_lr" in str(job.error)
    store = CheckpointStore(settings.store_dir)
    assert store.latest() == CheckpointId(job_id, 1)
    data = store.load_state(job_id)
    assert data is not None
    state = training_state.from_bytes(data)
    assert (state.position.epoch, state.position.iteration) == (2, 0)
    assert all(tensor.isfinite().all() for tensor in state.tensors.values())


def test_a_run_trains_on_data_that_a_user_brought(settings: WorkerSettings) -> None:
    store = CheckpointStore(settings.store_dir)
    made = training_sets.bring(store.training_data, "letters")
    job_id = accept(settings, small("letters@1"))
    run_next_job(settings)
    job = read_job(settings, job_id)
    assert (job.status, len(job.epochs)) == (JobStatus.SUCCEEDED, 2)
    manifest = store.manifest(CheckpointId(job_id, 2))
    assert manifest.classes == ("a", "b", "c")
    assert generator_from_bytes(store.read(manifest, manifest.draws)).classes == 3
    assert store.latest("letters") == manifest.checkpoint
    assert made.train_counts == (20, 20, 20)


def test_a_run_whose_training_data_were_removed_fails_with_a_sentence(settings: WorkerSettings) -> None:
    store = CheckpointStore(settings.store_dir)
    training_sets.bring(store.training_data, "letters")
    store.training_data.remove(Reference("letters", 1))
    job_id = accept(settings, small("letters@1"))
    run_next_job(settings)
    job = read_job(settings, job_id)
    assert job.status == JobStatus.FAILED
    assert str(job.error).startswith("there is no training data letters@1")


def test_a_run_on_less_than_one_batch_fails_with_a_sentence(settings: WorkerSettings) -> None:
    """An earlier version accepted such a run."""
    training_sets.bring(CheckpointStore(settings.store_dir).training_data, "letters")
    job_id = accept(settings, small("letters@1", batch_size=100, train_examples=None))
    run_next_job(settings)
    job = read_job(settings, job_id)
    sentence = "letters@1 has 60 training images, less than one batch of 100: lower batch_size"
    assert (job.status, job.error) == (JobStatus.FAILED, sentence)


def test_an_unexpected_error_fails_the_job_too(
    settings: WorkerSettings, config: TrainingConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("out of luck")

    monkeypatch.setattr("models.evaluation.epoch_snapshot.epoch_plot", broken)
    job_id = accept(settings, config)
    run_next_job(settings)
    job = read_job(settings, job_id)
    assert job.status == JobStatus.FAILED
    assert str(job.error).startswith("RuntimeError: out of luck")


def test_a_worker_that_shuts_down_hands_its_job_back(settings: WorkerSettings, config: TrainingConfig) -> None:
    job_id = accept(settings, config)
    shutdown._requested.set()
    handed_back = run_next_job(settings)
    assert handed_back is not None
    assert handed_back.id == job_id
    assert read_job(settings, job_id).status == JobStatus.QUEUED
    shutdown._requested.clear()
    assert run_next_job(settings) is None
    assert read_job(settings, job_id).status == JobStatus.SUCCEEDED


def test_a_job_that_another_worker_claimed_is_left_alone(
    settings: WorkerSettings, config: TrainingConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For a worker that was stopped for a while: by its next write the record has another token."""
    consumer = JobConsumer.connect(settings.redis_url)

    def stolen(*arguments: object, **named: object) -> object:
        consumer.redis.hset(f"acgan:job:{job_id}", "fence", 999)
        return load(*arguments, **named)

    load: Callable[..., object] = load_dataset
    monkeypatch.setattr(training, "load_dataset", stolen)
    monkeypatch.setattr("worker.lifecycle.lease.GRACE_SECONDS", 60.0)  # a busy machine loads for longer than a second
    job_id = accept(settings, config)
    assert run_next_job(settings) is None
    job = read_job(settings, job_id)
    assert (job.status, job.epochs, job.device) == (JobStatus.RUNNING, [], None)


@pytest.mark.parametrize("lost", [True, False])
def test_a_run_whose_end_could_not_be_reported_keeps_its_state(
    settings: WorkerSettings, config: TrainingConfig, monkeypatch: pytest.MonkeyPatch, lost: bool
) -> None:
    """Redis was away for longer than the lease: the next worker has to repeat only the end of the run."""

    def finish(self: JobConsumer, claim: Claim, status: JobStatus, error: str = "", trouble: str = "") -> JobStatus:
        if lost:
            raise LeaseLost(claim.job.id)
        return tell(self, claim, status, error)

    tell = JobConsumer.finish
    monkeypatch.setattr(JobConsumer, "finish", finish)
    monkeypatch.setattr("models.training.throughput.REPORT_SECONDS", 0.0)
    job_id = accept(settings, config)
    run_next_job(settings.model_copy(update={"save_seconds": 1e-9}))
    assert (CheckpointStore(settings.store_dir).load_state(job_id) is not None) == lost


def test_an_epoch_that_was_not_reported_is_repeated(
    settings: WorkerSettings, config: TrainingConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Interrupted while a checkpoint is published: the saved state is not past its epoch."""

    def publish(self: CheckpointPublisher, snapshot: EpochSnapshot) -> str:
        shutdown._requested.set()
        raise OSError(errno.ENOSPC, "no space left on device")

    monkeypatch.setattr(CheckpointPublisher, "publish", publish)
    job_id = accept(settings, config)
    run_next_job(settings)
    assert read_job(settings, job_id).status == JobStatus.QUEUED
    monkeypatch.undo()
    monkeypatch.setenv("ACGAN_HOME", str(settings.home))
    shutdown._requested.clear()
    run_next_job(settings)
    assert [epoch.epoch for epoch in read_job(settings, job_id).epochs] == [1, 2]


@pytest.mark.parametrize("fault", ["none", "deleted", "damaged"])
def test_epochs_that_redis_has_lost_are_reported_again_from_their_checkpoints(
    settings: WorkerSettings, config: TrainingConfig, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    """Redis lost writes that are older than the run's state. An epoch without a usable checkpoint stays missing."""

    def finish(self: JobConsumer, claim: Claim, status: JobStatus, error: str = "", trouble: str = "") -> JobStatus:
        raise LeaseLost(claim.job.id)

    monkeypatch.setattr(JobConsumer, "finish", finish)
    monkeypatch.setattr("models.training.throughput.REPORT_SECONDS", 0.0)
    job_id = accept(settings, config)
    run_next_job(settings.model_copy(update={"save_seconds": 1e-9}))
    before = read_job(settings, job_id).epochs
    monkeypatch.undo()
    monkeypatch.setenv("ACGAN_HOME", str(settings.home))
    with redis.Redis.from_url(settings.redis_url) as client:
        client.delete(epochs_key(job_id))
        client.hset(job_key(job_id), "status", "queued")
        client.zadd(QUEUE, {job_id: 1})
    store = CheckpointStore(settings.store_dir)
    state = store.load_state(job_id)
    assert state is not None
    assert training_state.from_bytes(state).position.epoch == 3
    folder = store.folder(CheckpointId(job_id, 1))
    if fault == "deleted":
        shutil.rmtree(folder)
    elif fault == "damaged":
        (folder / MANIFEST).write_bytes(b"digits")
    trained = list[int]()
    monkeypatch.setattr(Trainer, "step", lambda _self, epoch, _iteration: trained.append(epoch))
    run_next_job(settings)
    job = read_job(settings, job_id)
    assert job.status == JobStatus.SUCCEEDED
    assert job.epochs == (before if fault == "none" else before[1:])
    assert trained == []
    reasons = {"deleted": f"there is no checkpoint {job_id}-e001", "damaged": f"the manifest of {job_id}-e001 cannot"}
    assert len(job.warnings) == (fault != "none")
    assert all(f"cannot be read: epoch 1: {reasons[fault]}" in warning for warning in job.warnings)
    assert store.manifest(CheckpointId(job_id, 2)).warnings == []


def test_critical_writes_wait_for_redis(mortal_redis: RunningRedis) -> None:
    tries = []

    def write() -> None:
        tries.append(1)
        if len(tries) == 2:
            mortal_redis.start()
        with store_errors(), mortal_redis.client() as client:
            client.set("told", "yes")

    mortal_redis.kill()
    retry_until_stored(write)
    assert len(tries) == 2
    with mortal_redis.client() as client:
        assert client.get("told") == "yes"


def test_waiting_for_redis_ends_when_the_worker_shuts_down() -> None:
    def write() -> None:
        raise StoreUnavailable("gone")

    shutdown._requested.set()
    with pytest.raises(shutdown.Interrupted):
        retry_until_stored(write, shutdown.check)


def test_digits_are_judged_and_a_bad_generator_is_not_served(settings: WorkerSettings, config: TrainingConfig) -> None:
    job_id = accept(settings, config)
    run_next_job(settings.model_copy(update={"judge": True}))
    job, store = read_job(settings, job_id), CheckpointStore(settings.store_dir)
    assert job.status == JobStatus.SUCCEEDED
    assert store.latest() is None, "three iterations are not enough to draw"
    for epoch in job.epochs:
        manifest = store.manifest(CheckpointId.parse(epoch.checkpoint))
        assert (manifest.refused, manifest.metrics) == (epoch.refused, epoch.metrics)
        assert "that serving requires" in str(epoch.refused)
        assert {"label_accuracy", "variety_least", "frechet_distance", "label_accuracy_7"} <= epoch.metrics.keys()
        assert manifest.draws in manifest.files


@pytest.mark.parametrize(("adam_lr", "generator_lr", "why"), [(1e-3, 0.0, "has won"), (0.2, 0.2, "have exploded")])
@pytest.mark.long
def test_a_run_whose_losses_diverge_fails_with_the_reason(
    settings: WorkerSettings,
    dataset_name: DatasetName,
    monkeypatch: pytest.MonkeyPatch,
    adam_lr: float,
    generator_lr: float,
    why: str,
) -> None:
    """A generator that never learns loses; a learning rate a thousand times too high makes both networks explode."""

    def begin(self: Trainer, epoch: int) -> None:
        healthy(self, epoch)
        self.compute.generator_adam.param_groups[0]["lr"] = generator_lr

    healthy = Trainer.begin_epoch
    monkeypatch.setattr(Trainer, "begin_epoch", begin)
    monkeypatch.setattr("models.training.trainer.ENOUGH_ITERATIONS", 40)
    job_id = accept(settings, small(dataset_name, epochs=40, batch_size=4, train_examples=160, adam_lr=adam_lr))
    run_next_job(settings)
    job = read_job(settings, job_id)
    assert job.status == JobStatus.FAILED
    assert why in str(job.error)
    assert len(job.epochs) < 40  # the number depends on the processor; 12 and 13 were seen
