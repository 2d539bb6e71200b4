"""A worker last seen in the future: a clock was ahead, so it is unknown whether the worker still runs."""

import time
from datetime import UTC, datetime
from typing import Any

import pytest

from tests.support.job_lists import newest
from tests.worker.conftest import Ask, accept
from tests.worker.jobs.test_operations import take
from worker.jobs.consumer import JobConsumer
from worker.jobs.keys import job_key


@pytest.mark.parametrize("ahead", [60, 3600, 10**7])
def test_a_worker_that_was_seen_in_the_future_does_not_hide_its_silence(
    ask: Ask[Any], consumer: JobConsumer, ahead: int
) -> None:
    job_id = accept(ask).id
    take(consumer)
    consumer.redis.hset(job_key(job_id), "seen_at", time.time() + ahead)
    job = ask(lambda jobs: jobs.get(job_id))
    assert "its worker does not respond" in str(job.trouble)
    assert job.last_seen_at is not None
    assert job.last_seen_at <= datetime.now(UTC)
    listed = ask(lambda jobs: newest(jobs, 10))[0]
    assert listed.trouble == job.trouble
