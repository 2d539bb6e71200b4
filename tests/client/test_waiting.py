"""Waiting, pages, deletion, time limits and the environment, over the real service."""

import asyncio
import json
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from acgan_client import (
    AsyncClient,
    Client,
    ClientError,
    Dataset,
    JobFailed,
    JobStatus,
    NotFound,
    NotUnderstood,
    Unavailable,
    Unreachable,
    WaitTimeout,
)
from acgan_client.problems import PROBLEMS
from app.settings import AppSettings
from models.registry.store import CheckpointStore
from tests.app.api.test_event_stream import claim
from tests.client.test_client import work
from tests.models.registry.test_store import NEW, OLD
from tests.support.hostile_server import JOB_ID, as_json, hostile, http, job
from tests.support.serving import serving
from worker.jobs import model
from worker.jobs.consumer import LOST, JobConsumer
from worker.jobs.keys import LEASES


@pytest.fixture
def address(settings: AppSettings, store: CheckpointStore) -> Iterator[str]:
    with serving(settings) as address:
        yield address


@pytest.fixture
def service(address: str) -> Iterator[Client]:
    with Client(address) as client:
        yield client


# ----------------------------------------------------------------------------
# Waiting.


def test_wait_returns_the_final_record(service: Client, consumer: JobConsumer) -> None:
    accepted = service.train(epochs=2)
    worker = threading.Thread(target=work, args=(consumer, 2))
    worker.start()
    ended = service.wait(accepted)
    worker.join()
    assert (ended.status, ended.ended, ended.checkpoint) == (JobStatus.SUCCEEDED, True, ended.epochs[-1].checkpoint)
    assert service.wait(accepted.id) == ended


def test_wait_raises_for_a_job_that_failed_unless_it_need_not_succeed(service: Client, consumer: JobConsumer) -> None:
    failing = service.train(epochs=1)
    work(consumer, 1, model.JobStatus.FAILED, "no luck")
    with pytest.raises(JobFailed, match="is failed: no luck") as failed:
        service.wait(failing)
    assert failed.value.job.id == failing.id
    assert service.wait(failing, check=False).error == "no luck"


def test_wait_for_a_data_set_returns_the_data_set(service: Client) -> None:
    ordered = service.order(per_class=1, test_per_class=1)
    service.cancel(ordered)
    cancelled = service.wait(ordered, check=False)
    assert (type(cancelled), cancelled.status) == (Dataset, JobStatus.CANCELLED)


LIMIT = 3.0  # seconds: a slow machine has read the status of the job by then


def test_wait_ends_after_its_time_limit(service: Client, address: str) -> None:
    async def wait(job_id: str) -> None:
        async with AsyncClient(address) as client:
            await client.wait(job_id, timeout_seconds=LIMIT)

    waiting = service.train()  # no worker runs it: without the limit, the wait does not end
    for way in (lambda: service.wait(waiting, timeout_seconds=LIMIT), lambda: asyncio.run(wait(waiting.id))):
        with pytest.raises(WaitTimeout, match="its status is queued") as late:
            way()
        assert isinstance(late.value, TimeoutError)
    assert service.job(waiting).status == JobStatus.QUEUED


def test_wait_reports_a_service_that_stays_away(settings: AppSettings) -> None:
    with serving(settings) as address:
        client = Client(address, patience_seconds=0.5)
        accepted = client.train()
    with client, pytest.raises(Unreachable, match="nothing answers"):
        client.wait(accepted)


# ----------------------------------------------------------------------------
# Following.


def test_followers_learn_why_a_job_waits_again(service: Client, consumer: JobConsumer) -> None:
    """Its worker was lost. The reason comes with the new status, and is over when the job ends."""
    consumer.seen("cpu", 3600)
    accepted, seen = service.train(epochs=2), list[tuple[str, str, str | None]]()
    for change in service.follow(accepted):
        seen.append((change.kind, change.job.status.value, change.job.trouble))
        if len(seen) == 1:
            consumer.renew(claim(consumer), 30)
            consumer.redis.zadd(LEASES, {accepted.id: 1.0})
            assert consumer.reconcile(10) == [(accepted.id, "queued")]
            assert service.job(accepted).trouble == LOST
        elif seen[-1][:2] == ("status", "queued"):
            service.cancel(accepted)
    again = [("status", "queued", None), ("trouble", "queued", LOST), ("trouble", "queued", None)]
    ended = [("status", "cancelled", None), ("job", "cancelled", None)]
    assert seen == [("job", "queued", None), ("status", "running", None), *again, *ended]


