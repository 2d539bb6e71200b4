"""DELETE /jobs/{id} deletes ended jobs only, with all their files, and nothing that is in use."""

from collections.abc import Iterator
from typing import Any

import pytest
from starlette.testclient import TestClient

from app.main import create_app
from app.settings import AppSettings
from models.registry.store import CheckpointId, CheckpointStore
from tests.app.conftest import publish
from tests.models.registry.test_store import NEW
from tests.support.api_clients import local_client
from worker.jobs.consumer import JobConsumer
from worker.jobs.keys import JOBS, epochs_key, index_key, job_key
from worker.jobs.model import JobKind, JobStatus


@pytest.fixture
def client(settings: AppSettings) -> Iterator[TestClient]:
    with local_client(create_app(settings), raise_server_exceptions=False) as client:
        yield client


def run(client: TestClient, consumer: JobConsumer, store: CheckpointStore, epochs: int = 2) -> str:
    """A job that succeeded, with checkpoints and a state."""
    job_id: str = client.post("/train").raise_for_status().json()["id"]
    claim = consumer.claim()
    assert claim is not None
    for epoch in range(1, epochs + 1):
        publish(store, job_id, epoch, seed=epoch)
    store.save_state(job_id, b"a state")
    consumer.finish(claim, JobStatus.SUCCEEDED)
    return job_id


def test_an_ended_job_is_deleted_with_all_its_files(
    client: TestClient, consumer: JobConsumer, settings: AppSettings
) -> None:
    store = CheckpointStore(settings.store_dir)
    job_id, newer = run(client, consumer, store), run(client, consumer, store)
    client.put("/serving", json={"policy": "pinned", "checkpoint": f"{newer}-e001"}).raise_for_status()
    assert client.delete(f"/jobs/{job_id}").status_code == 204
    for path in (f"/jobs/{job_id}", f"/checkpoints/{job_id}-e001", f"/jobs/{job_id}/epochs/1/samples.png"):
        assert client.get(path).status_code == 404, path
    assert [job["id"] for job in client.get("/jobs").json()["jobs"]] == [newer]
    assert store.epochs(job_id) == []
    assert store.load_state(job_id) is None
    assert store.epochs(newer) == [1, 2]
    assert consumer.redis.exists(job_key(job_id), epochs_key(job_id)) == 0
    for key in (JOBS, index_key(JobKind.TRAINING), index_key(JobKind.TRAINING, JobStatus.SUCCEEDED)):
        assert consumer.redis.zscore(key, job_id) is None
    assert client.delete(f"/jobs/{job_id}").status_code == 404


@pytest.mark.parametrize(
    ("path", "queries"),
    [
        ("/jobs", ["", "sort=active&", "sort=name&", "sort=epochs&", "status=cancelled&", "search=a&"]),
        ("/datasets", ["", "status=cancelled&"]),
        ("/evaluations", ["", "status=cancelled&", f"checkpoint={NEW}-e001&"]),
    ],
)
def test_the_next_page_exists_although_the_last_job_of_a_page_was_deleted(
    client: TestClient, store: CheckpointStore, path: str, queries: list[str]
) -> None:
    def order() -> str:
        body = {"name": "a"} if path == "/jobs" else {"checkpoint": f"{NEW}-e001"}
        answer = client.post("/train" if path == "/jobs" else path, json=body)
        job_id: str = answer.raise_for_status().json()["id"]
        return job_id

    def ids_in(page: Any) -> list[str]:
        return [job["id"] for job in page[path[1:]]]

    for query in queries:
        ids = [order() for _ in range(4)]
        for job_id in ids:
            client.post(f"/jobs/{job_id}/cancel").raise_for_status()
        first = client.get(f"{path}?{query}limit=2").raise_for_status().json()
        following, last = first["next"], ids_in(first)[-1]
        rest = client.get(following).raise_for_status().json()
        old_form = following.rpartition("&at=")[0]  # of an earlier version
        assert client.get(old_form).raise_for_status().json() == rest, query
        assert set(ids_in(first) + ids_in(rest)) == set(ids)
        client.delete(f"/jobs/{last}").raise_for_status()
        assert client.get(following).raise_for_status().json() == rest, query
        assert client.get(old_form).status_code == 404
        assert client.get(old_form).json()["type"] == f"/problems/{path[1:-1]}-not-found"
        for wrong in ("at=1", f"before={last}&at=x"):
            answer = client.get(f"{path}?limit=2&{wrong}")
            assert (answer.status_code, "`at` should be as `next`" in answer.json()["detail"]) == (404, True)
        for job_id in set(ids) - {last}:
            client.delete(f"/jobs/{job_id}").raise_for_status()


def test_a_job_that_has_not_ended_is_kept(client: TestClient, consumer: JobConsumer) -> None:
    job_id = client.post("/train").raise_for_status().json()["id"]
    for status in ("queued", "running"):
        answer = client.delete(f"/jobs/{job_id}")
        assert answer.status_code == 409
        assert f"is {status}" in answer.json()["detail"]
        consumer.claim()
    assert client.get(f"/jobs/{job_id}").status_code == 200


def test_a_job_whose_checkpoint_is_in_use_is_kept(
    client: TestClient, consumer: JobConsumer, settings: AppSettings
) -> None:
    store = CheckpointStore(settings.store_dir)
    pinned, newest = run(client, consumer, store), run(client, consumer, store)
    client.put("/serving", json={"policy": "pinned", "checkpoint": f"{pinned}-e001"}).raise_for_status()
    for job_id, use in ((pinned, "served"), (newest, "the newest of mnist")):
        answer = client.delete(f"/jobs/{job_id}")
        assert answer.status_code == 409
        assert use in answer.json()["detail"]
        assert store.stands(CheckpointId(job_id, 1))


def test_the_idempotency_key_of_a_deleted_job_starts_a_new_one(client: TestClient, consumer: JobConsumer) -> None:
    key = {"Idempotency-Key": "once"}
    first = client.post("/train", headers=key).raise_for_status().json()["id"]
    client.post(f"/jobs/{first}/cancel").raise_for_status()
    assert client.delete(f"/jobs/{first}").status_code == 204
    second = client.post("/train", headers=key).raise_for_status().json()["id"]
    assert second != first
    assert client.get(f"/jobs/{second}").json()["status"] == "queued"
