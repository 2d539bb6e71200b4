"""The lease's thread decides whether training may continue: on a real Redis."""

import time
from typing import cast

import pytest

from benchmarks.records import ask_desk
from models.config import TrainingConfig
from tests.conftest import RunningRedis
from tests.worker.conftest import until
from worker.jobs.client import Order
from worker.jobs.consumer import Claim, JobConsumer, LeaseLost, clock
from worker.jobs.keys import LEASES
from worker.jobs.model import JobStatus
from worker.lifecycle.lease import EXIT_CODE, Cancelled, Lease


def claimed(url: str, seconds: float) -> tuple[JobConsumer, Claim]:
    ask_desk(url, lambda jobs: jobs.create(Order(TrainingConfig())))
    consumer = JobConsumer.connect(url)
    claim = consumer.claim(seconds)
    assert claim is not None
    return consumer, claim


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A test that is slow to leave its block is no training that does not stop."""
    monkeypatch.setattr("worker.lifecycle.lease.GRACE_SECONDS", 60.0)


def raised(lease: Lease, within: float) -> type[Exception] | None:
    """Check as training does, until something is raised."""
    deadline = time.monotonic() + within
    while time.monotonic() < deadline:
        try:
            lease.check()
        except (LeaseLost, Cancelled) as error:
            return type(error)
        time.sleep(0.01)
    return None


def test_a_lease_is_renewed_as_long_as_it_is_held(redis_url: str) -> None:
    consumer, claim = claimed(redis_url, 30)

    def end_of_lease() -> float:
        return cast(float, consumer.redis.zscore(LEASES, claim.job.id))

    with Lease(consumer, claim, 30) as lease:
        for _ in range(3):
            renewed, end = lease.renewed, end_of_lease()
            until(lambda: lease.renewed > renewed and end_of_lease() > end)  # noqa: B023
            assert end_of_lease() <= time.time() + 30
            lease.check()
            assert consumer.reconcile(10) == []
    end = end_of_lease()
    time.sleep(1.6)
    assert end_of_lease() == end
    consumer.redis.zadd(LEASES, {claim.job.id: time.time() + 0.2})  # almost 30 seconds later
    until(lambda: consumer.reconcile(10) == [(claim.job.id, "queued")])


def test_training_is_interrupted_when_the_job_is_cancelled(redis_url: str) -> None:
    consumer, claim = claimed(redis_url, 30)
    with Lease(consumer, claim, 30) as lease:
        consumer.redis.hset(f"acgan:job:{claim.job.id}", "status", JobStatus.CANCELLING)
        assert raised(lease, within=5) is Cancelled
        lease.check_held()  # and it may still write


@pytest.mark.usefixtures("patient")
def test_training_is_interrupted_when_another_worker_has_the_job(redis_url: str) -> None:
    consumer, claim = claimed(redis_url, 30)
    with Lease(consumer, claim, 30) as lease:
        consumer.redis.hset(f"acgan:job:{claim.job.id}", "fence", claim.fence + 1)
        assert raised(lease, within=5) is LeaseLost


@pytest.mark.usefixtures("patient")
def test_without_redis_training_continues_until_the_lease_expires(
    mortal_redis: RunningRedis, monkeypatch: pytest.MonkeyPatch
) -> None:
    passed = 0.0
    monkeypatch.setattr("worker.lifecycle.lease.clock", lambda: clock() + passed)
    consumer, claim = claimed(mortal_redis.url, 600)
    with Lease(consumer, claim, 600) as lease:
        mortal_redis.kill()
        assert raised(lease, within=1) is None
        passed = 500.0
        assert raised(lease, within=1.5) is None
        passed = 600.0
        assert raised(lease, within=5) is LeaseLost


def test_a_process_that_was_stopped_detects_it_before_its_thread_runs(redis_url: str) -> None:
    consumer, claim = claimed(redis_url, 2)
    lease = Lease(consumer, claim, 2)  # not entered: no thread runs, as in the first moment after a SIGCONT
    time.sleep(2.1)
    with pytest.raises(LeaseLost):
        lease.check()


@pytest.mark.parametrize("hangs", [True, False])
def test_a_training_process_that_does_not_stop_is_ended(
    redis_url: str, hangs: bool, request: pytest.FixtureRequest
) -> None:
    if not hangs:
        request.getfixturevalue("patient")
    ends: list[int] = []
    consumer, claim = claimed(redis_url, 30)
    with Lease(consumer, claim, 30, end_process=ends.append) as lease:
        consumer.redis.hset(f"acgan:job:{claim.job.id}", "fence", claim.fence + 1)
        until(lambda: bool(ends) if hangs else raised(lease, 60) is not None)
    assert ends == ([EXIT_CODE] if hangs else [])


def test_a_training_process_without_progress_is_ended(redis_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("worker.lifecycle.lease.STALLED_SECONDS", 0.5)
    ends: list[int] = []
    consumer, claim = claimed(redis_url, 3)
    with Lease(consumer, claim, 3, end_process=ends.append):
        until(lambda: bool(ends))
