"""A job's events, followed over HTTP while a worker writes them."""

import asyncio
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import httpx2
import pytest

from app.api import event_stream
from app.main import create_app
from app.settings import AppSettings
from models.records import Progress
from models.registry.store import CheckpointStore
from tests.conftest import RunningRedis
from tests.support.api_clients import local_client
from tests.support.serving import ServerEvent, following, serving, until
from tests.worker.jobs.test_client import epoch_record
from worker.jobs.consumer import Claim, JobConsumer
from worker.jobs.model import JobStatus

NOBODY = "20200101-000000-aaaaaa"


@pytest.fixture
def address(settings: AppSettings) -> Iterator[str]:
    with serving(settings) as address:
        yield address


def accept(address: str) -> str:
    job_id: str = httpx2.post(f"{address}/train").raise_for_status().json()["id"]
    return job_id


def claim(consumer: JobConsumer) -> Claim:
    claimed = consumer.claim()
    assert claimed is not None
    return claimed


def progress(batch: int) -> Progress:
    return Progress(epoch=1, epochs=2, batch=batch, batches=600, images_per_second=200.0, eta_seconds=9.0)


def ids_in_redis(consumer: JobConsumer, job_id: str) -> list[str]:
    client: Any = consumer.redis
    return [entry_id for entry_id, fields in client.xrange("acgan:events") if fields["job"] == job_id]


def waiting_readers(consumer: JobConsumer) -> int:
    """How many connections to Redis wait for the next event, because they have read all."""
    client: Any = consumer.redis
    return sum(each["cmd"] == "xread" and "b" in each["flags"] for each in client.client_list())


def follow_to_the_end(address: str, job_id: str, last_id: str | None = None) -> Iterator[ServerEvent]:
    """Reconnect, as browsers do, until the stream has ended for good."""
    while True:
        with following(address, job_id, last_id) as stream:
            came = False
            for result in stream:
                came, last_id = True, result.id
                yield result
        if not came:
            return


def test_the_whole_record_comes_first_and_then_the_workers_events(address: str, consumer: JobConsumer) -> None:
    job_id = accept(address)
    with following(address, job_id) as stream:
        first = next(stream)
        assert (first.kind, first.data) == ("job", httpx2.get(f"{address}/jobs/{job_id}").json())
        held = claim(consumer)
        assert next(stream)[1:] == ("status", {"status": "running"})
        consumer.report(held, progress(3))
        assert next(stream)[1:] == ("progress", progress(3).model_dump())
        consumer.add_epoch(held, epoch_record(1))
        kind, entry = next(stream)[1:]
        assert (kind, entry) == ("epoch", httpx2.get(f"{address}/jobs/{job_id}").json()["epochs"][0])
        consumer.set_trouble(held, "the disk is full")
        assert next(stream)[1:] == ("trouble", {"trouble": "the disk is full"})
        consumer.set_trouble(held, "")
        assert next(stream)[1:] == ("trouble", {"trouble": None})
        consumer.finish(held, JobStatus.SUCCEEDED)
        assert next(stream)[1:] == ("status", {"status": "succeeded"})
        assert list(stream) == []


def test_the_stream_of_an_ended_job_has_only_its_record(address: str, consumer: JobConsumer) -> None:
    job_id = accept(address)
    consumer.finish(claim(consumer), JobStatus.FAILED, "no luck")
    with following(address, job_id) as stream:
        result = list(stream)
    assert [(event.kind, event.data["error"]) for event in result] == [("job", "no luck")]
    answer = httpx2.get(f"{address}/jobs/{job_id}/events", headers={"Last-Event-ID": result[0].id})
    assert (answer.status_code, answer.content) == (204, b"")


def test_a_client_that_reconnects_gets_every_event_once(address: str, consumer: JobConsumer) -> None:
    job_id, other = accept(address), accept(address)
    held, beside = claim(consumer), claim(consumer)
    for batch in range(5):
        consumer.report(held, progress(batch))
        consumer.report(beside, progress(batch))
    consumer.finish(held, JobStatus.SUCCEEDED)
    ids = ids_in_redis(consumer, job_id)
    assert len(ids) == 8
    for number, last_id in enumerate(ids):
        assert [result.id for result in follow_to_the_end(address, job_id, last_id)] == ids[number + 1 :]
    with following(address, other, ids_in_redis(consumer, other)[-3]) as stream:
        assert [next(stream).data["batch"] for _ in range(2)] == [3, 4]


