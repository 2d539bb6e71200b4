"""Evaluations over HTTP: orders, lists, what they need, and what remains of them."""

from typing import Any

import pytest
import redis
from starlette.testclient import TestClient

from app.settings import AppSettings
from benchmarks.records import ask_desk
from models.config import TrainingConfig
from models.evaluation.evaluation_records import EvaluationOrder
from models.registry.store import CheckpointStore
from tests.app.conftest import publish_own
from tests.models.registry.test_store import NEW, OLD
from tests.support.training_sets import bring
from worker.jobs.client import JobClient, Order
from worker.runner import run_next_job

JOB = "20260129-120000-00000a"
NOBODY = "20200101-000000-aaaaaa"


@pytest.fixture
def bars(store: CheckpointStore) -> str:
    """A checkpoint of small data of three classes, whose judge and pupils are trained in seconds."""
    return publish_own(store, JOB, str(bring(store.training_data, "bars").reference), ("a", "b", "c"))


def order(client: TestClient, status: int = 202, **fields: Any) -> Any:
    answer = client.post("/evaluations", json=fields)
    assert answer.status_code == status, answer.text
    return answer


def test_an_evaluation_is_ordered_run_and_read(client: TestClient, settings: AppSettings, bars: str) -> None:
    request: dict[str, Any] = {"json": {"checkpoint": bars, "effort": "quick"}, "headers": {"Idempotency-Key": "k"}}
    answer = client.post("/evaluations", **request).raise_for_status()
    found = answer.json()
    here = found["links"]["self"]
    assert (answer.headers["Location"], found["status"], found["result"]) == (here, "queued", None)
    assert (found["checkpoint"], found["effort"], found["links"]["picture"]) == (bars, "quick", None)
    assert client.get(f"{here}/result.json").status_code == client.get(f"{here}/picture.png").status_code == 404
    assert client.delete(f"/checkpoints/{bars}").json()["type"] == "/problems/in-use"
    assert "being evaluated by job" in client.delete(f"/checkpoints/{bars}").json()["detail"]
    run_next_job(settings)
    found = client.get(here).json()
    assert (found["status"], found["error"]) == ("succeeded", None)
    assert found["progress"]["done"] == found["progress"]["steps"]
    assert client.post("/evaluations", **request).json() == found
    assert client.get(found["links"]["result"]).json() == found["result"]
    assert (
        found["result"]["generator"]["frechet_distance_interval"][0] < found["result"]["generator"]["frechet_distance"]
    )
    assert client.get(found["links"]["picture"]).content.startswith(b"\x89PNG")
    listed = client.get(client.get(f"/checkpoints/{bars}").json()["links"]["evaluations"]).json()
    assert [each["id"] for each in listed["evaluations"]] == [found["id"]]
    assert client.get("/jobs").json()["jobs"] == []
    (job,) = client.get("/jobs?kind=evaluation").json()["jobs"]
    assert job["evaluation"] == {"checkpoint": bars, "effort": "quick"}
    assert client.delete(f"/jobs/{job['id']}").status_code == 204
    assert client.get(here).json()["type"] == "/problems/evaluation-not-found"
    assert client.get(f"{here}/result.json").status_code == 404


def test_an_order_names_the_checkpoint_that_latest_refers_to_now(client: TestClient) -> None:
    assert order(client).json()["checkpoint"] == client.get("/checkpoints/latest").json()["id"]
    assert order(client, checkpoint="best").json()["checkpoint"] == client.get("/checkpoints/best").json()["id"]
    order(client, 404, checkpoint=f"{JOB}-e009")
    order(client, 422, effort="thorough")


def test_a_repeated_order_with_a_key_is_one_evaluation(client: TestClient) -> None:
    sent = [client.post("/evaluations", json={}, headers={"Idempotency-Key": "k"}) for _ in range(2)]
    assert sent[0].json()["id"] == sent[1].json()["id"]
    other = client.post("/evaluations", json={"effort": "quick"}, headers={"Idempotency-Key": "k"})
    assert other.json()["type"] == "/problems/idempotency-conflict"


