"""A generated data set counts as complete only if each of its files matches its manifest."""

import json
from pathlib import Path

import pytest

from benchmarks.records import ask_desk
from models.bounded_reading import CHECKSUM
from models.config import TrainingConfig
from models.registry import bundled
from models.registry.store import CheckpointStore
from models.synthesis.dataset_integrity import discard_damaged
from models.synthesis.order import MANIFEST, DatasetOrder
from tests.worker.lifecycle.test_storage_retry import record
from worker.jobs.client import Order
from worker.jobs.consumer import Claim, JobConsumer
from worker.jobs.model import JobStatus
from worker.runner import run_next_job
from worker.settings import WorkerSettings

ORDER = DatasetOrder(per_class=3, test_per_class=2, seed=4, checkpoint=str(bundled.checkpoint()))
IMAGES, LABELS = "train-images-idx3-ubyte.gz", "t10k-labels-idx1-ubyte.gz"


@pytest.fixture
def settings(redis_url: str) -> WorkerSettings:
    return WorkerSettings(redis_url=redis_url, device="cpu")


@pytest.fixture
def job_id(settings: WorkerSettings, monkeypatch: pytest.MonkeyPatch) -> str:
    """A job that made its data set and failed before its record said so."""
    job_id = ask_desk(settings.redis_url, lambda jobs: jobs.create(Order(TrainingConfig(), dataset=ORDER))).id
    finish = JobConsumer.finish

    def fail(self: JobConsumer, claim: Claim, status: JobStatus, *_: str) -> JobStatus:
        return finish(self, claim, JobStatus.FAILED)

    with monkeypatch.context() as patch:
        patch.setattr(JobConsumer, "finish", fail)
        run_next_job(settings)
    return job_id


def damage(path: Path, how: str) -> None:
    data = path.read_bytes()
    changed = {
        "flip": data[:40] + bytes([data[40] ^ 1]) + data[41:],
        "cut": data[:-5],
        "longer": data + b"\0",
        "empty": b"",
    }
    path.unlink()
    if how != "remove":
        path.write_bytes(changed[how])


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.name.endswith(".gz")}


@pytest.mark.parametrize(
    ("name", "how"),
    [(IMAGES, "flip"), (LABELS, "cut"), (IMAGES, "longer"), (LABELS, "remove"), (MANIFEST, "cut"), (MANIFEST, "empty")],
)
def test_a_damaged_data_set_is_made_again(settings: WorkerSettings, job_id: str, name: str, how: str) -> None:
    folder = CheckpointStore(settings.store_dir).root / job_id / "dataset"
    before = contents(folder)
    damage(folder / name, how)
    ask_desk(settings.redis_url, lambda jobs: jobs.resume(job_id))
    run_next_job(settings)
    assert record(settings, job_id).status == JobStatus.SUCCEEDED
    assert contents(folder) == before
    assert set(json.loads((folder / MANIFEST).read_bytes())["files"]) == set(before)


def test_an_intact_data_set_is_kept(settings: WorkerSettings, job_id: str) -> None:
    folder = CheckpointStore(settings.store_dir).root / job_id / "dataset"
    made_at = (folder / MANIFEST).stat().st_mtime_ns
    ask_desk(settings.redis_url, lambda jobs: jobs.resume(job_id))
    run_next_job(settings)
    assert record(settings, job_id).status == JobStatus.SUCCEEDED
    assert (folder / MANIFEST).stat().st_mtime_ns == made_at


def test_a_data_set_of_another_version_is_kept_and_the_job_reports_it(settings: WorkerSettings, job_id: str) -> None:
    manifest = CheckpointStore(settings.store_dir).root / job_id / "dataset" / MANIFEST
    fields = json.loads(manifest.read_bytes()) | {"files": ["digits.bin"]}
    fields.pop(CHECKSUM, None)
    manifest.write_text(json.dumps(fields))
    ask_desk(settings.redis_url, lambda jobs: jobs.resume(job_id))
    run_next_job(settings)
    job = record(settings, job_id)
    assert (job.status, "another version" in str(job.error)) == (JobStatus.FAILED, True)
    assert json.loads(manifest.read_bytes()) == fields


def test_a_working_folder_with_a_damaged_file_gets_no_manifest(settings: WorkerSettings, job_id: str) -> None:
    """As with a bucket as store: files are made in a local folder and uploaded."""
    workshop = CheckpointStore(settings.store_dir).root / job_id / "dataset"
    discard_damaged(workshop)
    assert (workshop / MANIFEST).exists()
    damage(workshop / IMAGES, "flip")
    discard_damaged(workshop)
    assert not (workshop / MANIFEST).exists()
