"""Each kind of job has a handler and a list of its jobs, also if an earlier version accepted the job."""

import errno
import hashlib
from typing import Any

import pytest

from models.config import TrainingConfig
from models.data.building.order import TrainingDataOrder
from models.evaluation.evaluation_records import EvaluationOrder
from models.registry import bundled
from models.synthesis.order import DatasetOrder
from tests.support.job_lists import newest
from tests.worker.conftest import Ask
from worker.importing.process import ImportRefused
from worker.jobs.client import Order
from worker.jobs.consumer import JobConsumer
from worker.jobs.keys import LISTS, index_key, job_key
from worker.jobs.model import JobKind, JobStatus
from worker.lifecycle.context import JobContext
from worker.runner import HANDLERS, run_next_job
from worker.settings import WorkerSettings

ORDERS = {
    JobKind.TRAINING: Order(TrainingConfig()),
    JobKind.TRAINING_DATA: Order(
        TrainingConfig(), dataset=TrainingDataOrder(name="letters", size=1, sha256=hashlib.sha256(b"x").hexdigest())
    ),
    JobKind.EVALUATION: Order(
        TrainingConfig(), dataset=EvaluationOrder(checkpoint=str(bundled.checkpoint()), effort="quick")
    ),
    JobKind.DATASET: Order(TrainingConfig(), dataset=DatasetOrder(checkpoint=str(bundled.checkpoint()))),
}


def test_every_kind_has_a_handler_and_a_list() -> None:
    assert set(HANDLERS) == set(LISTS) == set(ORDERS) == set(JobKind)


@pytest.mark.parametrize(
    ("kind", "release"),
    [
        *((kind, "this") for kind in JobKind),
        *((kind, "the one before") for kind in (JobKind.TRAINING, JobKind.DATASET)),
    ],
)
def test_a_job_goes_to_the_handler_and_the_lists_of_its_kind(
    ask: Ask[Any], consumer: JobConsumer, redis_url: str, monkeypatch: pytest.MonkeyPatch, kind: JobKind, release: str
) -> None:
    """The record of an earlier version has no kind."""
    job = ask(lambda jobs: jobs.create(ORDERS[kind]))
    assert job.kind == kind
    assert consumer.redis.hget(job_key(job.id), "kind") == kind
    if release == "the one before":
        consumer.redis.hdel(job_key(job.id), "kind")
    called = list[JobKind]()
    for other in JobKind:
        monkeypatch.setitem(HANDLERS, other, lambda _, other=other: called.append(other))  # type: ignore[misc]
    run_next_job(WorkerSettings(redis_url=redis_url, device="cpu"))
    assert called == [kind]
    ended = ask(lambda jobs: jobs.get(job.id))
    assert (ended.kind, ended.status) == (kind, JobStatus.SUCCEEDED)
    for other in JobKind:
        listed = [job.id] if other == kind else []
        assert consumer.redis.zrange(index_key(other), 0, -1) == listed
        assert consumer.redis.zrange(index_key(other, JobStatus.SUCCEEDED), 0, -1) == listed
        assert [found.id for found in ask(lambda jobs: newest(jobs, 9, kind=other))] == listed  # noqa: B023


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (
            OSError(errno.ENOSPC, "No space left on device", "/home/user/.acgan/part"),
            "the worker cannot use a file or a connection: No space left on device. The worker's log has the details.",
        ),
        (OSError("part 3 is larger than 5 GB"), "part 3 is larger than 5 GB"),
        (ImportRefused("the archive has no images"), "the archive has no images"),
    ],
)
def test_a_failed_job_gives_the_reason_in_a_sentence(
    ask: Ask[Any], redis_url: str, monkeypatch: pytest.MonkeyPatch, error: Exception, reason: str
) -> None:
    """The record shows neither the number of the system's error nor a path of the worker."""

    def fail(_: JobContext) -> None:
        raise error

    monkeypatch.setitem(HANDLERS, JobKind.TRAINING, fail)
    job = ask(lambda jobs: jobs.create(ORDERS[JobKind.TRAINING]))
    run_next_job(WorkerSettings(redis_url=redis_url, device="cpu"))
    ended = ask(lambda jobs: jobs.get(job.id))
    assert (ended.status, ended.error) == (JobStatus.FAILED, reason)


def test_a_job_of_a_kind_that_only_a_newer_version_has_is_left_alone(ask: Ask[Any], consumer: JobConsumer) -> None:
    job = ask(lambda jobs: jobs.create(ORDERS[JobKind.TRAINING]))
    consumer.redis.hset(job_key(job.id), "kind", "comparison")
    assert consumer.claim() is None
    found = ask(lambda jobs: jobs.read(job.id))
    assert (found.kind, found.status) == ("comparison", "queued")
    assert "does not understand the record" in found.trouble
    assert ask(lambda jobs: jobs.cancel(job.id)).status == "cancelled"
