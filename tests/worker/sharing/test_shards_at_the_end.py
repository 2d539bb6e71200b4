"""The end of a job leaves no shard, and faults cost only the help of other workers."""

import threading
from collections.abc import Callable
from pathlib import Path
from threading import Thread

import pytest
from kombu.exceptions import OperationalError

from benchmarks.records import ask_desk
from models.registry.removal import delete_run
from models.registry.storage.object_store import ObjectStorage
from models.synthesis.builder import pack_part
from models.synthesis.shards import Shards
from tests.conftest import RunningRedis
from tests.models.registry.test_removal import names_of
from tests.support.s3_endpoint import Endpoint
from tests.worker.conftest import cancel_during_run, keep_leases
from tests.worker.sharing.conftest import (
    ORDER,
    PARTS,
    Event,
    Messages,
    accept,
    check,
    names_of_shards,
    part_names,
    status,
)
from worker.celery_app import ShardMessage
from worker.handlers.shards import draw_shard
from worker.jobs.consumer import JobConsumer
from worker.jobs.keys import job_key
from worker.jobs.model import JobStatus
from worker.lifecycle import shutdown
from worker.runner import run_next_job
from worker.settings import WorkerSettings

# ----------------------------------------------------------------------------
# The end of the job.


@pytest.mark.parametrize("place", ["folder", "bucket"])
@pytest.mark.parametrize("end", ["success", "failure", "cancellation", "deletion", "next claim"])
def test_a_shard_that_is_written_after_the_end_of_the_job_leaves_no_file(
    settings: WorkerSettings,
    endpoint: Endpoint,
    when_owner_has_drawn: Callable[[int, Event], list[int]],
    monkeypatch: pytest.MonkeyPatch,
    end: str,
    place: str,
) -> None:
    """A worker begins to draw while the job runs, and writes when it has ended."""
    if place == "bucket":
        settings = settings.model_copy(update={"store": endpoint.address()})
    job_id, has_begun, has_ended, threads = accept(settings), threading.Event(), threading.Event(), list[Thread]()

    def pack_late(*arguments: object) -> bytes:
        has_begun.set()
        assert has_ended.wait(60)
        return pack_part(*arguments)  # type: ignore[arg-type]

    def send(message: ShardMessage) -> None:
        if message.number == 0:
            threads.append(Thread(target=draw_shard, args=(settings, message)))
            threads[0].start()
            assert has_begun.wait(60)

    monkeypatch.setattr("worker.handlers.shards.pack_part", pack_late)
    if end == "failure":
        when_owner_has_drawn(2, fail)
    elif end != "success":
        leases = keep_leases(monkeypatch)
        when_owner_has_drawn(2, lambda: cancel_during_run(settings, job_id, leases))
    run_next_job(settings, send)
    ended = {"success": JobStatus.SUCCEEDED, "failure": JobStatus.FAILED}.get(end, JobStatus.CANCELLED)
    assert status(settings, job_id) == ended
    if end == "deletion":
        delete(settings, job_id)
    if end == "next claim":
        ask_desk(settings.redis_url, lambda jobs: jobs.resume(job_id))
        claim = JobConsumer.connect(settings.redis_url).claim()
        assert claim
        settings.open_store().take(job_id, claim.fence)
    has_ended.set()
    threads[0].join()
    assert names_of_shards(settings, job_id) == set()
    if end == "deletion":
        assert names_of(settings.open_store(), job_id) == []


def fail() -> None:
    raise OSError("the disk of this machine is broken")


def delete(settings: WorkerSettings, job_id: str) -> None:
    token = ask_desk(settings.redis_url, lambda jobs: jobs.begin_deletion(job_id))
    delete_run(settings.open_store(), job_id, token)
    ask_desk(settings.redis_url, lambda jobs: jobs.end_deletion(job_id))


@pytest.mark.parametrize("end", ["cancellation", "shutdown"])
def test_parts_that_both_have_drawn_stay_for_the_next_claim(
    settings: WorkerSettings,
    alone: dict[str, str],
    messages: Messages,
    when_owner_has_drawn: Callable[[int, Event], list[int]],
    monkeypatch: pytest.MonkeyPatch,
    end: str,
) -> None:
    job_id = accept(settings)
    leases = keep_leases(monkeypatch)

    def stop() -> None:
        if end == "shutdown":
            shutdown._requested.set()
        else:
            cancel_during_run(settings, job_id, leases)

    when_owner_has_drawn(1, lambda: messages.draw(settings, 2))
    drawn = when_owner_has_drawn(2, stop)
    run_next_job(settings, messages)
    shutdown._requested.clear()
    assert status(settings, job_id) == ("queued" if end == "shutdown" else "cancelled")
    if end == "cancellation":
        assert names_of_shards(settings, job_id) == set()
        ask_desk(settings.redis_url, lambda jobs: jobs.resume(job_id))
    run_next_job(settings, messages)
    assert sorted(drawn) == sorted(part.first for part in ORDER.parts[2:])
    check(settings, job_id, alone, 2)
    messages.draw(settings)
    assert names_of_shards(settings, job_id) == set(), "messages of both claims that are read late do nothing"


