"""The Python client, over the real service."""

import asyncio
import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from typing import Any

import httpx2
import numpy as np
import pytest
from pydantic import SecretStr

from acgan_client import (
    AsyncClient,
    Change,
    Client,
    JobStatus,
    NotUnderstood,
    Refused,
    TrainingConfig,
    Unavailable,
    Unreachable,
)
from acgan_client.problems import PROBLEMS
from app.schemas.jobs import TrainingOrder
from app.security.api_keys import make_key
from app.settings import AppSettings
from models.registry.store import CheckpointStore
from tests.app.api.test_event_stream import NOBODY, claim, progress
from tests.app.conftest import fresh_weights
from tests.conftest import RunningRedis
from tests.models.registry.test_store import NEW, OLD
from tests.support.ports import free_port
from tests.support.serving import serving
from tests.worker.jobs.test_client import epoch_record
from worker.jobs import model
from worker.jobs.consumer import Claim, JobConsumer


@pytest.fixture
def address(settings: AppSettings, store: CheckpointStore) -> Iterator[str]:
    with serving(settings) as address:
        yield address


@pytest.fixture
def service_client(address: str) -> Iterator[Client]:
    with Client(address) as client:
        yield client


def work(consumer: JobConsumer, epochs: int, end: model.JobStatus = model.JobStatus.SUCCEEDED, error: str = "") -> None:
    """Work as a worker does, and let followers see each step."""
    held = claim(consumer)
    for epoch in range(1, epochs + 1):
        consumer.report(held, progress(epoch))
        consumer.add_epoch(held, epoch_record(epoch))
        time.sleep(0.05)
    consumer.finish(held, end, error)


def test_a_run_is_started_found_controlled_and_read(service_client: Client) -> None:
    job = service_client.train(epochs=2, dataset="printed", name="mine")
    assert (job.status, job.config.epochs, job.config.name) == (JobStatus.QUEUED, 2, "mine")
    assert service_client.job(job.id) == job
    urgent = service_client.train(TrainingOrder(epochs=3, priority=5))
    assert (urgent.priority, urgent.config) == (5, TrainingConfig(epochs=3))
    assert [found.id for found in service_client.jobs(limit=1).jobs] == [urgent.id]
    assert [found.id for found in service_client.jobs(before=urgent.id).jobs] == [job.id]
    assert service_client.move_to_front(job.id).id == job.id
    assert service_client.cancel(job.id).status == JobStatus.CANCELLED
    assert [found.id for found in service_client.jobs(status=JobStatus.CANCELLED).jobs] == [job.id]
    assert service_client.resume(job.id).status == JobStatus.QUEUED
    assert service_client.retry(job.id).retry_of == job.id


def test_the_same_key_starts_no_second_run(service_client: Client) -> None:
    first, second = (service_client.train(epochs=2, idempotency_key="tuesday") for _ in range(2))
    assert first.id == second.id
    assert service_client.train(epochs=2).id != first.id


def test_digits_come_as_files_and_as_arrays_and_can_be_drawn_again(service_client: Client) -> None:
    drawn = service_client.digits(7, n=4, scale=2)
    assert (drawn.media_type, drawn.file[:4]) == ("image/png", b"\x89PNG")
    again = service_client.digits(7, n=4, scale=2, seed=drawn.seed, index=drawn.index, checkpoint=drawn.checkpoint)
    assert again == drawn
    digits = service_client.pixels(7, n=4, seed=3)
    assert digits.shape == (4, 28, 28)
    assert digits.dtype == np.uint8
    assert service_client.pixels(n=2, seed=3).shape == (2, 10, 28, 28)
    assert (service_client.pixels(n=1, seed=3)[0, 7] == digits[0]).all()


def test_the_served_checkpoint_is_read_and_chosen(service_client: Client) -> None:
    ids = [each.id for each in service_client.checkpoints().checkpoints]
    assert ids == [f"{NEW}-e001", f"{OLD}-e001"]
    assert service_client.checkpoint(ids[1]).job == OLD
    assert service_client.serve("pinned", ids[1]).checkpoint == ids[1]
    assert service_client.serve("newest").policy == "newest"
    assert service_client.serving().policy == "newest"
    assert service_client.readiness().ready
    assert service_client.samples(NEW, 1).file[:4] == b"\x89PNG"


def test_a_run_is_followed_to_its_end(service_client: Client, consumer: JobConsumer) -> None:
    job = service_client.train(epochs=3)
    worker = threading.Thread(target=work, args=(consumer, 3))
    changes: list[Change] = []
    for change in service_client.follow(job.id):
        if not changes:
            worker.start()
        changes.append(change)
    worker.join()
    assert changes[0].job == job
    assert changes[-1].job == service_client.job(job.id)
    assert changes[-1].job.status == JobStatus.SUCCEEDED
    assert [change.epoch.epoch for change in changes if change.epoch] == [1, 2, 3]
    assert [change.epoch for change in changes if change.epoch] == changes[-1].job.epochs
    reported = [c.job.progress.model_dump() for c in changes if c.kind == "progress" and c.job.progress]
    assert reported == [progress(batch).model_dump() for batch in (1, 2, 3)]
    assert [change.job.status for change in changes if change.kind == "status"] == ["running", "succeeded"]
    history = service_client.history(job.id)
    assert (history.job, history.config) == (job.id, job.config)
    assert [epoch.epoch for epoch in history.epochs] == [1, 2, 3]
    header, *lines = service_client.history_csv(job.id).splitlines()
    assert header.startswith("epoch,seconds,generator_train_loss,generator_train_generation_loss")
    assert [line.split(",")[0] for line in lines] == ["1", "2", "3"]


