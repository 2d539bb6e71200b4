"""Deleting a checkpoint, and jobs for which the store has no room."""

import asyncio
import json
from collections.abc import Callable

import pytest
from starlette.testclient import TestClient

from app.main import create_app
from app.settings import AppSettings
from models.config import TrainingConfig
from models.registry.removal import delete_run
from models.registry.retention import UNKNOWN, delete_epoch
from models.registry.store import CheckpointId, CheckpointStore
from models.synthesis.order import DatasetOrder
from tests.app.api.test_digits import until
from tests.app.conftest import publish
from tests.models.registry.test_store import NEW, OLD
from tests.support.api_clients import local_client
from worker.jobs.client import JobClient, Order


def test_a_checkpoint_that_is_not_in_use_is_deleted(client: TestClient, store: CheckpointStore) -> None:
    assert client.get(f"/digits/3?checkpoint={OLD}-e001").status_code == 200
    assert client.delete(f"/checkpoints/{OLD}-e001").status_code == 204
    assert not store.folder(CheckpointId(OLD, 1)).exists()
    assert client.delete(f"/checkpoints/{OLD}-e001").status_code == 404
    assert client.get(f"/digits/3?checkpoint={OLD}-e001").status_code == 404


def delete_by_another_api(settings: AppSettings, store: CheckpointStore) -> None:
    with local_client(create_app(settings)) as other:
        assert other.delete(f"/checkpoints/{OLD}-e001").status_code == 204


def delete_for_the_storage_limit(settings: AppSettings, store: CheckpointStore) -> None:
    assert delete_epoch(store, CheckpointId(OLD, 1), UNKNOWN)


def delete_its_run(settings: AppSettings, store: CheckpointStore) -> None:
    assert delete_run(store, OLD) == 1


@pytest.mark.parametrize("delete", [delete_by_another_api, delete_for_the_storage_limit, delete_its_run])
def test_a_generator_in_memory_is_dropped_if_another_process_deletes_its_checkpoint(
    client: TestClient,
    settings: AppSettings,
    store: CheckpointStore,
    delete: Callable[[AppSettings, CheckpointStore], None],
) -> None:
    query = f"checkpoint={OLD}-e001"
    paths = [f"/digits/3?{query}", f"/images/mnist/3?{query}", f"/numbers/42?{query}"]
    assert {client.get(path).status_code for path in paths} == {200}
    delete(settings, store)
    order = {"checkpoint": f"{OLD}-e001", "per_class": 1, "test_per_class": 1}
    assert client.post("/datasets", json=order).status_code == 404  # at once: a worker could not draw it
    until(lambda: {client.get(path).status_code for path in paths} == {404})
    assert client.get("/readyz").json()["trouble"] is None


def test_the_served_the_pinned_and_the_newest_checkpoint_are_kept(client: TestClient, store: CheckpointStore) -> None:
    for checkpoint, why in ((f"{NEW}-e001", "is served"), (f"{OLD}-e001", None)):
        answer = client.delete(f"/checkpoints/{checkpoint}") if why else None
        assert answer is None or (answer.status_code, why in answer.json()["detail"]) == (409, True)
    client.put("/serving", json={"policy": "pinned", "checkpoint": f"{OLD}-e001"})
    assert client.delete(f"/checkpoints/{OLD}-e001").status_code == 409
    newest = client.delete(f"/checkpoints/{NEW}-e001")
    assert (newest.status_code, "is the newest" in newest.json()["detail"]) == (409, True)
    assert len(store.manifests()) == 2


def test_a_checkpoint_in_use_is_kept(client: TestClient, settings: AppSettings, store: CheckpointStore) -> None:
    with client.app.state.services.store.reading(CheckpointId(OLD, 1).folder):  # type: ignore[attr-defined]
        assert "being read" in client.delete(f"/checkpoints/{OLD}-e001").json()["detail"]

    async def order() -> None:
        jobs = JobClient.connect(settings.redis_url)
        await jobs.create(Order(TrainingConfig(), dataset=DatasetOrder(checkpoint=f"{OLD}-e001")))
        await jobs.close()

    asyncio.run(order())
    answer = client.delete(f"/checkpoints/{OLD}-e001")
    assert (answer.status_code, "is being drawn with" in answer.json()["detail"]) == (409, True)
    assert store.epochs(OLD) == [1]


@pytest.mark.parametrize("name", ["nonsense", f"{OLD}-e009"])
def test_deleting_a_missing_checkpoint_is_a_404(client: TestClient, name: str) -> None:
    assert client.delete(f"/checkpoints/{name}").status_code == 404


def test_jobs_without_room_are_refused_and_trouble_gives_the_reason(
    settings: AppSettings, store: CheckpointStore
) -> None:
    publish(store, NEW, 2, seed=3)
    cramped = settings.model_copy(update={"store_limit": 1000})
    with local_client(create_app(cramped), raise_server_exceptions=False) as client:
        for path, body in (("/train", {}), ("/datasets", {"per_class": 10})):
            answer = client.post(path, json=body)
            assert answer.status_code == 409
            assert "ACGAN_STORE_LIMIT is 1,000" in answer.json()["detail"]
        assert "ACGAN_STORE_LIMIT" in client.get("/readyz").json()["trouble"]
        assert client.get("/digits/3").status_code == 200


def test_an_order_beyond_the_budget_is_refused(client: TestClient) -> None:
    answer = client.post("/datasets", json={"per_class": 500_000, "test_per_class": 1})
    assert answer.status_code == 202
    huge = client.app.state.services.inference.models.budget  # type: ignore[attr-defined]
    huge.limit = 2_100_000_000  # the first order has 2 GB of it reserved
    assert client.post("/datasets", json={"per_class": 500_000, "test_per_class": 1}).status_code == 409
    assert client.post("/datasets", json={"per_class": 10}).status_code == 202


def test_a_job_whose_state_was_deleted_is_not_resumed(client: TestClient, store: CheckpointStore) -> None:
    job = client.post("/train", json={"epochs": 2}).json()["id"]
    client.post(f"/jobs/{job}/cancel")
    store.save_state(job, b"state")
    store.delete_state(job)
    answer = client.post(f"/jobs/{job}/resume")
    assert answer.status_code == 409
    assert "/retry" in json.dumps(answer.json())
