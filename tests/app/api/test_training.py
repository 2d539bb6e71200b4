"""Runs over HTTP, for the API's part of the work; tests/e2e trains them."""

import pytest
import redis
from starlette.testclient import TestClient

from app.settings import AppSettings
from models.config import TrainingConfig
from models.data.reference import Reference
from models.registry.store import CheckpointStore
from tests.support import training_sets


@pytest.mark.parametrize("request_", [{}, {"json": {}}], ids=["no body", "empty object"])
def test_an_empty_body_is_the_original_recipe(client: TestClient, request_: dict[str, object]) -> None:
    answer = client.post("/train", **request_)  # type: ignore[arg-type]
    assert answer.status_code == 202
    job = answer.json()
    assert job["config"] == TrainingConfig().model_dump(mode="json")
    assert answer.headers["Location"] == job["links"]["self"] == f"/jobs/{job['id']}"
    assert client.get(answer.headers["Location"]).json() == job
    assert job["status"] == "queued"


def test_a_started_run_is_recorded_and_workers_are_notified(client: TestClient, redis_url: str) -> None:
    client.post("/train", json={"epochs": 2})
    with redis.Redis.from_url(redis_url) as connection:
        assert connection.zcard("acgan:queue") == 1
        assert connection.llen("acgan:celery:acgan-training") == 1


def test_runs_are_listed_newest_first(client: TestClient) -> None:
    ids = [client.post("/train", json={"name": f"run {i}"}).json()["id"] for i in range(3)]
    assert [job["id"] for job in client.get("/jobs").json()["jobs"]] == ids[::-1]
    assert len(client.get("/jobs?limit=2").json()["jobs"]) == 2


def test_checkpoints_are_listed_newest_first_and_readable_one_by_one(client: TestClient) -> None:
    listed = client.get("/checkpoints").json()
    assert [c["id"] for c in listed["checkpoints"]] == ["20260102-000000-aaaaaa-e001", "20260101-000000-aaaaaa-e001"]
    assert listed["serving"] == listed["checkpoints"][0]["id"]
    one = client.get(listed["checkpoints"][1]["links"]["self"]).json()
    assert one == listed["checkpoints"][1]
    assert client.get("/checkpoints/latest").json() == listed["checkpoints"][0]
    assert one["files"]["generator.safetensors"]["size"] > 10_000_000
    assert one["size"] == sum(file["size"] for file in one["files"].values())


def test_the_plot_of_an_epoch_is_cached_for_ever(client: TestClient) -> None:
    answer = client.get("/jobs/20260101-000000-aaaaaa/epochs/1/samples.png")
    assert answer.status_code == 200
    assert answer.content.startswith(b"\x89PNG")
    assert "immutable" in answer.headers["Cache-Control"]
    assert client.get("/jobs/20260101-000000-aaaaaa/epochs/2/samples.png").status_code == 404


def test_a_run_is_accepted_with_the_version_of_its_training_data(client: TestClient, settings: AppSettings) -> None:
    data = CheckpointStore(settings.store_dir).training_data
    training_sets.bring(data, "letters", train=120)
    headers = {"Idempotency-Key": "once"}
    first = client.post("/train", json={"dataset": "letters"}, headers=headers).json()
    assert first["config"]["dataset"] == "letters@1"
    training_sets.bring(data, "letters", seed=3, train=120)
    assert client.post("/train", json={"dataset": "letters"}, headers=headers).json()["id"] == first["id"]
    assert client.post("/train", json={"dataset": "letters"}).json()["config"]["dataset"] == "letters@2"
    assert client.post("/train", json={"dataset": "letters@1"}).json()["config"]["dataset"] == "letters@1"


def test_a_run_on_less_than_one_batch_is_refused(client: TestClient, settings: AppSettings) -> None:
    training_sets.bring(CheckpointStore(settings.store_dir).training_data, "letters", train=51)
    answer = client.post("/train", json={"dataset": "letters"})
    assert (answer.status_code, answer.json()["type"]) == (422, "/problems/invalid-input")
    message = "should be at most 51: letters@1 has no more training images"
    assert answer.json()["detail"] == f"body.batch_size: {message}."
    assert answer.json()["errors"] == [{"field": "body.batch_size", "message": message}]
    assert client.post("/train", json={"dataset": "letters", "batch_size": 51}).status_code == 202


@pytest.mark.parametrize("name", ["letters", "mnist@1", "nist"])
def test_training_data_that_do_not_exist_are_a_404_that_names_those_that_do(client: TestClient, name: str) -> None:
    answer = client.post("/train", json={"dataset": name})
    assert answer.status_code == 404
    assert "kmnist, mnist, printed, printed_letters" in answer.json()["detail"]


def test_a_run_is_not_repeated_without_its_training_data(client: TestClient, settings: AppSettings) -> None:
    data = CheckpointStore(settings.store_dir).training_data
    training_sets.bring(data, "letters", train=120)
    job = client.post("/train", json={"dataset": "letters"}).json()["id"]
    client.post(f"/jobs/{job}/cancel")
    data.remove(Reference("letters", 1))
    for what in ("resume", "retry"):
        answer = client.post(f"/jobs/{job}/{what}")
        assert answer.status_code == 409
        assert "there is no training data letters@1" in answer.json()["detail"]
