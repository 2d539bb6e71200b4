"""Commands to jobs over HTTP, and lists of jobs. The test plays the worker with the worker's client of the record."""

import asyncio
from typing import Any

import httpx2
import pytest
from starlette.testclient import TestClient

from app.main import create_app
from app.settings import AppSettings
from tests.support.api_clients import local_client
from tests.support.serving import serving
from tests.worker.jobs.test_client import epoch_record
from worker.jobs.consumer import Claim, JobConsumer
from worker.jobs.keys import JOBS, epochs_key
from worker.jobs.lists.catalog import EPOCHS_AT_ONCE
from worker.jobs.model import ENDED, JobStatus


@pytest.fixture
def client(shared_client: TestClient, redis_url: str) -> TestClient:
    return shared_client


def accept(client: TestClient, **body: Any) -> str:
    answer = client.post("/train", json=body)
    assert answer.status_code == 202, answer.text
    job_id: str = answer.json()["id"]
    return job_id


def claim(consumer: JobConsumer) -> Claim:
    claimed = consumer.claim()
    assert claimed is not None
    return claimed


def send_command(client: TestClient, job_id: str, verb: str) -> dict[str, Any]:
    """Send a command to a job, and check that the response is the job's current record."""
    answer = client.post(f"/jobs/{job_id}/{verb}")
    assert answer.status_code == 202, answer.text
    job: dict[str, Any] = answer.json()
    assert client.get(f"/jobs/{job['id']}").json() == job
    return job


def refusal(answer: httpx2.Response, status: int) -> str:
    """Check that a request was refused with a problem. Returns its detail."""
    assert answer.status_code == status, answer.text
    assert answer.headers["Content-Type"] == "application/problem+json"
    problem = answer.json()
    assert problem["status"] == status
    assert problem["detail"].endswith(".")
    detail: str = problem["detail"]
    return detail


# ----------------------------------------------------------------------------
# Cancel, resume, retry, front.


def test_a_waiting_job_is_cancelled_at_once(client: TestClient, consumer: JobConsumer) -> None:
    job = send_command(client, accept(client), "cancel")
    assert job["status"] == "cancelled"
    assert job["ended_at"] is not None
    assert consumer.waiting() == 0


def test_a_running_job_is_cancelled_by_its_worker_and_keeps_its_epochs(
    client: TestClient, consumer: JobConsumer
) -> None:
    job_id = accept(client)
    held = claim(consumer)
    consumer.add_epoch(held, epoch_record(1))
    assert [send_command(client, job_id, "cancel")["status"] for _ in range(2)] == ["cancelling", "cancelling"]
    consumer.finish(held, JobStatus.CANCELLED)
    job = send_command(client, job_id, "cancel")
    assert job["status"] == "cancelled"
    assert [epoch["epoch"] for epoch in job["epochs"]] == [1]


@pytest.mark.parametrize("end", [JobStatus.CANCELLED, JobStatus.FAILED])
def test_a_failed_or_cancelled_job_is_resumed_and_workers_are_notified(
    client: TestClient, consumer: JobConsumer, end: JobStatus
) -> None:
    job_id = accept(client)
    held = claim(consumer)
    if end == JobStatus.CANCELLED:
        send_command(client, job_id, "cancel")
    consumer.finish(held, end, "no luck")
    notifications = consumer.notifications()
    job = send_command(client, job_id, "resume")
    assert (job["id"], job["status"], job["error"], job["ended_at"]) == (job_id, "queued", None, None)
    assert consumer.notifications() == notifications + 1
    assert send_command(client, job_id, "resume") == job  # sent twice, since a response may be lost
    assert consumer.waiting() == 1
    assert claim(consumer).job.id == job_id


def test_a_retry_is_a_new_job_with_the_recipe_and_the_priority_of_the_old_one(
    client: TestClient, consumer: JobConsumer
) -> None:
    old = accept(client, epochs=3, name="mine", priority=4)
    consumer.finish(claim(consumer), JobStatus.SUCCEEDED)
    job = send_command(client, old, "retry")
    before = client.get(f"/jobs/{old}").json()
    assert before["status"] == "succeeded"
    assert job["id"] != old
    assert (job["status"], job["retry_of"], job["priority"], job["epochs"]) == ("queued", old, 4, [])
    assert job["config"] == before["config"]
    assert claim(consumer).job.id == job["id"]


def test_the_front_comes_first_and_then_higher_priorities(client: TestClient, consumer: JobConsumer) -> None:
    first, low, high = accept(client), accept(client, priority=0), accept(client, priority=9)
    assert send_command(client, low, "front")["status"] == "queued"
    assert client.get(f"/jobs/{high}").json()["priority"] == 9
    assert [claim(consumer).job.id for _ in range(3)] == [low, high, first]


