"""One record or one event of another version must not make the rest of the service fail."""

import json
from collections.abc import Iterator
from typing import Any

import httpx2
import pytest
import redis
from starlette.testclient import TestClient

from app.settings import AppSettings
from tests.support.serving import following, serving
from worker.jobs.keys import EVENTS, job_key


@pytest.fixture
def records(redis_url: str) -> Iterator[Any]:
    with redis.Redis.from_url(redis_url) as client:
        yield client


def accept(client: TestClient, **fields: Any) -> str:
    job_id: str = client.post("/train", json=fields).raise_for_status().json()["id"]
    return job_id


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("config", b'{"recipe": "of a newer version", "epochs": 3}'),
        ("config", b"no JSON"),
        ("status", b"paused"),
        ("progress", b"{}"),
        ("runs_on", b"tpu"),
        ("created_at", b"\xff"),
    ],
)
def test_an_unreadable_job_is_listed_with_its_raw_status_and_a_trouble(
    client: TestClient, records: Any, field: str, value: bytes
) -> None:
    strange, plain = accept(client, epochs=3), accept(client)
    records.hset(job_key(strange), field, value)
    listed = {job["id"]: job for job in client.get("/jobs").raise_for_status().json()["jobs"]}
    assert listed[plain]["status"] == "queued"
    assert listed[strange]["status"] == ("paused" if field == "status" else "queued")
    assert "does not understand" in listed[strange]["trouble"]
    assert client.get(f"/jobs/{strange}").raise_for_status().json() == listed[strange]
    for method, path in (("POST", "retry"), ("POST", "resume"), ("GET", "history.json"), ("GET", "history.csv")):
        answer = client.request(method, f"/jobs/{strange}/{path}")
        assert answer.status_code == 409, (path, answer.text)
        assert "does not understand" in answer.json()["detail"]
    assert client.get("/metrics").status_code == 200
    if field not in ("status", "runs_on"):
        assert client.post(f"/jobs/{strange}/cancel").raise_for_status().json()["status"] == "cancelled"


def test_an_unreadable_data_set_is_listed(client: TestClient, records: Any) -> None:
    strange = client.post("/datasets", json={"per_class": 1, "test_per_class": 1}).raise_for_status().json()["id"]
    records.hset(job_key(strange), "order", json.dumps({"per_class": "many"}))
    (listed,) = client.get("/datasets").raise_for_status().json()["datasets"]
    assert (listed["id"], listed["order"]) == (strange, {"per_class": "many"})
    assert "does not understand" in listed["trouble"]
    assert client.get(f"/datasets/{strange}").status_code == 409
    assert client.delete(f"/datasets/{strange}").status_code == 409


@pytest.mark.parametrize(
    "entry",
    [
        {"kind": "epoch", "data": "no JSON"},
        {"kind": "progress", "data": "{}"},
        {"data": "1"},
        {"job": b"\xff\xfe", "kind": b"\xfe", "data": b"\xff"},
        {"something": "else"},
    ],
)
def test_followers_get_the_events_after_one_that_cannot_be_decoded(
    settings: AppSettings, records: Any, entry: dict[str, Any], caplog: pytest.LogCaptureFixture
) -> None:
    with serving(settings) as address:
        job_id = httpx2.post(f"{address}/train").raise_for_status().json()["id"]
        first_id = records.xrevrange(EVENTS, count=1)[0][0].decode()
        with following(address, job_id) as stream:
            assert next(stream).kind == "job"
            records.xadd(EVENTS, {"job": job_id} | entry)
            records.xadd(EVENTS, {"job": job_id, "kind": "trouble", "data": "what comes after"})
            assert next(stream).data == {"trouble": "what comes after"}
        with following(address, job_id, first_id) as stream:
            assert next(stream).data == {"trouble": "what comes after"}
        assert httpx2.get(f"{address}/readyz").json()["loops"]["events"] == "running"
    if "data" in entry and "job" not in entry:
        assert "cannot be decoded" in caplog.text


def test_readyz_shows_each_background_loop(client: TestClient) -> None:
    loops = client.get("/readyz").json()["loops"]
    assert {"events", "model following", "drawing-0"} <= loops.keys()
    assert set(loops.values()) == {"running"}
