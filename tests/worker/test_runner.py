"""Each kind of job has a handler and a list of its jobs, also if an earlier version accepted the job."""

import errno
import hashlib
from typing import Any

import pytest
import redis

from models.config import TrainingConfig
from models.data.building.order import TrainingDataOrder
from models.evaluation.evaluation_records import EvaluationOrder
from models.registry import bundled
from models.synthesis.order import DatasetOrder
from tests.support.job_lists import newest
from tests.worker.conftest import Ask
from worker.importing.process import ImportRefused
from worker.jobs.client import Order
from worker.jobs.consumer import JobConsumer, LeaseLost
from worker.jobs.keys import EVENTS, LISTS, index_key, job_key
from worker.jobs.model import JobKind, JobStatus
from worker.lifecycle.context import JobContext
from worker.lifecycle.lease import Lease
from worker.observability import metrics
from worker.runner import HANDLERS, run, run_next_job
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


@pytest.mark.parametrize("lease_is_renewed", [False, True])
def test_a_job_whose_end_was_recorded_has_ended_although_the_response_was_lost(
    ask: Ask[Any],
    consumer: JobConsumer,
    redis_url: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    lease_is_renewed: bool,
) -> None:
    """The call is repeated, even if the lease's thread finds first that this worker no longer holds the job."""

    def make_state(context: JobContext) -> None:
        context.storage.save_state(context.job.id, b"state", context.claim.fence)

    def lose_first_response(**arguments: Any) -> Any:
        answers.append(finish(**arguments))
        if len(answers) > 1:
            return answers[-1]
        if lease_is_renewed:
            assert lease._thread is not None
            lease._thread.join(60)
        raise redis.TimeoutError("the response was lost")

    job = ask(lambda jobs: jobs.create(ORDERS[JobKind.TRAINING]))
    answers, ends, finish = list[str | None](), list[int](), consumer._finish
    monkeypatch.setitem(HANDLERS, JobKind.TRAINING, make_state)
    monkeypatch.setattr(consumer, "_finish", lose_first_response)
    settings = WorkerSettings(redis_url=redis_url, device="cpu")
    claim = consumer.claim(30)
    assert claim is not None
    lease, store = Lease(consumer, claim, 30, end_process=ends.append), settings.open_store()
    counted = [count("acgan_worker_jobs_ended_total", status="succeeded"), count("acgan_worker_leases_lost_total")]
    run(JobContext(consumer, lease, store, settings))
    assert (answers, ends) == (["succeeded", "succeeded"], [])
    assert count("acgan_worker_jobs_ended_total", status="succeeded") == counted[0] + 1
    assert count("acgan_worker_leases_lost_total") == counted[1]
    assert "another worker" not in caplog.text
    assert store.load_state(job.id) is None
    assert ask(lambda jobs: jobs.get(job.id)).status == JobStatus.SUCCEEDED
    events: Any = consumer.redis.xrange(EVENTS)
    assert [fields["data"] for _, fields in events if fields["kind"] == "status"] == ["queued", "running", "succeeded"]


def test_a_hand_back_that_is_repeated_changes_nothing(ask: Ask[Any], consumer: JobConsumer) -> None:
    job = ask(lambda jobs: jobs.create(ORDERS[JobKind.TRAINING]))
    claim = consumer.claim()
    assert claim is not None
    consumer.finish(claim, JobStatus.QUEUED)
    events = consumer.redis.xlen(EVENTS)
    consumer.finish(claim, JobStatus.QUEUED)
    assert consumer.redis.xlen(EVENTS) == events
    with pytest.raises(LeaseLost):
        consumer.finish(claim, JobStatus.SUCCEEDED)
    again = consumer.claim()
    assert again is not None
    with pytest.raises(LeaseLost):
        consumer.finish(claim, JobStatus.QUEUED)
    assert ask(lambda jobs: jobs.get(job.id)).status == JobStatus.RUNNING


def count(name: str, **labels: str) -> float:
    return metrics.REGISTRY.get_sample_value(name, labels) or 0


def test_a_job_of_a_kind_that_only_a_newer_version_has_is_left_alone(ask: Ask[Any], consumer: JobConsumer) -> None:
    job = ask(lambda jobs: jobs.create(ORDERS[JobKind.TRAINING]))
    consumer.redis.hset(job_key(job.id), "kind", "comparison")
    assert consumer.claim() is None
    found = ask(lambda jobs: jobs.read(job.id))
    assert (found.kind, found.status) == ("comparison", "queued")
    assert "does not understand the record" in found.trouble
    assert ask(lambda jobs: jobs.cancel(job.id)).status == "cancelled"
