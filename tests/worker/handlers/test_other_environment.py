"""A job that is resumed under another build or processor: its record and each later checkpoint report it."""

import errno
from dataclasses import replace

import pytest
import torch

from benchmarks.records import ask_desk
from models.config import TrainingConfig
from models.evaluation.epoch_snapshot import EpochSnapshot
from models.registry.store import CheckpointId, CheckpointStore
from models.training import training_state
from tests.worker.handlers.test_budget_of_states import cancel_after_a_save
from tests.worker.handlers.test_training import accept, read_job
from worker.handlers.checkpointing import CheckpointPublisher
from worker.jobs.consumer import JobConsumer
from worker.jobs.keys import job_key
from worker.jobs.model import JobStatus
from worker.lifecycle import shutdown
from worker.runner import run_next_job
from worker.settings import WorkerSettings

NATIVE_BF16 = "models.networks.precision._cpu_multiplies_bf16"
MORE_THREADS = torch.get_num_threads() + 1


@pytest.mark.parametrize(
    ("name", "value"),
    [("build", "another build"), ("cpu", "another cpu"), ("torch_version", "1.0"), ("threads", MORE_THREADS)],
)
def test_a_difference_is_in_the_record_and_in_each_later_manifest(
    redis_url: str, config: TrainingConfig, monkeypatch: pytest.MonkeyPatch, name: str, value: str | int
) -> None:
    settings = WorkerSettings(redis_url=redis_url)
    store = CheckpointStore(settings.store_dir)
    job_id = accept(settings, config)

    def interrupt(self: CheckpointPublisher, snapshot: EpochSnapshot) -> str:
        shutdown._requested.set()
        raise OSError(errno.ENOSPC, "no space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(CheckpointPublisher, "publish", interrupt)
        patch.setattr("models.training.throughput.REPORT_SECONDS", 0.0)
        run_next_job(settings.model_copy(update={"save_seconds": 1e-9}))
    shutdown._requested.clear()
    data = store.load_state(job_id)
    assert data is not None
    state = training_state.from_bytes(data)
    assert state.environment is not None
    began = state.environment.model_copy(update={name: value})
    store.save_state(job_id, training_state.to_bytes(replace(state, environment=began)))
    run_next_job(settings)
    job = read_job(settings, job_id)
    assert job.status == JobStatus.SUCCEEDED
    expected = [] if name == "threads" else [str(value)]  # the run uses its original number of threads
    assert [[text in warning for text in expected] for warning in job.warnings] == [[True] for _ in expected]
    for epoch in (1, 2):
        assert store.manifest(CheckpointId(job_id, epoch)).warnings == job.warnings
    assert (f"{MORE_THREADS} threads" in str(job.device)) == (name == "threads")


@pytest.mark.parametrize("saved", [True, False], ids=["with a state", "without"])
def test_a_run_that_a_gpu_began_in_bf16_continues_on_a_processor_without(
    redis_url: str, config: TrainingConfig, monkeypatch: pytest.MonkeyPatch, saved: bool
) -> None:
    """The first worker has settled `auto` to bf16 and recorded it."""
    monkeypatch.setattr(NATIVE_BF16, lambda: False)
    settings = WorkerSettings(redis_url=redis_url, save_seconds=1e-9)
    store, jobs = CheckpointStore(settings.store_dir), JobConsumer.connect(redis_url)
    job_id = cancel_after_a_save(settings, config, monkeypatch)
    began = read_job(settings, job_id).config.model_copy(update={"precision": "bf16"})
    jobs.redis.hset(job_key(job_id), "config", began.model_dump_json())
    data = store.load_state(job_id)
    assert data is not None
    if saved:
        state = training_state.from_bytes(data)
        bf16 = state.config.model_copy(update={"precision": "bf16"})
        store.save_state(job_id, training_state.to_bytes(replace(state, config=bf16)))
    else:
        store.drop_state(job_id)
        jobs.redis.hdel(job_key(job_id), "saved")
    ask_desk(redis_url, lambda desk: desk.resume(job_id))
    run_next_job(settings)
    job = read_job(settings, job_id)
    assert (job.status, job.config.precision, len(job.epochs)) == (JobStatus.SUCCEEDED, "fp32", 2)
    assert [("another precision" in warning, "(fp32, not bf16)" in warning) for warning in job.warnings] == (
        [(True, True)] if saved else []
    )
    assert store.manifest(CheckpointId(job_id, 2)).warnings == job.warnings


def test_bf16_is_refused_by_a_processor_without_at_the_start_of_a_run(
    redis_url: str, config: TrainingConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also when it is tried again: the run has not begun."""
    monkeypatch.setattr(NATIVE_BF16, lambda: False)
    settings = WorkerSettings(redis_url=redis_url)
    job_id = accept(settings, config.model_copy(update={"precision": "bf16"}))
    for attempt in (1, 2):
        if attempt == 2:
            ask_desk(redis_url, lambda jobs: jobs.resume(job_id))
        run_next_job(settings)
        job = read_job(settings, job_id)
        assert job.status == JobStatus.FAILED
        assert "use auto or fp32" in str(job.error)
