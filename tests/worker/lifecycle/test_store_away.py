"""A store that is away when a worker claims a job: the record gives the reason, and no other store is created."""

import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import redis

from app.inference.known_store import KnownStore
from app.inference.serving_target import TargetFinder
from benchmarks.records import ask_desk
from models.config import TrainingConfig
from models.registry.job_entry import IDENTITY
from models.registry.storage.base import Unreachable
from models.registry.storage.reading import HIGHEST_TOKEN
from models.registry.store import CheckpointStore
from tests.faults.invariants import violations
from tests.support.stores import put_back
from tests.worker.handlers.test_budget_of_states import cancel_after_a_save
from tests.worker.lifecycle.test_storage_retry import record, until_trouble
from worker.jobs.client import Order
from worker.jobs.consumer import JobConsumer
from worker.jobs.keys import FENCE, STORES
from worker.jobs.model import JobStatus
from worker.lifecycle import context
from worker.runner import run_next_job
from worker.settings import WorkerSettings


@pytest.fixture
def settings(redis_url: str, monkeypatch: pytest.MonkeyPatch) -> WorkerSettings:
    monkeypatch.setattr(context, "DISK_SECONDS", 0.2)
    return WorkerSettings(redis_url=redis_url)


def accept(settings: WorkerSettings, config: TrainingConfig) -> str:
    return ask_desk(settings.redis_url, lambda jobs: jobs.create(Order(config))).id


@contextmanager
def worker(settings: WorkerSettings) -> Iterator[None]:
    thread = threading.Thread(target=run_next_job, args=(settings,))
    thread.start()
    yield
    thread.join(120)
    assert not thread.is_alive()


@pytest.mark.parametrize("instead", ["nothing", "an empty folder", "another store"])
def test_a_new_job_creates_no_store_in_place_of_the_known_one(
    settings: WorkerSettings, config: TrainingConfig, instead: str
) -> None:
    first = accept(settings, config)
    run_next_job(settings)
    away = settings.store_dir.rename(f"{settings.store_dir}-away")
    if instead != "nothing":
        settings.store_dir.mkdir()
    if instead == "another store":
        CheckpointStore(settings.store_dir).take("20250101-000000-aaaaaa", 1)
    second = accept(settings, config)
    with worker(settings):
        until_trouble(settings, second, "another one is mounted in its place")
        assert STORES in str(record(settings, second).trouble)
        assert (settings.store_dir / IDENTITY).exists() == (instead == "another store")
        assert not (settings.store_dir / second).exists()
        put_back(settings.store_dir, away)
    jobs = [record(settings, job_id) for job_id in (first, second)]
    assert [(job.status, job.trouble) for job in jobs] == [(JobStatus.SUCCEEDED, None)] * 2
    assert violations(CheckpointStore(settings.store_dir), jobs) == []


def test_a_new_store_is_created_if_the_operator_confirms_it(settings: WorkerSettings, config: TrainingConfig) -> None:
    accept(settings, config)
    run_next_job(settings)
    shutil.rmtree(settings.store_dir)
    with redis.Redis.from_url(settings.redis_url) as client:
        client.hdel(STORES, settings.store_address)
    second = accept(settings, config)
    run_next_job(settings)
    assert record(settings, second).status == JobStatus.SUCCEEDED


def test_a_saved_state_without_an_epoch_counts_as_a_result(
    settings: WorkerSettings, config: TrainingConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    job_id = cancel_after_a_save(settings.model_copy(update={"save_seconds": 1e-9}), config, monkeypatch)
    with redis.Redis.from_url(settings.redis_url) as client:
        client.delete(STORES)  # as after an upgrade
    away = settings.store_dir.rename(f"{settings.store_dir}-away")
    ask_desk(settings.redis_url, lambda jobs: jobs.resume(job_id))
    with worker(settings):
        until_trouble(settings, job_id, "whose record names checkpoints")
        put_back(settings.store_dir, away)
    job = record(settings, job_id)
    assert (job.status, job.trouble, job.warnings) == (JobStatus.SUCCEEDED, None, [])


def test_a_store_that_does_not_answer_is_the_trouble_of_waiting_jobs(
    settings: WorkerSettings, config: TrainingConfig, monkeypatch: pytest.MonkeyPatch, consumer: JobConsumer
) -> None:
    def away(self: CheckpointStore) -> int:
        raise Unreachable("fence cannot be read: the bucket does not answer")

    waiting = [accept(settings, config) for _ in range(2)]
    consumer.seen("cpu", 60)
    with monkeypatch.context() as patch:
        patch.setattr(CheckpointStore, "highest_fence", away)
        run_next_job(settings)
    for job_id in waiting:
        job = record(settings, job_id)
        assert job.status == JobStatus.QUEUED
        assert "the bucket does not answer" in str(job.trouble)
    run_next_job(settings)
    assert [record(settings, job_id).status for job_id in waiting] == [JobStatus.SUCCEEDED, JobStatus.QUEUED]
    assert "the bucket" not in str(record(settings, waiting[1]).trouble)


def test_a_torn_identity_is_reported_and_stops_no_job(
    settings: WorkerSettings, config: TrainingConfig, caplog: pytest.LogCaptureFixture
) -> None:
    accept(settings, config)
    run_next_job(settings)
    (settings.store_dir / IDENTITY).write_bytes(b'{"id": "3f')
    job_id = accept(settings, config)
    run_next_job(settings)
    job = record(settings, job_id)
    assert job.status == JobStatus.SUCCEEDED
    assert IDENTITY in str(job.trouble)
    assert IDENTITY in caplog.text
    finder = TargetFinder(KnownStore(CheckpointStore(settings.store_dir)), None)
    assert any(IDENTITY in problem for problem in finder.find(None)[1])


def test_a_token_that_no_store_accepts_fails_the_job_with_what_to_do(
    settings: WorkerSettings, config: TrainingConfig
) -> None:
    accept(settings, config)
    run_next_job(settings)
    highest = CheckpointStore(settings.store_dir).highest_fence()
    with redis.Redis.from_url(settings.redis_url) as client:
        client.set(FENCE, HIGHEST_TOKEN)
        job_id = accept(settings, config)
        run_next_job(settings)
        job = record(settings, job_id)
        assert (job.status, job.epochs) == (JobStatus.FAILED, [])
        assert "set it to the number in the store's file `fence`" in str(job.error)
        assert CheckpointStore(settings.store_dir).highest_fence() == highest
        client.set(FENCE, highest)
    ask_desk(settings.redis_url, lambda jobs: jobs.resume(job_id))
    run_next_job(settings)
    assert record(settings, job_id).status == JobStatus.SUCCEEDED