def test_the_list_has_pages_and_can_be_of_one_checkpoint(client: TestClient) -> None:
    ids = [order(client, checkpoint=f"{job}-e001").json()["id"] for job in (OLD, NEW, OLD, NEW, OLD)]
    first = client.get("/evaluations?limit=2").json()
    assert [each["id"] for each in first["evaluations"]] == ids[:2:-1]
    second = client.get(first["next"]).json()
    assert [each["id"] for each in second["evaluations"]] == [ids[2], ids[1]]
    of_old = client.get(f"/evaluations?limit=2&checkpoint={OLD}-e001").json()
    assert [each["id"] for each in of_old["evaluations"]] == [ids[4], ids[2]]
    rest = client.get(of_old["next"]).json()
    assert ([each["id"] for each in rest["evaluations"]], rest["next"]) == ([ids[0]], None)


def test_evaluations_of_other_checkpoints_are_not_read(client: TestClient, redis_url: str) -> None:
    """Redis compares the checkpoints of 300 evaluations; the API reads the records of those that it lists."""

    async def accept_many(jobs: JobClient) -> list[str]:
        jobs.queue_limit = 300
        other = [f"{NEW}-e{number:03d}" for number in range(1, 149)]
        wanted = [f"{OLD}-e001", *other, f"{OLD}-e001", *other, f"{OLD}-e001"]
        orders = [EvaluationOrder(checkpoint=checkpoint) for checkpoint in wanted]
        made = [await jobs.create(Order(TrainingConfig(), dataset=order)) for order in orders]
        return [job.id for job, checkpoint in zip(made, wanted, strict=True) if checkpoint == wanted[0]]

    ids = ask_desk(redis_url, accept_many)
    with redis.Redis.from_url(redis_url) as server:
        server.config_resetstat()
        assert client.get(f"/evaluations?checkpoint={NOBODY}-e001").json() == {"evaluations": [], "next": None}
        assert client.get('/evaluations?checkpoint="checkpoint"').json() == {"evaluations": [], "next": None}
        read: Any = server.info("commandstats")
    assert read.get("cmdstat_hgetall", {"calls": 0})["calls"] < 10
    found, path = list[str](), f"/evaluations?limit=1&checkpoint={OLD}-e001"
    while path:
        page = client.get(path).json()
        assert len(page["evaluations"]) == 1
        found += [each["id"] for each in page["evaluations"]]
        path = page["next"]
    assert found == ids[::-1]


def test_a_cancelled_evaluation_is_resumed_and_retried(client: TestClient) -> None:
    job_id = order(client, checkpoint=f"{OLD}-e001").json()["id"]
    assert client.post(f"/jobs/{job_id}/cancel").json()["status"] == "cancelled"
    assert client.post(f"/jobs/{job_id}/resume").json()["status"] == "queued"
    again = client.post(f"/jobs/{job_id}/retry").json()
    assert (again["retry_of"], again["evaluation"]["checkpoint"]) == (job_id, f"{OLD}-e001")
    for each in (job_id, again["id"]):
        client.post(f"/jobs/{each}/cancel")
    assert client.delete(f"/checkpoints/{OLD}-e001").status_code == 204
    refused = client.post(f"/jobs/{job_id}/resume")
    assert refused.status_code == 409
    assert "its checkpoint" in refused.json()["detail"]


def test_the_serving_policy_says_what_the_best_goes_by(client: TestClient) -> None:
    assert client.get("/serving").json()["by"] == "epoch"
    assert client.put("/serving", json={"policy": "best", "by": "evaluation"}).json()["by"] == "evaluation"
    assert client.get("/serving").json()["by"] == "evaluation"
    assert client.put("/serving", json={"policy": "best"}).json()["by"] == "epoch"