@pytest.mark.parametrize(
    ("status", "verb", "message"),
    [
        ("running", "resume", "is running: only a failed or cancelled job"),
        ("running", "front", "is running: only a waiting job"),
        ("cancelling", "resume", "is cancelling"),
        ("cancelling", "front", "is cancelling"),
        ("succeeded", "cancel", "has succeeded already"),
        ("succeeded", "resume", "has succeeded"),
        ("succeeded", "front", "has succeeded"),
        ("failed", "cancel", "has failed already"),
        ("failed", "front", "has failed"),
        ("cancelled", "front", "is cancelled"),
    ],
)
def test_a_command_that_the_jobs_state_does_not_allow_is_refused_and_changes_nothing(
    client: TestClient, consumer: JobConsumer, status: str, verb: str, message: str
) -> None:
    job_id = accept(client)
    held = claim(consumer)
    if status.startswith("cancel"):
        send_command(client, job_id, "cancel")
    if JobStatus(status) in ENDED:
        consumer.finish(held, JobStatus(status))
    before, waiting = client.get(f"/jobs/{job_id}").json(), consumer.waiting()
    assert before["status"] == status
    detail = refusal(client.post(f"/jobs/{job_id}/{verb}"), 409)
    assert job_id in detail
    assert message in detail
    assert client.get(f"/jobs/{job_id}").json() == before
    assert consumer.waiting() == waiting


# ----------------------------------------------------------------------------
# Lists of long runs.


@pytest.mark.parametrize("sort", ["newest", "name", "epochs"])
def test_a_page_ends_early_if_its_runs_have_many_epochs(client: TestClient, consumer: JobConsumer, sort: str) -> None:
    ids = [accept(client, epochs=1000) for _ in range(5)]
    records: Any = {number: epoch_record(number).model_dump_json() for number in range(1, 901)}
    for job_id in ids:
        held = claim(consumer)
        assert held.job.id == job_id
        consumer.redis.hset(epochs_key(job_id), mapping=records)
        consumer.finish(held, JobStatus.SUCCEEDED)
    found, sizes, path = list[str](), list[int](), f"/jobs?limit=100&sort={sort}"
    while path:
        page = client.get(path).json()
        assert all(len(job["epochs"]) == 900 for job in page["jobs"])
        found += [job["id"] for job in page["jobs"]]
        sizes.append(len(page["jobs"]))
        path = page["next"]
    assert sizes == [2, 2, 1]
    whole = client.get(f"/jobs?limit=100&sort={sort}&epochs=last").json()
    assert ([job["id"] for job in whole["jobs"]], whole["next"]) == (found, None)
    assert sorted(found) == sorted(ids)


def test_a_page_has_a_run_however_many_epochs_it_has(client: TestClient, consumer: JobConsumer) -> None:
    records: Any = {number: epoch_record(number).model_dump_json() for number in range(1, EPOCHS_AT_ONCE + 2)}
    for job_id in [accept(client), accept(client)]:
        consumer.redis.hset(epochs_key(job_id), mapping=records)
    first = client.get("/jobs").json()
    second = client.get(first["next"]).json()
    assert (len(first["jobs"]), len(second["jobs"]), second["next"]) == (1, 1, None)


# ----------------------------------------------------------------------------
# The limit of the queue, and idempotency keys.


def test_a_full_queue_refuses_new_jobs_with_retry_after(redis_url: str, consumer: JobConsumer) -> None:
    settings = AppSettings(redis_url=redis_url, queue_limit=2)
    with local_client(create_app(settings), raise_server_exceptions=False) as client:
        gone = accept(client)
        send_command(client, gone, "cancel")
        known = client.post("/train", headers={"Idempotency-Key": "mine"}).json()["id"]
        accept(client)
        for path in ("/train", f"/jobs/{gone}/resume", f"/jobs/{gone}/retry"):
            answer = client.post(path)
            assert "2 jobs wait already" in refusal(answer, 429)
            assert int(answer.headers["Retry-After"]) > 0
        assert client.get(f"/jobs/{gone}").json()["status"] == "cancelled"
        assert len(client.get("/jobs").json()["jobs"]) == 3
        assert client.post("/train", headers={"Idempotency-Key": "mine"}).json()["id"] == known
        claim(consumer)
        accept(client)


