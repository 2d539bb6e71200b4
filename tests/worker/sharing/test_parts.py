"""Which worker draws which part: the table of the parts of a data set, on a real Redis."""

import logging
import time

import pytest

from benchmarks.records import ask_desk
from models.config import TrainingConfig
from models.version import code_version
from tests.worker.sharing.conftest import ORDER, TAKES, accept, helper
from worker.handlers.sharing import Shared, Sharing
from worker.jobs.client import Order
from worker.jobs.consumer import Claim, JobConsumer
from worker.jobs.keys import HELPING, job_key, parts_key
from worker.jobs.model import JobStatus
from worker.settings import WorkerSettings


@pytest.fixture
def claim(settings: WorkerSettings, consumer: JobConsumer) -> Claim:
    accept(settings)
    claim = consumer.claim()
    assert claim
    return claim


def test_parts_are_taken_in_order_and_again_when_their_time_is_over(claim: Claim, consumer: JobConsumer) -> None:
    sharing, shared = Sharing(consumer.redis), Shared.of(claim, code_version())
    assert sharing.find() is None
    assert sharing.welcome(shared, ["b", "a", "c"])
    assert sharing.find() == shared
    assert shared.read_order() == ORDER
    assert [sharing.take(shared, seconds) for seconds in (60, 0.05, 60)] == ["b", "a", "c"]
    time.sleep(0.1)
    assert [sharing.take(shared, 60), sharing.take(shared, 60)] == ["a", None]
    assert sharing.find() is None
    assert sharing.hand_over(shared, "a", "cpu")
    assert sharing.hand_over(shared, "a", "cpu"), "late: by the worker that took it first"
    sharing.give_back(shared, "a")
    sharing.give_back(shared, "c")
    assert sharing.missing(shared) == ["c", "b"]
    sharing.done(shared, "c")
    assert sharing.missing(shared) == ["b"]
    assert sharing.helpers(claim.job.id) == {"cpu": 1}


def test_only_workers_that_could_have_taken_the_job_help(settings: WorkerSettings, consumer: JobConsumer) -> None:
    ask_desk(settings.redis_url, lambda jobs: jobs.create(Order(TrainingConfig(), runs_on="gpu", dataset=ORDER)))
    claim = consumer.claim(takes=("any", "gpu"))
    assert claim
    sharing, shared = Sharing(consumer.redis), Shared.of(claim, code_version())
    assert sharing.welcome(shared, ["a", "b"])
    assert sharing.find(TAKES) is None
    assert helper(settings).help() is False
    assert sharing.find(("any", "gpu")) == shared


@pytest.mark.parametrize("fate", ["lost", "cancelled", "ended"])
def test_a_job_that_no_longer_runs_gets_no_help(claim: Claim, consumer: JobConsumer, fate: str) -> None:
    sharing, shared = Sharing(consumer.redis), Shared.of(claim, code_version())
    assert sharing.welcome(shared, ["a", "b"])
    assert sharing.take(shared, 60) == "a"
    match fate:
        case "lost":
            consumer.redis.hset(job_key(claim.job.id), "fence", claim.fence + 1)
        case "cancelled":
            consumer.redis.hset(job_key(claim.job.id), "status", JobStatus.CANCELLING)
        case "ended":
            consumer.finish(claim, JobStatus.FAILED, "trouble")
    assert not sharing.hand_over(shared, "a", "cpu")
    assert sharing.take(shared, 60) is None
    assert sharing.find() is None
    assert consumer.redis.exists(HELPING, parts_key(claim.job.id)) == 0, "the table is deleted"
    assert not sharing.welcome(shared, ["a", "b"])


def test_a_late_owner_does_not_end_the_help_for_the_next_one(claim: Claim, consumer: JobConsumer) -> None:
    sharing, first = Sharing(consumer.redis), Shared.of(claim, code_version())
    assert sharing.welcome(first, ["a", "b", "c"])
    consumer.redis.hset(job_key(claim.job.id), "fence", claim.fence + 1)
    second = first._replace(fence=claim.fence + 1)
    assert sharing.welcome(second, ["b", "c"])
    sharing.decline(first)
    assert sharing.find() == second
    assert sharing.missing(second) == ["b", "c"]
    sharing.decline(second)
    assert sharing.find() is None


def test_an_unreadable_order_is_logged_as_a_sentence(
    settings: WorkerSettings, claim: Claim, consumer: JobConsumer, caplog: pytest.LogCaptureFixture
) -> None:
    """An order of a newer version has fields that this version does not know."""
    sharing, shared = Sharing(consumer.redis), Shared.of(claim, code_version())
    consumer.redis.hset(job_key(claim.job.id), "order", '{"colour": "red"}')
    assert sharing.welcome(shared, ["a"])
    with caplog.at_level(logging.WARNING):
        assert helper(settings).help() is False
    assert "stops helping with a data set" in caplog.text
    assert "Traceback" not in caplog.text
