"""With a bucket as the store, unfinished work stays on this machine only as long as a job can use it."""

import os
import shutil
import time
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from models.config import TrainingConfig
from tests.models.registry.test_vanishing_files import when_listed
from tests.support.s3_endpoint import Endpoint
from tests.worker.conftest import Ask, accept, until
from tests.worker.jobs.test_operations import take
from worker.jobs.consumer import JobConsumer
from worker.jobs.keys import job_key
from worker.jobs.model import JobStatus
from worker.lifecycle.workshops import age_of, clear_workshops
from worker.reconciler import Reconciler
from worker.runner import run_next_job
from worker.settings import WorkerSettings

MINUTE, DAY = 60.0, 86_400.0
UNKNOWN = "20250101-000000-aaaaaa"
ENDS = (JobStatus.SUCCEEDED, JobStatus.FAILED, JobStatus.CANCELLED)


@pytest.fixture
def settings(endpoint: Endpoint, redis_url: str, monkeypatch: pytest.MonkeyPatch) -> WorkerSettings:
    monkeypatch.setenv("ACGAN_STORE", endpoint.address())
    monkeypatch.setenv("ACGAN_REDIS_URL", redis_url)
    return WorkerSettings(device="cpu")


def work_of(settings: WorkerSettings, job_id: str, age: float = 0.0) -> Path:
    """Write unfinished work of a job, `age` seconds ago."""
    file = settings.home / "workshops" / job_id / "dataset" / "part.gz"
    file.parent.mkdir(parents=True)
    file.write_bytes(b"digits")
    for path in (file, file.parent, file.parent.parent):
        os.utime(path, (time.time() - age,) * 2)
    return file


def ended(ask: Ask[Any], consumer: JobConsumer, status: JobStatus) -> str:
    accept(ask)
    claim = take(consumer)
    if status == JobStatus.CANCELLED:
        ask(lambda jobs: jobs.cancel(claim.job.id))
    consumer.finish(claim, status)
    return claim.job.id


def test_work_is_deleted_as_soon_as_no_job_can_use_it(
    ask: Ask[Any], consumer: JobConsumer, settings: WorkerSettings
) -> None:
    jobs = {status: ended(ask, consumer, status) for status in ENDS}
    running = accept(ask).id
    assert take(consumer).job.id == running
    queued, paused = accept(ask).id, accept(ask).id
    consumer.redis.hset(job_key(paused), "status", "paused")  # by a newer version
    for job_id in (running, queued, paused):
        work_of(settings, job_id, 9 * DAY)
    recent = [work_of(settings, jobs[status]) for status in (JobStatus.FAILED, JobStatus.CANCELLED)]
    made = work_of(settings, jobs[JobStatus.SUCCEEDED])
    lost, young = work_of(settings, UNKNOWN, 11 * MINUTE), work_of(settings, f"{UNKNOWN[:-1]}b", 11 * MINUTE)
    os.utime(young, (time.time() - 9 * MINUTE,) * 2)  # only a file in its folder changed since
    clear_workshops(settings, consumer)
    assert not made.parent.parent.exists()
    assert not lost.parent.parent.exists()
    kept = {running, queued, paused, jobs[JobStatus.FAILED], jobs[JobStatus.CANCELLED], young.parent.parent.name}
    assert {path.name for path in (settings.home / "workshops").iterdir()} == kept
    for path in recent:
        for part in (path, path.parent, path.parent.parent):
            os.utime(part, (time.time() - DAY - MINUTE,) * 2)
    clear_workshops(settings, consumer)
    kept -= {jobs[JobStatus.FAILED], jobs[JobStatus.CANCELLED]}
    assert {path.name for path in (settings.home / "workshops").iterdir()} == kept


def test_a_folder_as_the_store_is_left_alone(consumer: JobConsumer, settings: WorkerSettings) -> None:
    work = work_of(settings, UNKNOWN, DAY)
    clear_workshops(settings.model_copy(update={"store": None}), consumer)
    assert work.exists()


def test_a_worker_deletes_old_work_at_its_start(settings: WorkerSettings, consumer: JobConsumer) -> None:
    """Another machine has ended the job, and it was deleted, while this worker was off."""
    work = work_of(settings, UNKNOWN, DAY)
    reconciler = Reconciler(consumer, lambda _: None, lambda: True, 0.1, 10.0, begin=partial(clear_workshops, settings))
    reconciler.start()
    until(lambda: not work.parent.parent.exists())
    reconciler.stop()
    reconciler.join()


def test_a_worker_deletes_old_work_at_the_end_of_a_job(
    settings: WorkerSettings, ask: Ask[Any], consumer: JobConsumer, config: TrainingConfig
) -> None:
    """Also that of the job itself, which its handler has not deleted."""
    other = work_of(settings, ended(ask, consumer, JobStatus.SUCCEEDED))
    job_id = accept(ask, **config.model_dump()).id
    own = work_of(settings, job_id)
    run_next_job(settings)
    assert ask(lambda jobs: jobs.get(job_id)).status == JobStatus.SUCCEEDED
    assert not own.parent.parent.exists()
    assert not other.parent.parent.exists()


def test_work_of_which_a_folder_is_deleted_meanwhile_has_an_age(
    settings: WorkerSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    part = work_of(settings, UNKNOWN, 2 * MINUTE)
    when_listed(monkeypatch, part.parent, lambda: shutil.rmtree(part.parent), is_before=True)
    assert age_of(part.parent.parent) > MINUTE