def test_a_hundred_concurrent_requests_with_one_key_are_one_job(settings: AppSettings, consumer: JobConsumer) -> None:
    async def send_all(address: str) -> list[httpx2.Response]:
        async with httpx2.AsyncClient(base_url=address, timeout=60) as client:
            headers = {"Idempotency-Key": "tuesday"}
            sent = (client.post("/train", json={"epochs": 3}, headers=headers) for _ in range(100))
            return list(await asyncio.gather(*sent))

    with serving(settings) as address:
        answers = asyncio.run(send_all(address))
        assert [answer.status_code for answer in answers] == [202] * 100
        (job_id,) = {answer.json()["id"] for answer in answers}
        assert {answer.headers["Location"] for answer in answers} == {f"/jobs/{job_id}"}
        assert [job["id"] for job in httpx2.get(f"{address}/jobs").json()["jobs"]] == [job_id]
    assert consumer.waiting() == 1


@pytest.mark.parametrize("other", [{"epochs": 4}, {"epochs": 3, "priority": 1}, {}])
def test_a_key_with_another_request_is_refused(
    client: TestClient, consumer: JobConsumer, other: dict[str, int]
) -> None:
    headers = {"Idempotency-Key": "tuesday"}
    job_id = client.post("/train", json={"epochs": 3}, headers=headers).json()["id"]
    assert job_id in refusal(client.post("/train", json=other, headers=headers), 422)
    assert consumer.waiting() == 1
    assert client.post("/train", json=other, headers={"Idempotency-Key": "Tuesday"}).status_code == 202


def test_a_key_sent_again_returns_the_jobs_current_record(client: TestClient, consumer: JobConsumer) -> None:
    headers = {"Idempotency-Key": "tuesday"}
    job_id = client.post("/train", headers=headers).json()["id"]
    consumer.finish(claim(consumer), JobStatus.FAILED, "no luck")
    again = client.post("/train", json={"seed": 1337}, headers=headers)  # the same recipe, written differently
    assert again.json() == client.get(f"/jobs/{job_id}").json()
    assert again.json()["error"] == "no luck"
    assert consumer.waiting() == 0


# ----------------------------------------------------------------------------
# Pages, and responses that have not changed.


@pytest.mark.parametrize(
    ("address", "pages"),
    [("/jobs?limit=3", [[6, 5, 4], [3, 2, 1], [0]]), ("/jobs?limit=2&status=running", [[4, 2], [0]])],
)
def test_pages_contain_every_job_once_while_new_ones_are_added(
    client: TestClient, consumer: JobConsumer, address: str, pages: list[list[int]]
) -> None:
    ids = [accept(client, priority=9 if i % 2 == 0 else 0) for i in range(7)]
    for _ in range(4):
        claim(consumer)
    send_command(client, ids[6], "cancel")
    seen, following = [], address
    while following:
        page = client.get(following).json()
        seen.append([ids.index(job["id"]) for job in page["jobs"]])
        following = page["next"]
        accept(client)
    assert seen == pages


def test_the_last_page_has_no_next(client: TestClient) -> None:
    assert client.get("/jobs").json() == {"jobs": [], "next": None}
    ids = [accept(client) for _ in range(3)]
    page = client.get("/jobs?limit=3").json()
    assert ([job["id"] for job in page["jobs"]], page["next"]) == (ids[::-1], None)
    assert client.get(f"/jobs?before={ids[0]}").json() == {"jobs": [], "next": None}


def test_an_unchanged_record_is_not_sent_again(client: TestClient, consumer: JobConsumer) -> None:
    address = f"/jobs/{accept(client)}"
    tag = client.get(address).headers["ETag"]
    for known in (tag, f"W/{tag}", f'"other", {tag}', "*"):
        same = client.get(address, headers={"If-None-Match": known})
        assert (same.status_code, same.content, same.headers["ETag"]) == (304, b"", tag)
    assert client.get(address, headers={"If-None-Match": '"other"'}).status_code == 200
    consumer.add_epoch(claim(consumer), epoch_record(1))
    changed = client.get(address, headers={"If-None-Match": tag})
    assert changed.status_code == 200
    assert changed.headers["ETag"] != tag
    assert len(changed.json()["epochs"]) == 1


def test_a_list_can_be_limited_to_the_last_epochs_of_each_run(client: TestClient, consumer: JobConsumer) -> None:
    first, second = accept(client), accept(client)
    held = claim(consumer)
    for number in (1, 2):
        consumer.add_epoch(held, epoch_record(number))
    page = client.get("/jobs?limit=1&epochs=last").json()
    assert page["jobs"][0]["id"] == second
    place: Any = consumer.redis.zscore(JOBS, second)
    assert page["next"] == f"/jobs?limit=1&epochs=last&before={second}&at={place:.0f}"
    (job,) = client.get(page["next"]).json()["jobs"]
    assert job["id"] == first
    assert [each["epoch"] for each in job["epochs"]] == [2]
    assert len(client.get("/jobs").json()["jobs"][1]["epochs"]) == 2
    assert "epochs" in refusal(client.get("/jobs?epochs=none"), 422)
