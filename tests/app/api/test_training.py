"""Runs over HTTP, for the API's part of the work; tests/e2e trains them."""

import pytest
import redis
from starlette.testclient import TestClient

from models.config import TrainingConfig


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