def test_a_worker_that_shuts_down_draws_nothing(
    settings: WorkerSettings, alone: dict[str, str], stored: list[str], messages: Messages
) -> None:
    job_id = accept(settings)

    def send(message: ShardMessage) -> None:
        shutdown._requested.set()
        draw_shard(settings, message)
        shutdown._requested.clear()

    run_next_job(settings, send)
    assert stored == []
    check(settings, job_id, alone, 0)


# ----------------------------------------------------------------------------
# Faults of Redis and the store.


def test_a_worker_that_fails_costs_only_its_help(
    settings: WorkerSettings, alone: dict[str, str], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(*_: object) -> None:
        raise OSError("no room")

    job_id = accept(settings)

    def send(message: ShardMessage) -> None:
        with monkeypatch.context() as patch:
            patch.setattr(Shards, "write", refuse)
            draw_shard(settings, message)

    run_next_job(settings, send)
    assert f"part 0 of data set {job_id} is not drawn: no room" in caplog.text
    check(settings, job_id, alone, 0)


def test_an_order_of_a_newer_version_is_left_alone(
    settings: WorkerSettings, stored: list[str], messages: Messages, caplog: pytest.LogCaptureFixture
) -> None:
    job_id, consumer = accept(settings), JobConsumer.connect(settings.redis_url)

    def send(message: ShardMessage) -> None:
        order = consumer.redis.hget(job_key(job_id), "order")
        consumer.redis.hset(job_key(job_id), "order", '{"per_class": "many"}')
        draw_shard(settings, message)
        consumer.redis.hset(job_key(job_id), "order", str(order))

    run_next_job(settings, send)
    assert stored == []
    assert "Traceback" not in caplog.text


def test_a_redis_that_does_not_answer_costs_only_help(
    mortal_redis: RunningRedis, alone: dict[str, str], when_owner_has_drawn: Callable[[int, Event], list[int]]
) -> None:
    settings = WorkerSettings(redis_url=mortal_redis.url, device="cpu")
    job_id = accept(settings)

    def send(message: ShardMessage) -> None:
        raise OperationalError("Redis does not answer")

    when_owner_has_drawn(1, mortal_redis.kill)
    when_owner_has_drawn(3, mortal_redis.start)
    run_next_job(settings, send)
    check(settings, job_id, alone, 0)


def test_a_bucket_that_is_away_costs_only_help(
    settings: WorkerSettings, endpoint: Endpoint, alone: dict[str, str], stored: list[str], tmp_path: Path
) -> None:
    settings = settings.model_copy(update={"store": endpoint.address(), "store_seconds": 1.0})
    other = settings.model_copy(update={"home": tmp_path / "helper"})
    job_id = accept(settings)
    with endpoint.fault("refuse", "GET", "/part-"):
        run_next_job(settings, lambda message: draw_shard(other, message))
    assert stored == part_names()
    check(settings, job_id, alone, 0)


def test_workers_on_other_hosts_deliver_through_the_bucket(
    settings: WorkerSettings, endpoint: Endpoint, alone: dict[str, str], stored: list[str], tmp_path: Path
) -> None:
    """The next owner, on any host, finds their shards; they are deleted after the publication."""
    settings = settings.model_copy(update={"store": endpoint.address()})
    first, other, second = (settings.model_copy(update={"home": tmp_path / name}) for name in ("1", "2", "3"))
    job_id = accept(settings)

    def send(message: ShardMessage) -> None:
        draw_shard(other, message)
        if message.number == PARTS - 1:
            shutdown._requested.set()

    run_next_job(first, send)
    shutdown._requested.clear()
    assert status(settings, job_id) == JobStatus.QUEUED
    assert names_of_shards(settings, job_id) == set(stored) == set(part_names())
    run_next_job(second)
    check(settings, job_id, alone, PARTS)
    storage = settings.open_store().storage
    assert isinstance(storage, ObjectStorage)
    assert storage.names(job_id) == ["job.json"]
