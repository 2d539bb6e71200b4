"""The storage limit spares what jobs need that have not ended, over a real Redis."""

import os
import time
from pathlib import Path
from typing import Any

import pytest

from models.config import TrainingConfig
from models.evaluation.evaluation_records import EvaluationOrder
from models.registry.storage.base import StoredFile
from models.registry.storage.filesystem import FilesystemStorage
from models.registry.store import CheckpointId, CheckpointStore
from models.synthesis.order import DatasetOrder
from tests.models.registry.test_store import FILES, NEW, OLD, manifest
from tests.worker.conftest import Ask, accept
from worker.jobs.client import Order
from worker.jobs.codec import checkpoint_named
from worker.jobs.consumer import JobConsumer
from worker.jobs.errors import StoreUnavailable
from worker.jobs.keys import job_key
from worker.jobs.model import Job, JobStatus
from worker.lifecycle.budget import checkpoints_among, keep_within_budget
from worker.lifecycle.context import JobContext
from worker.lifecycle.lease import Lease
from worker.settings import WorkerSettings

NEEDED, OTHER, LAST = (CheckpointId(OLD, epoch) for epoch in (1, 2, 3))


@pytest.fixture
def context(redis_url: str, consumer: JobConsumer, ask: Ask[Any]) -> JobContext:
    """A worker that runs a job, on a store that may hold nothing."""
    settings = WorkerSettings(redis_url=redis_url, store_limit=0)
    accept(ask)
    claim = consumer.claim()
    assert claim is not None
    store = CheckpointStore(settings.store_dir)
    for checkpoint in (NEEDED, OTHER, LAST, CheckpointId(NEW, 1)):
        store.publish(manifest(*checkpoint, age_seconds=3600), FILES)
    return JobContext(consumer, Lease(consumer, claim, 30.0), store, settings)


@pytest.mark.parametrize(
    "order",
    [DatasetOrder(checkpoint=str(NEEDED)), EvaluationOrder(checkpoint=str(NEEDED))],
    ids=lambda order: type(order).__name__,
)
@pytest.mark.parametrize("state", ["queued", "running", "not understood"])
def test_the_checkpoint_of_an_unfinished_order_stays(
    context: JobContext, ask: Ask[Any], order: DatasetOrder | EvaluationOrder, state: str
) -> None:
    job: Job = ask(lambda jobs: jobs.create(Order(TrainingConfig(), dataset=order)))
    if state == "running":
        claim = context.jobs.claim()
        assert claim is not None
        assert claim.job.id == job.id
    if state == "not understood":
        context.jobs.redis.hset(job_key(job.id), "status", "resting")
    keep_within_budget(context)
    assert context.storage.epochs(OLD) == [1, 3]
    if state == "queued":
        ask(lambda jobs: jobs.cancel(job.id))
        keep_within_budget(context)
        assert context.storage.epochs(OLD) == [3]


def test_deletions_before_an_error_are_recorded(
    context: JobContext, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Else a run whose checkpoints they were would report them as missing."""
    held, answers = context.claim.job.id, [set[CheckpointId](), set[CheckpointId]()]
    for epoch in (1, 2, 3, 4):
        context.storage.publish(manifest(held, epoch, age_seconds=3600), FILES)

    def needed(_jobs: JobConsumer) -> set[CheckpointId]:
        if not answers:
            raise StoreUnavailable("Redis does not answer")
        return answers.pop()

    monkeypatch.setattr("worker.lifecycle.budget.needed_checkpoints", needed)
    for old in (NEEDED, OTHER):
        context.storage.storage.remove(old.folder)
    keep_within_budget(context)
    assert "Redis does not answer" in caplog.text
    assert context.storage.epochs(held) == [3, 4]
    assert context.jobs.thinned(held) == {1, 2}


@pytest.mark.parametrize("text", [None, "", "{", "[]", '{"checkpoint": 1}', '{"checkpoint": "latest"}', "{}"])
def test_an_order_may_name_no_checkpoint(text: str | None) -> None:
    assert checkpoints_among([named for named in [checkpoint_named([None, text])] if named is not None]) == []


@pytest.fixture
def cancelled(context: JobContext, ask: Ask[Any]) -> str:
    """A run that was cancelled an hour ago, with its state."""
    job = accept(ask)
    ask(lambda jobs: jobs.cancel(job.id))
    context.storage.save_state(job.id, b"state")
    for path in (context.storage.root / job.id).iterdir():
        os.utime(path, (time.time() - 3600,) * 2)
    return job.id


def test_the_state_of_a_run_that_is_resumed_during_the_listing_stays(
    context: JobContext, cancelled: str, ask: Ask[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    files = FilesystemStorage.files

    def resume_and_list(storage: FilesystemStorage) -> list[StoredFile]:
        ask(lambda jobs: jobs.resume(cancelled))
        return files(storage)

    with monkeypatch.context() as patch:
        patch.setattr(FilesystemStorage, "files", resume_and_list)
        keep_within_budget(context)
    assert ask(lambda jobs: jobs.get(cancelled)).status == JobStatus.QUEUED
    assert context.storage.load_state(cancelled) == b"state"


def test_the_state_of_a_cancelled_run_is_deleted(context: JobContext, cancelled: str) -> None:
    keep_within_budget(context)
    assert state_files(context.storage, cancelled) == []


def state_files(store: CheckpointStore, job: str) -> list[Path]:
    return list((store.root / job).glob("resume-*"))
