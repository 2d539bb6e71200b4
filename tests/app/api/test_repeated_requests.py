"""A request that is repeated with its `Idempotency-Key` returns its job, although other things have changed since."""

from typing import Any

import pytest
import redis
from starlette.testclient import TestClient

from app.main import create_app
from app.settings import AppSettings
from models.registry.store import CheckpointStore
from tests.app.conftest import publish
from tests.models.registry.test_store import NEW, OLD
from tests.support.api_clients import local_client
from tests.support.serving import until
from worker.runner import run_next_job

KEY = {"Idempotency-Key": "tuesday"}
DATASET = {"per_class": 6, "test_per_class": 2}
REQUESTS = [("/train", {"epochs": 3}), ("/datasets", DATASET), ("/evaluations", {"effort": "quick"})]


def send(client: TestClient, path: str, body: dict[str, Any]) -> tuple[str, str]:
    answer = client.post(path, json=body, headers=KEY)
    assert answer.status_code == 202, answer.text
    return answer.json()["id"], answer.headers["Location"]


@pytest.mark.parametrize(("path", "body"), REQUESTS)
def test_after_a_publication(client: TestClient, store: CheckpointStore, path: str, body: dict[str, Any]) -> None:
    first = send(client, path, body)
    newer = publish(store, NEW, 2, seed=3)
    until("it is served", lambda: client.get("/serving").json()["serving"] == newer)
    assert send(client, path, body) == first
    assert client.post(path, json={**body, "priority": 1}, headers=KEY).json()["type"].endswith("idempotency-conflict")


@pytest.mark.parametrize(("path", "body"), REQUESTS[1:])
def test_after_its_checkpoint_was_deleted(client: TestClient, path: str, body: dict[str, Any]) -> None:
    body = {**body, "checkpoint": f"{OLD}-e001"}
    first = send(client, path, body)
    client.post(f"/jobs/{first[0]}/cancel").raise_for_status()
    client.delete(f"/checkpoints/{OLD}-e001").raise_for_status()
    assert send(client, path, body) == first


@pytest.mark.parametrize(("path", "body"), REQUESTS)
def test_after_the_store_is_full(client: TestClient, settings: AppSettings, path: str, body: dict[str, Any]) -> None:
    first = send(client, path, body)
    with local_client(create_app(settings.model_copy(update={"store_limit": 1}))) as full:
        assert full.post(path, json=body).status_code == 409
        assert send(full, path, body) == first


@pytest.mark.parametrize(("path", "body"), REQUESTS)
def test_a_job_of_an_earlier_version_is_found(
    client: TestClient, redis_url: str, path: str, body: dict[str, Any]
) -> None:
    """Earlier versions store the fingerprint of the order only."""
    first = send(client, path, body)
    with redis.Redis.from_url(redis_url) as records:
        assert records.hdel("acgan:idempotency::tuesday", "request") == 1
    assert send(client, path, body) == first
    assert client.post(path, json={**body, "priority": 1}, headers=KEY).status_code == 422


def test_after_its_data_set_was_drawn(client: TestClient, settings: AppSettings) -> None:
    first = client.post("/datasets", json=DATASET, headers=KEY).json()
    assert first["files"] == {}
    run_next_job(settings)
    drawn = client.get(first["links"]["self"]).json()
    assert (drawn["status"], "manifest.json" in drawn["files"]) == ("succeeded", True)
    assert client.post("/datasets", json=DATASET, headers=KEY).json() == drawn
    client.delete(first["links"]["self"]).raise_for_status()
    assert client.post("/datasets", json=DATASET, headers=KEY).json() == {**drawn, "files": {}}


def test_a_deleted_job_gives_the_key_back(client: TestClient) -> None:
    first, _ = send(client, "/train", {"epochs": 3})
    client.post(f"/jobs/{first}/cancel")
    assert client.delete(f"/jobs/{first}").status_code == 204
    second, _ = send(client, "/train", {"epochs": 4})
    assert second != first
    assert send(client, "/train", {"epochs": 4})[0] == second
