"""While a run waits for the store, the job's record names the file and the error."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import redis

from benchmarks.records import ask_desk
from models.config import TrainingConfig
from models.registry.store import FENCE, POINTER, CheckpointStore
from models.training.trainer import Trainer
from tests.faults.invariants import violations
from tests.support.stores import put_back
from tests.worker.conftest import cancel_during_run, keep_leases, until
from worker.jobs.client import Order
from worker.jobs.consumer import JobConsumer
from worker.jobs.keys import EVENTS
from worker.jobs.model import Job, JobStatus
from worker.lifecycle import context, retry
from worker.observability import metrics
from worker.runner import run_next_job
from worker.settings import WorkerSettings


@pytest.fixture
def settings(redis_url: str, monkeypatch: pytest.MonkeyPatch) -> WorkerSettings:
    monkeypatch.setattr(context, "DISK_SECONDS", 0.2)
    return WorkerSettings(redis_url=redis_url)


@pytest.fixture
def store(settings: WorkerSettings) -> CheckpointStore:
    store = CheckpointStore(settings.store_dir)
    store.take("20250101-000000-aaaaaa", 1)  # an earlier job
    return store


def record(settings: WorkerSettings, job_id: str) -> Job:
    return ask_desk(settings.redis_url, lambda jobs: jobs.get(job_id))


def until_trouble(settings: WorkerSettings, job_id: str, text: str) -> None:
    until(lambda: text in str(record(settings, job_id).trouble), 60)


@contextmanager
def running(settings: WorkerSettings, config: TrainingConfig) -> Iterator[str]:
    """A worker in a thread runs the job, until it ends."""
    job_id = ask_desk(settings.redis_url, lambda jobs: jobs.create(Order(config))).id
    worker = threading.Thread(target=run_next_job, args=(settings,))
    worker.start()
    try:
        yield job_id
    finally:
        worker.join(120)
    assert not worker.is_alive()


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The pauses between two attempts, in seconds; one is added when it begins."""
    begun: list[float] = []

    def pause(seconds: float, check: Callable[[], None]) -> None:
        begun.append(seconds)
        retry.pause(seconds, check)

    monkeypatch.setattr(context, "pause", pause)
    return begun


def troubles(settings: WorkerSettings, job_id: str) -> list[str]:
    """The `trouble` events of a job, in order."""
    with redis.Redis.from_url(settings.redis_url, decode_responses=True) as client:
        events: Any = client.xrange(EVENTS)
    return [each["data"] for _, each in events if (each["job"], each["kind"]) == (job_id, "trouble")]


def waits_for_storage() -> float | None:
    return metrics.REGISTRY.get_sample_value("acgan_worker_waits_for_storage")


@pytest.mark.parametrize("name", [FENCE, POINTER, "store.json"])
def test_a_file_that_cannot_be_read_delays_the_run_and_is_named(
    settings: WorkerSettings, store: CheckpointStore, config: TrainingConfig, name: str, pauses: list[float]
) -> None:
    kept = (store.root / name).read_bytes()
    (store.root / name).unlink()
    (store.root / name).mkdir()
    with running(settings, config) as job_id:
        until_trouble(settings, job_id, f"{name} cannot be read: is not a regular file")
        assert record(settings, job_id).status == JobStatus.RUNNING
        until(lambda: len(pauses) > 5)
        until(lambda: waits_for_storage() == 1)
        (store.root / name).rmdir()
        (store.root / name).write_bytes(kept)
    job = record(settings, job_id)
    assert (job.status, job.trouble) == (JobStatus.SUCCEEDED, None)
    found = troubles(settings, job_id)
    assert found[-1] == ""
    assert all(earlier != later for earlier, later in pairwise(found))  # what stays the same is no event
    assert waits_for_storage() == 0
    assert violations(store, [job]) == []


def test_a_job_that_is_cancelled_no_longer_waits(
    settings: WorkerSettings, store: CheckpointStore, config: TrainingConfig
) -> None:
    (store.root / FENCE).unlink()
    (store.root / FENCE).mkdir()
    with running(settings, config) as job_id:
        until_trouble(settings, job_id, FENCE)
        until(lambda: waits_for_storage() == 1)
        ask_desk(settings.redis_url, lambda jobs: jobs.cancel(job_id))
    assert record(settings, job_id).status == JobStatus.CANCELLED
    assert waits_for_storage() == 0


@pytest.fixture
def third_epoch(monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """A run that has reached its third epoch waits until this is set: until then it does not end."""
    begin, may_begin = Trainer.begin_epoch, threading.Event()

    def wait(self: Trainer, epoch: int) -> None:
        assert epoch != 3 or may_begin.wait(120)
        begin(self, epoch)

    monkeypatch.setattr(Trainer, "begin_epoch", wait)
    return may_begin


def test_a_store_that_is_renamed_away_loses_no_epoch(
    settings: WorkerSettings, store: CheckpointStore, config: TrainingConfig, third_epoch: threading.Event
) -> None:
    """A new, empty folder is in its place in the meantime."""
    away = Path(f"{store.root}-away")
    with running(settings, config.model_copy(update={"epochs": 4})) as job_id:
        until(lambda: bool(record(settings, job_id).epochs), 60)
        store.root.rename(away)
        store.root.mkdir(exist_ok=True)  # the run may have created it for its second epoch
        third_epoch.set()
        until_trouble(settings, job_id, "the store was emptied, replaced, or is not mounted")
        put_back(store.root, away)
    job = record(settings, job_id)
    assert (job.status, job.trouble) == (JobStatus.SUCCEEDED, None)
    assert violations(store, [job]) == []


def test_a_second_job_under_the_same_id_fails_with_the_reason(
    settings: WorkerSettings, store: CheckpointStore, config: TrainingConfig
) -> None:
    """Two services over one store have issued the same id; the other one's job was claimed first."""
    job_id = ask_desk(settings.redis_url, lambda jobs: jobs.create(Order(config))).id
    store.take(job_id, 1, "the fingerprint of another job")
    run_next_job(settings)
    job = record(settings, job_id)
    assert (job.status, job.epochs) == (JobStatus.FAILED, [])
    assert "another job has the id" in str(job.error)


def test_an_empty_store_is_not_initialised_for_a_record_with_checkpoints(
    settings: WorkerSettings, config: TrainingConfig, third_epoch: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    leases = keep_leases(monkeypatch)
    monkeypatch.setattr("models.training.throughput.REPORT_SECONDS", 0.0)  # each iteration notices a cancellation
    with running(settings, config.model_copy(update={"epochs": 6})) as job_id:
        until(lambda: len(record(settings, job_id).epochs) >= 1, 60)
        cancel_during_run(settings, job_id, leases)
        third_epoch.set()
    away = settings.store_dir.rename(f"{settings.store_dir}-away")
    ask_desk(settings.redis_url, lambda jobs: jobs.resume(job_id))
    worker = threading.Thread(target=run_next_job, args=(settings,))
    worker.start()
    until_trouble(settings, job_id, "whose record names checkpoints")
    put_back(settings.store_dir, away)
    worker.join(120)
    job = record(settings, job_id)
    assert (job.status, job.trouble) == (JobStatus.SUCCEEDED, None)
    assert violations(CheckpointStore(settings.store_dir), [job]) == []
    JobConsumer.connect(settings.redis_url).close()