def test_a_client_that_connects_during_many_events_gets_every_event_once(address: str, consumer: JobConsumer) -> None:
    job_id = accept(address)
    held = claim(consumer)
    consumer.report(held, progress(0))
    enough = threading.Event()

    def work() -> None:
        batch = 0
        while not enough.is_set():
            batch += 1
            consumer.report(held, progress(batch))

    worker = threading.Thread(target=work)
    worker.start()
    last_id, reached = None, 0
    try:
        for turn in range(40):
            with following(address, job_id, last_id if turn % 2 else None) as stream:
                first = next(stream)
                if first.kind == "job":
                    reached = first.data["progress"]["batch"]
                else:
                    reached += 1
                    assert first.data["batch"] == reached
                result = [next(stream) for _ in range(50)]
            assert [event.data["batch"] for event in result] == [reached + 1 + i for i in range(50)]
            last_id, reached = result[-1].id, reached + 50
    finally:
        enough.set()
        worker.join()


@pytest.mark.parametrize("last_id", ["nonsense", "1-1", "-", "()"])
def test_a_client_that_was_away_too_long_gets_the_whole_record(address: str, last_id: str) -> None:
    job_id = accept(address)
    with following(address, job_id, last_id) as stream:
        assert next(stream).kind == "job"


@pytest.mark.parametrize("job_id", [NOBODY, "nonsense"])
def test_an_unknown_job_is_a_404_before_any_stream_starts(address: str, job_id: str) -> None:
    answer = httpx2.get(f"{address}/jobs/{job_id}/events")
    assert answer.status_code == 404
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert "GET /jobs" in answer.json()["detail"]


def test_the_number_of_streams_is_limited_and_a_closed_one_frees_its_slot(redis_url: str) -> None:
    with serving(AppSettings(redis_url=redis_url, event_streams=2)) as address:
        job_id = accept(address)
        with ExitStack() as others, following(address, job_id) as one:
            other = others.enter_context(following(address, job_id))
            assert {next(one).kind, next(other).kind} == {"job"}
            refused = httpx2.get(f"{address}/jobs/{job_id}/events")
            assert refused.status_code == 503
            assert int(refused.headers["Retry-After"]) > 0
            assert refused.headers["Content-Type"] == "application/problem+json"
            assert refused.json()["type"] == "/problems/too-many-streams"
            assert f"GET /jobs/{job_id}" in refused.json()["detail"]
            others.close()

            def has_room() -> bool:
                with httpx2.stream("GET", f"{address}/jobs/{job_id}/events") as answer:
                    return answer.status_code == 200

            until("a slot is free again", has_room)


def test_a_head_request_occupies_no_stream(redis_url: str) -> None:
    with serving(AppSettings(redis_url=redis_url, event_streams=1)) as address, httpx2.Client() as client:
        job_id = accept(address)

        def shown() -> bool:
            answer = client.head(f"{address}/jobs/{job_id}/events")
            assert client.get(f"{address}/livez").status_code == 200  # over the same connection
            return answer.status_code == 200 and answer.headers["Content-Type"].startswith("text/event-stream")

        for _ in range(3):
            until("the one slot is free", shown)


def test_one_reader_serves_many_followers(address: str, consumer: JobConsumer) -> None:
    job_id = accept(address)
    with ExitStack() as all_of_them:
        streams = [all_of_them.enter_context(following(address, job_id)) for _ in range(20)]
        assert {next(stream).kind for stream in streams} == {"job"}
        until("one reader waits", lambda: waiting_readers(consumer) == 1)
        held = claim(consumer)
        consumer.report(held, progress(1))
        consumer.finish(held, JobStatus.SUCCEEDED)
        result = {tuple(event.id for event in stream) for stream in streams}
        assert result == {tuple(ids_in_redis(consumer, job_id)[1:])}


def test_a_burst_of_events_of_another_job_disconnects_no_follower(address: str, consumer: JobConsumer) -> None:
    job_id = accept(address)
    client: Any = consumer.redis
    with following(address, job_id) as stream:
        next(stream)
        with client.pipeline(transaction=True) as burst:
            for _ in range(2000):
                burst.xadd("acgan:events", {"job": NOBODY, "kind": "progress", "data": "{}"})
            burst.execute()
        consumer.finish(claim(consumer), JobStatus.SUCCEEDED)
        assert [result.data for result in stream] == [{"status": "running"}, {"status": "succeeded"}]


PUSHED_OUT = """
redis.call('HSET', 'acgan:job:' .. ARGV[1], 'status', 'succeeded', 'ended_at', '1')
redis.call('XADD', 'acgan:events', '*', 'job', ARGV[1], 'kind', 'status', 'data', 'succeeded')
for _ = 1, 10500 do
  redis.call('XADD', 'acgan:events', 'MAXLEN', '~', 10000, '*', 'job', ARGV[2], 'kind', 'progress', 'data', '{}')
end
"""