# ----------------------------------------------------------------------------
# Pages.


def test_iterators_read_page_after_page(service: Client, address: str) -> None:
    ids = [service.train(epochs=2).id for _ in range(5)]
    orders = [service.order(per_class=1, test_per_class=1, seed=seed).id for seed in range(3)]
    service.cancel(ids[0])
    assert [job.id for job in service.iter_jobs(page_size=2)] == [*reversed(ids)]
    assert [job.id for job in service.iter_jobs(status="cancelled", page_size=2)] == ids[:1]
    assert [dataset.id for dataset in service.iter_datasets(page_size=2)] == [*reversed(orders)]
    assert [checkpoint.id for checkpoint in service.iter_checkpoints()] == [f"{NEW}-e001", f"{OLD}-e001"]

    async def all_jobs() -> list[str]:
        async with AsyncClient(address) as client:
            return [job.id async for job in client.iter_jobs(page_size=3)]

    assert asyncio.run(all_jobs()) == [*reversed(ids)]


def test_each_entry_of_an_iteration_can_be_deleted(service: Client, store: CheckpointStore) -> None:
    for _ in range(5):
        service.cancel(service.train(epochs=2))
    for each in service.iter_jobs(page_size=2):
        service.delete_job(each.id)
    assert service.jobs().jobs == []
    orders = [service.cancel(service.order(per_class=1, test_per_class=1, seed=seed)).id for seed in range(3)]
    found = list[str]()
    for dataset in service.iter_datasets(page_size=1):
        service.delete_job(dataset.id)
        found.append(dataset.id)
    assert found == orders[::-1]


def test_an_iteration_goes_on_although_all_jobs_of_a_page_are_deleted(service: Client, store: CheckpointStore) -> None:
    lists: list[tuple[Callable[[], Any], Callable[[], Iterator[Any]]]] = [
        (lambda: service.train(epochs=2), lambda: service.iter_jobs(page_size=2)),
        (lambda: service.order(per_class=1, test_per_class=1), lambda: service.iter_datasets(page_size=2)),
        (lambda: service.evaluate(), lambda: service.iter_evaluations(page_size=2)),
    ]
    for order, iterate in lists:
        ids = [service.cancel(order()).id for _ in range(4)]
        found = [next(entries := iterate()).id]
        for job_id in ids[2:]:
            service.delete_job(job_id)
        assert [*found, *(entry.id for entry in entries)] == ids[::-1]


def test_pages_go_on_where_the_last_one_ended_although_jobs_end_in_between(service: Client) -> None:
    """The order `active` has open jobs first: the last one of a page moves when it ends."""
    ids = [service.train(epochs=2).id for _ in range(5)]
    found = list[str]()
    for each in service.iter_jobs(page_size=2, sort="active"):
        found.append(each.id)
        if len(found) == 1:
            service.cancel(ids[3])  # the last of the first page, which is among the ended jobs from now on
    assert found[:5] == ids[::-1]


@pytest.mark.parametrize("ways", ["wait", "follow"])
@pytest.mark.parametrize("status", ["502 Bad Gateway", "503 Service Unavailable", "504 Gateway Timeout"])
def test_a_proxy_whose_service_restarts_is_waited_for(status: str, ways: str) -> None:
    refused = iter([http(b"<h1>gone</h1>", status, "text/html")] * 2)
    event = f"id: 1-1\nevent: job\ndata: {json.dumps(job())}\n\n".encode()
    answers = {
        f"/jobs/{JOB_ID}": lambda: next(refused, as_json(job())),
        f"/jobs/{JOB_ID}/events": lambda: next(refused, http(event, "200 OK", "text/event-stream")),
    }
    with hostile(answers) as server, Client(server.url) as client:
        ended = client.wait(JOB_ID) if ways == "wait" else list(client.follow(JOB_ID))[-1].job
    assert ended.status is JobStatus.SUCCEEDED