def test_following_an_ended_run_yields_all_its_events(service_client: Client, consumer: JobConsumer) -> None:
    job = service_client.train(epochs=2)
    work(consumer, 2, model.JobStatus.FAILED, "no luck")
    changes = list(service_client.follow(job.id))
    assert [change.kind for change in changes] == ["job", "epoch", "epoch", "job"]
    assert changes[-1].job.error == "no luck"


def test_following_continues_through_a_restart_of_the_service(settings: AppSettings, consumer: JobConsumer) -> None:
    port, seen = free_port(), threading.Event()
    changes: list[Change] = []

    def follow(address: str, job_id: str) -> None:
        with Client(address) as client:
            for change in client.follow(job_id):
                changes.append(change)
                if change.epoch:
                    seen.set()

    with serving(settings, port) as address:
        with Client(address) as client:
            job_id = client.train(epochs=2).id
        held = claim(consumer)
        follower = threading.Thread(target=follow, args=(address, job_id))
        follower.start()
        consumer.add_epoch(held, epoch_record(1))
        assert seen.wait(60)
    consumer.add_epoch(held, epoch_record(2))  # no service runs that could send events
    consumer.report(held, progress(7))
    with serving(settings, port):
        consumer.finish(held, model.JobStatus.SUCCEEDED)
        follower.join(60)
    assert not follower.is_alive()
    assert [change.epoch.epoch for change in changes if change.epoch] == [1, 2]
    assert changes[-1].job.status == JobStatus.SUCCEEDED


def test_following_continues_through_a_loss_of_redis(mortal_redis: RunningRedis) -> None:
    with serving(AppSettings(redis_url=mortal_redis.url)) as address, Client(address) as client:
        job_id = client.train(epochs=2).id
        consumer = JobConsumer.connect(mortal_redis.url)
        held = claim(consumer)
        follower = client.follow(job_id)
        assert next(follower).job.status == JobStatus.RUNNING
        mortal_redis.kill()
        later = threading.Thread(target=return_and_work, args=(mortal_redis, held))
        later.start()
        changes = list(follower)
        later.join()
        consumer.close()
    assert [change.epoch.epoch for change in changes if change.epoch] == [1]
    assert changes[-1].job.status == JobStatus.SUCCEEDED


def return_and_work(away: RunningRedis, held: Claim) -> None:
    """Start Redis after a while, and work when it answers and the service has had time to reconnect."""
    time.sleep(2)
    away.start()
    time.sleep(2)
    consumer = JobConsumer.connect(away.url)
    consumer.add_epoch(held, epoch_record(1))
    consumer.finish(held, model.JobStatus.SUCCEEDED)
    consumer.close()


def test_a_service_that_stays_away_is_reported(settings: AppSettings) -> None:
    port = free_port()
    with Client(f"http://127.0.0.1:{port}", patience_seconds=1) as client:
        with serving(settings, port):
            job_id = client.train().id
            follower = client.follow(job_id)
            assert next(follower).job.id == job_id
        began = time.monotonic()
        with pytest.raises(Unreachable, match="nothing answers at"):
            list(follower)
    assert 0.9 < time.monotonic() - began < 10


def test_every_call_has_an_async_form(address: str, consumer: JobConsumer) -> None:
    async def ask() -> None:
        async with AsyncClient(address) as client:
            job = await client.train(epochs=2)
            assert (await client.jobs()).jobs == [await client.job(job.id)]
            worker = asyncio.create_task(asyncio.to_thread(work, consumer, 2))
            changes = [change async for change in client.follow(job.id)]
            await worker
            assert [change.epoch.epoch for change in changes if change.epoch] == [1, 2]
            assert changes[-1].job == await client.job(job.id)
            assert len((await client.history(job.id)).epochs) == 2
            assert (await client.history_csv(job.id)).count("\r\n") == 3
            again = await client.retry(job.id)
            assert (await client.move_to_front(again.id)).id == again.id
            assert (await client.cancel(again.id)).status == JobStatus.CANCELLED
            assert (await client.resume(again.id)).status == JobStatus.QUEUED
            assert (await client.pixels(7, n=3, seed=1)).shape == (3, 28, 28)
            assert (await client.digits(7, seed=1)).seed == 1
            newest = (await client.checkpoints()).checkpoints[0]
            assert await client.checkpoint(newest.id) == newest
            imported = await client.import_checkpoint(fresh_weights(7))
            assert (await client.import_checkpoint(fresh_weights(7))).id == imported.id
            assert (await client.serve("pinned", newest.id)).policy == "pinned"
            assert (await client.serving()).serving == newest.id
            assert (await client.readiness()).ready
            assert (await client.samples(NEW, 1)).file[:4] == b"\x89PNG"
            with pytest.raises(Refused):
                await client.job(NOBODY)
            with pytest.raises(Refused, match="no job"):
                _ = [change async for change in client.follow(NOBODY)]

    asyncio.run(ask())


