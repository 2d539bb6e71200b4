"""A run that starts again, or cannot, reports it in its record."""

import json

import pytest
from safetensors import safe_open
from safetensors.torch import save

from benchmarks.records import ask_desk
from models.config import TrainingConfig
from models.registry.manifest import FileRecord
from models.registry.store import RESUME, CheckpointStore
from tests.worker.handlers.test_budget_of_states import cancel_after_a_save
from tests.worker.lifecycle.test_storage_retry import record
from worker.jobs.model import JobStatus
from worker.runner import run_next_job
from worker.settings import WorkerSettings


@pytest.fixture
def settings(redis_url: str) -> WorkerSettings:
    return WorkerSettings(redis_url=redis_url, save_seconds=1e-9)


@pytest.fixture
def cancelled(settings: WorkerSettings, config: TrainingConfig, monkeypatch: pytest.MonkeyPatch) -> str:
    """A job with a saved state and without an epoch."""
    return cancel_after_a_save(settings, config, monkeypatch)


def resume(settings: WorkerSettings, job_id: str) -> None:
    ask_desk(settings.redis_url, lambda jobs: jobs.resume(job_id))
    run_next_job(settings)


def test_a_run_whose_state_is_missing_starts_again_with_a_warning(
    settings: WorkerSettings,
    cancelled: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    store = CheckpointStore(settings.store_dir)
    store.drop_state(cancelled)
    resume(settings, cancelled)
    job = record(settings, cancelled)
    assert (job.status, len(job.epochs)) == (JobStatus.SUCCEEDED, 2)
    (warning,) = job.warnings
    assert warning.startswith("restarted from the beginning, because its record names")
    assert warning in caplog.text
    assert store.manifests(cancelled)[0].warnings == [warning]


def test_a_first_start_has_no_warning(settings: WorkerSettings, cancelled: str) -> None:
    resume(settings, cancelled)
    assert record(settings, cancelled).warnings == []


def of_another_version(store: CheckpointStore, job_id: str) -> dict[str, bytes]:
    """Write an unknown recipe into the saved state. Returns the files of the state."""
    folder = store.root / job_id
    (path,) = folder.glob("resume-*.safetensors")
    with safe_open(path, "pt") as file:
        about = file.metadata()
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    config = json.loads(about["config"]) | {"recipe": "diffusion"}
    data = save(tensors, metadata=about | {"config": json.dumps(config)})
    path.unlink()
    sha256 = FileRecord.of(data).sha256
    (folder / f"resume-{sha256[:16]}.safetensors").write_bytes(data)
    (folder / RESUME).write_text(json.dumps({"sha256": sha256, "size": len(data)}))
    return {path.name: path.read_bytes() for path in folder.glob("resume*")}


def test_a_state_of_another_version_fails_the_job_and_is_kept(settings: WorkerSettings, cancelled: str) -> None:
    store = CheckpointStore(settings.store_dir)
    files = of_another_version(store, cancelled)
    resume(settings, cancelled)
    job = record(settings, cancelled)
    assert (job.status, job.epochs) == (JobStatus.FAILED, [])
    assert "another version" in str(job.error)
    assert {path.name: path.read_bytes() for path in (store.root / cancelled).glob("resume*")} == files