def test_a_proxy_without_its_service_is_reported_as_unavailable() -> None:
    says = "answers 502, but not like an acgan service: perhaps it restarts"
    with (
        hostile({"/jobs": http(b"gone", "502 Bad Gateway")}) as server,
        Client(server.url) as client,
        pytest.raises(Unavailable, match=says) as found,
    ):
        client.jobs()
    assert (found.value.status, found.value.code) == (502, "unavailable")


@pytest.mark.parametrize("jobs", [[], [job()]])
def test_pages_that_lead_nowhere_end(jobs: list[object]) -> None:
    with hostile({"/jobs": as_json({"jobs": jobs, "next": "/jobs?before=x"})}) as server, Client(server.url) as client:
        with pytest.raises(NotUnderstood, match="leads to itself"):
            list(client.iter_jobs())
        assert len(server.requests) <= 2


# ----------------------------------------------------------------------------
# Deletion.


def test_jobs_checkpoints_and_data_sets_are_deleted(service: Client) -> None:
    ended = service.cancel(service.train())
    service.delete_job(ended)
    with pytest.raises(NotFound):
        service.job(ended)
    service.delete_checkpoint(service.checkpoint(f"{OLD}-e001"))
    assert [each.id for each in service.checkpoints().checkpoints] == [f"{NEW}-e001"]
    ordered = service.order(per_class=1, test_per_class=1)
    service.cancel(ordered)
    service.delete_dataset(ordered)
    assert service.dataset(ordered).files == {}


# ----------------------------------------------------------------------------
# Time limits, and newer services.


def slow() -> Iterator[bytes]:
    yield b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n"
    while True:
        yield b"1\r\n \r\n"
        time.sleep(0.05)


def test_a_call_has_a_time_limit_of_its_own() -> None:
    """The response never ends, and the limit of the client is longer than a test may take."""

    async def ask(url: str) -> None:
        async with AsyncClient(url, timeout_seconds=6000) as client:
            await client.job(JOB_ID, timeout_seconds=0.5)

    with hostile({f"/jobs/{JOB_ID}": slow}) as server, Client(server.url, timeout_seconds=6000) as client:
        for way in (lambda: client.job(JOB_ID, timeout_seconds=0.5), lambda: asyncio.run(ask(server.url))):
            with pytest.raises(Unreachable, match="in time"):
                way()


def test_a_status_of_a_newer_service_is_kept() -> None:
    with hostile({f"/jobs/{JOB_ID}": as_json(job(status="paused"))}) as server, Client(server.url) as client:
        found = client.job(JOB_ID)
    assert (found.status, found.status.value, found.ended) == ("paused", "paused", False)
    assert '"status":"paused"' in found.model_dump_json()


# ----------------------------------------------------------------------------
# The environment.


def test_address_and_key_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    with hostile({"/jobs": as_json({"jobs": [], "next": None})}) as server:
        monkeypatch.setenv("ACGAN_URL", server.url.removeprefix("http://"))
        monkeypatch.setenv("ACGAN_KEY", "secret")
        with Client() as client:
            client.jobs()
            assert "secret" not in repr(client)
        with Client(server.url, key="") as client:
            client.jobs()
    assert ["Bearer secret" in request for request in server.requests] == [True, False]


def test_a_job_that_does_not_exist_raises_not_found(service: Client) -> None:
    with pytest.raises(NotFound) as missing:
        service.wait(JOB_ID)
    assert isinstance(missing.value, ClientError)
    assert missing.value.code in PROBLEMS


def test_a_service_under_a_path_is_called_there() -> None:
    with hostile({"/acgan/jobs": as_json({"jobs": [], "next": None})}) as server:
        for address in (f"{server.url}/acgan", f"{server.url}/acgan/"):
            with Client(address) as client:
                assert client.jobs().jobs == []
