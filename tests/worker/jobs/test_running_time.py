"""The time that workers ran a job: without the days between a cancellation and its resumption."""

import time
from typing import Any

import pytest
import redis

from tests.worker.conftest import Ask, accept
from worker.jobs.consumer import Claim, JobConsumer
from worker.jobs.keys import LEASES, job_key
from worker.jobs.model import Job, JobStatus


def claimed(consumer: JobConsumer) -> Claim:
    claim = consumer.claim()
    assert claim is not None
    return claim


def move_back(consumer: JobConsumer, job_id: str, field: str, seconds: float) -> None:
    """Set a time of the record to `seconds` before now, as if they had passed."""
    consumer.redis.hset(job_key(job_id), field, f"{time.time() - seconds:.6f}")


def ran(ask: Ask[Any], job_id: str) -> Job:
    job: Job = ask(lambda jobs: jobs.get(job_id))
    return job


def test_a_run_that_is_resumed_days_later_counts_only_the_time_that_it_ran(
    ask: Ask[Any], consumer: JobConsumer
) -> None:
    job_id = accept(ask).id
    assert (ran(ask, job_id).seconds_running, ran(ask, job_id).running_since) == (None, None)
    first = claimed(consumer)
    started = ran(ask, job_id)
    assert (started.seconds_running, started.running_since) == (0, started.started_at)
    move_back(consumer, job_id, "running_since", 100)
    ask(lambda jobs: jobs.cancel(job_id))
    assert ran(ask, job_id).running_since is not None  # its worker still holds it
    consumer.finish(first, JobStatus.CANCELLED)
    move_back(consumer, job_id, "ended_at", -3 * 86_400)
    cancelled = ran(ask, job_id)
    assert cancelled.seconds_running == pytest.approx(100, abs=10)
    assert cancelled.running_since is None

    ask(lambda jobs: jobs.resume(job_id))
    assert ran(ask, job_id).running_since is None  # it waits
    second = claimed(consumer)
    move_back(consumer, job_id, "running_since", 50)
    consumer.finish(second, JobStatus.SUCCEEDED)
    assert ran(ask, job_id).seconds_running == pytest.approx(150, abs=20)


def test_the_time_after_a_lost_worker_was_last_seen_does_not_count(ask: Ask[Any], consumer: JobConsumer) -> None:
    """For example, the machine was switched off for two days."""
    job_id = accept(ask).id
    claim = claimed(consumer)
    consumer.renew(claim, 30)
    seen_at = time.time() - 2 * 86_400
    consumer.redis.hset(job_key(job_id), mapping={"running_since": f"{seen_at - 60:.6f}", "seen_at": f"{seen_at:.6f}"})
    consumer.redis.zadd(LEASES, {job_id: time.time() - 2 * 86_400 + 30})
    assert consumer.reconcile(1) == [(job_id, "queued")]
    job = ran(ask, job_id)
    assert job.seconds_running == pytest.approx(60, abs=1)
    assert job.running_since is None


def test_a_claim_whose_lease_was_never_renewed_counts_no_time(ask: Ask[Any], consumer: JobConsumer) -> None:
    job_id = accept(ask).id
    claimed(consumer)
    move_back(consumer, job_id, "running_since", 100)
    consumer.redis.zadd(LEASES, {job_id: 1})
    assert consumer.reconcile(1) == [(job_id, "queued")]
    assert ran(ask, job_id).seconds_running == 0


def test_a_record_of_an_earlier_version_has_no_such_time(ask: Ask[Any], consumer: JobConsumer, redis_url: str) -> None:
    job_id = accept(ask).id
    claim = claimed(consumer)
    with redis.Redis.from_url(redis_url) as client:
        client.hdel(job_key(job_id), "seconds_running", "running_since")
    consumer.finish(claim, JobStatus.FAILED, "no luck")
    ask(lambda jobs: jobs.resume(job_id))
    consumer.finish(claimed(consumer), JobStatus.SUCCEEDED)
    job = ran(ask, job_id)
    assert (job.status, job.seconds_running, job.running_since) == (JobStatus.SUCCEEDED, None, None)


def test_a_worker_of_an_earlier_version_leaves_no_running_time_behind(ask: Ask[Any], consumer: JobConsumer) -> None:
    """It ends the job without removing `running_since`."""
    job_id = accept(ask).id
    consumer.finish(claimed(consumer), JobStatus.FAILED, "no luck")
    move_back(consumer, job_id, "running_since", 86_400)
    assert ran(ask, job_id).running_since is None
    ask(lambda jobs: jobs.resume(job_id))
    consumer.finish(claimed(consumer), JobStatus.SUCCEEDED)
    seconds = ran(ask, job_id).seconds_running
    assert seconds is not None
    assert seconds < 3600
