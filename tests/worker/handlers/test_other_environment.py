"""A job that is resumed under another build or processor: its record and each later checkpoint report it."""

import errno
from dataclasses import replace

import pytest
import torch

from models.config import TrainingConfig
from models.evaluation.epoch_snapshot import EpochSnapshot
from models.registry.store import CheckpointId, CheckpointStore
from models.training import training_state
from tests.worker.handlers.test_training import accept, read_job
from worker.handlers.checkpointing import CheckpointPublisher
from worker.jobs.model import JobStatus
from worker.lifecycle import shutdown
from worker.runner import run_next_job
from worker.settings import WorkerSettings

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