def test_both_clients_offer_the_same_calls() -> None:
    calls = [{name for name in vars(kind) if not name.startswith("_")} for kind in (Client, AsyncClient)]
    assert calls[0] == calls[1]


# ----------------------------------------------------------------------------
# Errors.


def test_an_error_carries_the_services_own_sentence(service_client: Client) -> None:
    with pytest.raises(Refused, match=r"body\.epochs: should be at least 1, not 0") as refused:
        service_client.train(epochs=0)
    assert refused.value.status == 422
    assert [mistake["field"] for mistake in refused.value.mistakes] == ["body.epochs"]
    with pytest.raises(Refused, match="GET /jobs") as refused:
        next(service_client.follow(NOBODY))
    assert refused.value.status == 404
    assert (refused.value.code, refused.value.hint) == ("job-not-found", "see GET /jobs.")
    with pytest.raises(PROBLEMS["job-not-found"], match="ids look like"):
        service_client.job("nonsense")


def test_a_key_is_sent(redis_url: str) -> None:
    key, entry = make_key("ana")
    with serving(AppSettings(redis_url=redis_url, api_keys=SecretStr(str(entry)))) as address:
        with Client(address) as client, pytest.raises(Refused, match="needs a key") as refused:
            client.train()
        assert refused.value.status == 401
        with Client(address, key) as client:
            assert client.train().status == JobStatus.QUEUED


def test_an_overloaded_service_says_when_to_retry(redis_url: str) -> None:
    with serving(AppSettings(redis_url=redis_url, queue_limit=1)) as address, Client(address) as client:
        client.train()
        with pytest.raises(Unavailable) as unavailable:
            client.train()
    assert type(unavailable.value) is PROBLEMS["queue-full"]
    assert (unavailable.value.status, unavailable.value.retry_after) == (429, 60)


@contextmanager
def answering(*answers: bytes) -> Iterator[tuple[str, list[bytes]]]:
    """A server that answers each connection with the given bytes, and closes it. Yields its address."""
    received: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer() -> None:
            for each in answers:
                connection, _ = server.accept()
                with connection:
                    received.append(connection.recv(65536))
                    connection.sendall(each)

        thread = threading.Thread(target=answer)
        thread.start()
        yield f"http://127.0.0.1:{server.getsockname()[1]}", received
        thread.join(60)


def http(body: bytes, status: str = "200 OK", kind: str = "application/json") -> bytes:
    head = f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    return head.encode() + body


@pytest.mark.parametrize(
    "answer", [http(b"<h1>It works!</h1>", kind="text/html"), http(b"gone", "500 No"), http(b"[]", "404 No")]
)
def test_another_server_is_reported_as_no_acgan_service(answer: bytes) -> None:
    with answering(answer) as (address, _), pytest.raises(NotUnderstood, match=r"does not understand|but not like"):
        Client(address).jobs()


@pytest.mark.parametrize("url", ["ftp://somewhere", "http://", "http://a b"])
def test_an_invalid_address_is_reported(url: str) -> None:
    with pytest.raises((NotUnderstood, Unreachable)):
        Client(url).jobs()


def test_a_request_whose_response_was_lost_is_retried_and_starts_no_second_run(service_client: Client) -> None:
    job = httpx2.get(f"{service_client.url}/jobs/{service_client.train().id}").content
    with answering(b"", http(job, "202 Accepted")) as (address, received):
        assert Client(address).train().status == JobStatus.QUEUED
    keys = [
        line for request in received for line in request.split(b"\r\n") if line.lower().startswith(b"idempotency-key")
    ]
    assert len(keys) == 2
    assert all(one == other for one, other in pairwise(keys))


def test_a_request_that_is_not_idempotent_is_not_retried() -> None:
    with answering(b"") as (address, received), pytest.raises(Unreachable, match="was lost"):
        Client(address).retry(NOBODY)
    assert len(received) == 1


def test_fields_of_a_newer_service_are_accepted(service_client: Client) -> None:
    result: dict[str, Any] = httpx2.get(f"{service_client.url}/jobs/{service_client.train().id}").json()
    result["mood"] = "good"
    result["config"]["moustache"] = 1
    with answering(http(json.dumps(result).encode())) as (address, _):
        job = Client(address).job(NOBODY)
    assert (job.id, job.model_extra, job.config.model_extra) == (result["id"], {"mood": "good"}, {"moustache": 1})
