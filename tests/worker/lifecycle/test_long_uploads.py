"""The upload of a data set may take longer than a worker without progress lives, and does not delay its stop."""

import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from models.config import TrainingConfig
from models.registry import bundled
from models.registry.storage import background_call
from models.registry.storage.base import Folder
from models.registry.storage.object_store import ObjectStorage
from models.synthesis.order import DatasetOrder
from tests.support.s3_endpoint import Endpoint
from tests.worker.conftest import Ask, cancel_during_run, keep_leases, until
from worker.jobs.client import Order
from worker.jobs.model import JobStatus
from worker.lifecycle import shutdown
from worker.runner import run_next_job
from worker.settings import WorkerSettings

ORDER = DatasetOrder(per_class=1, test_per_class=1, seed=4, checkpoint=str(bundled.checkpoint()))


@pytest.fixture
def settings(endpoint: Endpoint, redis_url: str, monkeypatch: pytest.MonkeyPatch) -> WorkerSettings:
    monkeypatch.setenv("ACGAN_STORE", endpoint.address())
    monkeypatch.setattr(background_call, "CHECK_SECONDS", 0.05)
    return WorkerSettings(redis_url=redis_url, device="cpu")


def before_upload(monkeypatch: pytest.MonkeyPatch, wait: Callable[[], object]) -> None:
    """Let each upload of a data set begin when `wait` returns."""
    stage = ObjectStorage.stage

    def late(self: ObjectStorage, folder: Folder, token: int, files: Mapping[str, bytes | Path]) -> str:
        wait()
        return stage(self, folder, token, files)

    monkeypatch.setattr(ObjectStorage, "stage", late)


def test_an_upload_counts_as_progress(ask: Ask[Any], settings: WorkerSettings, monkeypatch: pytest.MonkeyPatch) -> None:
    leases = keep_leases(monkeypatch)

    def wait_for_checks() -> None:
        for _ in range(3):
            before = leases[-1].checked
            until(lambda: leases[-1].checked > before)  # noqa: B023

    before_upload(monkeypatch, wait_for_checks)
    job = ask(lambda jobs: jobs.create(Order(TrainingConfig(), dataset=ORDER))).id
    run_next_job(settings)
    ended = ask(lambda jobs: jobs.get(job))
    assert (ended.status, ended.error) == (JobStatus.SUCCEEDED, None)


@pytest.mark.parametrize("end", [JobStatus.CANCELLED, JobStatus.QUEUED])
def test_a_worker_that_must_stop_does_not_wait_for_an_upload(
    ask: Ask[Any], settings: WorkerSettings, monkeypatch: pytest.MonkeyPatch, end: JobStatus
) -> None:
    leases, begun, released = keep_leases(monkeypatch), threading.Event(), threading.Event()
    job = ask(lambda jobs: jobs.create(Order(TrainingConfig(), dataset=ORDER))).id

    def hang() -> None:
        begun.set()
        assert released.wait(120)

    def stop() -> None:
        assert begun.wait(120)
        if end == JobStatus.CANCELLED:
            cancel_during_run(settings, job, leases)
        else:
            shutdown._requested.set()

    with monkeypatch.context() as patch:
        before_upload(patch, hang)
        stopping = threading.Thread(target=stop)
        stopping.start()
        run_next_job(settings)
        stopping.join()
        assert ask(lambda jobs: jobs.get(job)).status == end
        assert not released.is_set()
        released.set()
        for thread in threading.enumerate():
            if thread.name == "store write":
                thread.join(120)
    store = settings.open_store()
    assert not store.has_dataset(job)
    assert [file.name for file in store.storage.files() if f"{job}/dataset" in file.name] == []
    shutdown._requested.clear()
    if end == JobStatus.CANCELLED:
        ask(lambda jobs: jobs.resume(job))
    run_next_job(settings)
    assert ask(lambda jobs: jobs.get(job)).status == JobStatus.SUCCEEDED
    assert store.has_dataset(job)