def test_events_that_were_trimmed_before_they_were_read_come_from_the_record(
    address: str, consumer: JobConsumer
) -> None:
    job_id = accept(address)
    client: Any = consumer.redis
    with following(address, job_id) as stream:
        last = next(stream)
        client.eval(PUSHED_OUT, 0, job_id, NOBODY)
        assert list(stream) == []
    with following(address, job_id, last.id) as stream:
        assert [(result.kind, result.data["status"]) for result in stream] == [("job", "succeeded")]


def test_a_client_that_reconnects_after_a_thousand_events_of_others_gets_the_record(
    address: str, consumer: JobConsumer
) -> None:
    job_id, client = accept(address), consumer.redis
    with following(address, job_id) as stream:
        last = next(stream)
    with client.pipeline(transaction=True) as others:
        for _ in range(event_stream.LOOKED_THROUGH):
            others.xadd("acgan:events", {"job": NOBODY, "kind": "progress", "data": "{}"})
        others.execute()
    with following(address, job_id, last.id) as stream:
        assert next(stream).kind == "job"


def test_a_follower_that_is_too_slow_is_disconnected_and_can_reconnect(address: str, consumer: JobConsumer) -> None:
    job_id = accept(address)
    held = claim(consumer)
    small = [(socket.SOL_SOCKET, socket.SO_RCVBUF, 2**17)]
    with following(address, job_id, socket_options=small) as stream:
        seen = [next(stream)]
        for _ in range(600):
            consumer.set_trouble(held, 30_000 * "x")
        consumer.finish(held, JobStatus.SUCCEEDED)
        until("the service has read all events", lambda: waiting_readers(consumer) == 1)
        seen += stream
    assert seen[-1].kind == "trouble"
    seen += follow_to_the_end(address, job_id, seen[-1].id)
    ids = ids_in_redis(consumer, job_id)
    assert [result.id for result in seen] == ids[ids.index(seen[0].id) :]


def test_a_stream_ends_after_its_maximum_duration_and_can_be_reopened(
    address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(event_stream, "LIFE_SECONDS", 0.5)
    with following(address, accept(address)) as stream:
        assert [result.kind for result in stream] == ["job"]


def test_a_server_that_is_stopped_ends_its_streams_cleanly(settings: AppSettings) -> None:
    with ExitStack() as all_of_them:
        with serving(settings) as address:
            job_id = accept(address)
            streams = [all_of_them.enter_context(following(address, job_id)) for _ in range(3)]
            assert {next(stream).kind for stream in streams} == {"job"}
        assert [list(stream) for stream in streams] == [[], [], []]  # raises if the last chunk is missing


def test_a_redis_outage_is_logged_once(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(event_stream, "AGAIN_SECONDS", 0.05)
    with serving(AppSettings(redis_url="redis://127.0.0.1:9/0")):
        until("the outage is logged", lambda: bool(caplog.records))
        time.sleep(1)
    assert [record.name for record in caplog.records] == ["app.api.event_stream"]


def test_a_redis_outage_loses_no_event_of_a_follower(mortal_redis: RunningRedis) -> None:
    with serving(AppSettings(redis_url=mortal_redis.url)) as address:
        job_id = accept(address)
        for batch in range(3):
            with following(address, job_id) as stream:
                last = next(stream)
                mortal_redis.kill()
                assert list(stream) == []
            answer = httpx2.get(f"{address}/jobs/{job_id}/events")
            assert answer.status_code == 503
            assert int(answer.headers["Retry-After"]) > 0
            mortal_redis.start()
            with following(address, job_id, last.id) as stream:  # perhaps before the reader has reconnected
                consumer = JobConsumer.connect(mortal_redis.url)
                held = claim(consumer)
                consumer.report(held, progress(batch))
                assert next(stream).data == {"status": "running"}
                assert next(stream).data == progress(batch).model_dump()
                consumer.finish(held, JobStatus.QUEUED)
                assert next(stream).data == {"status": "queued"}
                consumer.close()


def test_a_service_shuts_down_even_if_its_reader_misses_the_first_cancellation(
    settings: AppSettings, store: CheckpointStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """redis-py sometimes loses a cancellation while it connects: seen on busy machines, once in hundreds of runs."""
    cancellations = 0

    async def read(_: event_stream.Events, _beat: object) -> None:
        nonlocal cancellations
        while cancellations < 3:
            try:
                await asyncio.sleep(3600)
            except asyncio.CancelledError:
                cancellations += 1

    monkeypatch.setattr(event_stream.Events, "read", read)
    with local_client(create_app(settings)) as client:
        assert client.get("/livez").status_code == 200
    assert cancellations == 3
