"""The reconciler's rounds, on a real Redis."""

import time

import pytest
import redis

from benchmarks.records import ask_desk
from models.config import TrainingConfig
from tests.conftest import RunningRedis
from tests.worker.conftest import until
from worker.jobs.client import Order
from worker.jobs.consumer import JobConsumer
from worker.jobs.keys import index_key, job_key, notifications_key
from worker.jobs.model import JobKind, JobStatus, RunsOn
from worker.lifecycle.lease import EXIT_CODE
from worker.reconciler import DEAF_ROUNDS, MISTAKE, Reconciler


class Parts:
    """A reconciler, and its effects on the rest of its worker."""

    def __init__(self, url: str) -> None:
        self.consumer = JobConsumer.connect(url)
        self.url = url
        self.idle = True
        self.ends: list[int] = []
        self.shut_down: list[int] = []
        self.reconciler = Reconciler(
            self.consumer, self.notify_workers, lambda: self.idle, 1.0, 10.0, "cpu", self.ends.append,
            shut_down=self.shut_down.append,
        )  # fmt: skip

    def notify_workers(self, runs_on: RunsOn) -> None:
        self.consumer.redis.lpush(notifications_key(runs_on), "knock")

    def accept(self) -> str:
        return ask_desk(self.url, lambda jobs: jobs.create(Order(TrainingConfig()))).id


@pytest.fixture
def parts(redis_url: str) -> Parts:
    return Parts(redis_url)


def test_it_notifies_workers_once_for_each_waiting_job(parts: Parts) -> None:
    for _ in range(3):
        parts.accept()
    parts.reconciler.once()
    assert parts.consumer.notifications() == 3
    parts.reconciler.once()
    assert parts.consumer.notifications() == 3


def test_it_sends_nothing_if_no_job_waits(parts: Parts) -> None:
    parts.reconciler.once()
    assert parts.consumer.notifications() == 0
    assert parts.ends == []


def test_an_idle_worker_that_receives_no_notifications_is_ended(parts: Parts) -> None:
    parts.accept()
    for _ in range(DEAF_ROUNDS):
        parts.reconciler.once()
    assert parts.ends == []
    parts.reconciler.once()
    assert parts.ends == [EXIT_CODE]


def test_a_busy_worker_is_not_ended(parts: Parts) -> None:
    parts.accept()
    parts.idle = False
    for _ in range(3 * DEAF_ROUNDS):
        parts.reconciler.once()
    assert parts.ends == []


def test_a_job_that_only_another_version_understands_ends_no_worker(parts: Parts) -> None:
    """The worker receives each notification and claims nothing. A job that it could claim counts again."""
    strange = parts.accept()
    parts.consumer.redis.hset(job_key(strange), "config", '{"recipe": "of a newer version"}')
    for _ in range(3 * DEAF_ROUNDS):
        parts.reconciler.once()
        parts.consumer.redis.delete(notifications_key("any"))
        assert parts.consumer.claim() is None
    assert parts.ends == []
    assert parts.consumer.redis.hget(job_key(strange), "status") == JobStatus.QUEUED
    parts.accept()
    for _ in range(DEAF_ROUNDS + 1):
        parts.reconciler.once()
    assert parts.ends == [EXIT_CODE]


def test_a_worker_is_not_ended_while_others_take_jobs(parts: Parts) -> None:
    """With many jobs and workers, every notification may reach another worker."""
    for _ in range(3 * DEAF_ROUNDS + 1):
        parts.accept()
    for _ in range(3 * DEAF_ROUNDS):
        parts.consumer.claim()
        parts.reconciler.once()
    assert parts.ends == []


def test_a_redis_outage_ends_no_worker(parts: Parts) -> None:
    parts.accept()
    parts.reconciler.consumer = JobConsumer(redis.Redis(port=9, socket_timeout=0.2))
    parts.reconciler.seconds = 0.01
    parts.reconciler.start()
    parts.reconciler.join(0.5)
    parts.reconciler.stop()
    assert parts.ends == []
    assert parts.reconciler.deaf_rounds == 0


def test_a_redis_that_may_delete_jobs_from_now_on_ends_the_worker(
    mortal_redis: RunningRedis, caplog: pytest.LogCaptureFixture
) -> None:
    parts = Parts(mortal_redis.url)
    parts.reconciler.seconds = 0.02
    rounds: list[RunsOn] = []
    parts.reconciler.notify_workers = rounds.append  # no message is queued, so that each round sends one
    parts.accept()
    parts.idle = False
    parts.reconciler.start()
    until(lambda: len(rounds) > 3)
    assert parts.shut_down == []
    parts.consumer.redis.config_set("maxmemory-policy", "allkeys-lfu")
    parts.reconciler.join(60)
    assert (parts.shut_down, parts.ends) == ([MISTAKE], [])
    assert "Redis may delete jobs" in caplog.text
    assert "set maxmemory-policy to noeviction" in caplog.text


def test_lists_are_rebuilt_in_a_redis_that_is_new_to_it(
    mortal_redis: RunningRedis, caplog: pytest.LogCaptureFixture
) -> None:
    """At the start, and after an outage of Redis, which another may have replaced: no other round rebuilds them."""
    parts, queued = Parts(mortal_redis.url), index_key(JobKind.TRAINING, JobStatus.QUEUED)
    parts.accept()
    parts.consumer.redis.delete(queued)
    parts.idle, parts.reconciler.seconds = False, 0.02
    parts.reconciler.start()
    until(lambda: parts.consumer.redis.exists(queued) == 1)
    until(lambda: "have been rebuilt" in caplog.text)
    parts.consumer.redis.delete(queued)
    time.sleep(0.5)
    assert parts.consumer.redis.exists(queued) == 0
    mortal_redis.kill()
    until(lambda: "Redis does not answer" in caplog.text)
    mortal_redis.start()
    until(lambda: parts.consumer.redis.exists(queued) == 1)
    parts.reconciler.stop()
    parts.reconciler.join()
