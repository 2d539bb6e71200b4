"""Each mistake that a caller can make gets a 4xx problem with a sentence that says what to do, and enqueues nothing."""

import re
from typing import Any

import pytest
import redis
from starlette.testclient import TestClient

from app.main import create_app
from app.problems.codes import PROBLEMS
from app.settings import AppSettings
from models.registry.store import CheckpointStore
from tests.conftest import RunningRedis
from tests.support.api_clients import local_client
from tests.worker.jobs.test_client import epoch_record
from worker.jobs.consumer import JobConsumer
from worker.jobs.keys import RATES
from worker.jobs.model import JobStatus

JSON = {"Content-Type": "application/json"}

VERBS = ("cancel", "resume", "retry", "front")

NULL = "body: should be a JSON object or omitted, not null"

MISTAKES: list[tuple[str, str, dict[str, Any], int, str]] = [
    ("GET", "/digits/10", {}, 422, "path.label: should be at most 9, not '10'"),
    ("GET", "/digits/-1", {}, 422, "path.label"),
    ("GET", "/digits/x", {}, 422, "path.label: should be a whole number, not 'x'"),
    ("GET", "/digits/7?n=0", {}, 422, "query.n: should be at least 1, not '0'"),
    ("GET", "/digits/7?n=1001", {}, 422, "query.n: should be at most 1000"),
    ("GET", "/digits/7?n=4.5", {}, 422, "query.n: should be a whole number"),
    ("GET", "/digits/7?seed=-1", {}, 422, "query.seed"),
    ("GET", f"/digits/7?seed={2**53}", {}, 422, "query.seed"),
    ("GET", "/digits/7?index=-1", {}, 422, "query.index"),
    ("GET", "/digits/7?scale=11", {}, 422, "query.scale"),
    ("GET", "/digits/7?n=1000&scale=9", {}, 422, "at most 8"),
    ("GET", "/digits/7?count=40", {}, 422, "query.count: there is no such field"),
    ("GET", "/digits/7?checkpoint=nonsense", {}, 404, "ids look like"),
    ("GET", "/digits/7?checkpoint=../../etc/passwd", {}, 404, "ids look like"),
    ("GET", "/digits/7?checkpoint=20200101-000000-aaaaaa-e001", {}, 404, "GET /checkpoints"),
    ("GET", "/digits/7/neighbours?n=11", {}, 422, "query.n: should be at most 10"),
    ("GET", "/digits/10/neighbours", {}, 422, "path.label: should be at most 9"),
    ("GET", "/digits/7/neighbours", {}, 404, "training"),
    ("GET", "/digits/7/traversal?step=2", {}, 422, "query.step: should be at most 1"),
    ("GET", "/digits/7/traversal?rows=12", {}, 422, "query.rows: should be at most 11"),
    ("GET", "/digits/7/traversal?x=nan", {}, 422, "query.x"),
    ("GET", "/digits/7/traversal?checkpoint=nonsense", {}, 404, "ids look like"),
    ("POST", "/train", {"json": {"epochs": 0}}, 422, "body.epochs: should be at least 1, not 0"),
    ("POST", "/train", {"content": "null", "headers": JSON}, 422, NULL),
    ("POST", "/train", {"content": " null\n"}, 415, "application/json"),
    ("POST", "/datasets", {"content": "null", "headers": JSON}, 422, NULL),
    ("POST", "/train", {"json": {"epochs": 1.5}}, 422, "body.epochs: should be a whole number, not 1.5"),
    ("POST", "/train", {"json": {"adam_lr": 0}}, 422, "body.adam_lr: should be more than 0, not 0"),
    ("POST", "/train", {"json": {"adam_beta_1": 1}}, 422, "body.adam_beta_1: should be less than 1, not 1"),
    ("POST", "/train", {"json": {"adam_lr": "fast"}}, 422, "body.adam_lr: should be a number, not 'fast'"),
    ("POST", "/train", {"json": {"name": 7}}, 422, "body.name: should be text, not 7"),
    ("GET", "/digits/7?invert=maybe", {}, 422, "query.invert: should be true or false, not 'maybe'"),
    ("POST", "/train", {"json": {"epochs": -1}}, 422, "body.epochs"),
    ("POST", "/train", {"json": {"epochs": 1e9}}, 422, "body.epochs"),
    ("POST", "/train", {"json": {"epochs": "many"}}, 422, "body.epochs: should be a whole number, not 'many'"),
    ("POST", "/train", {"json": {"epoch": 5}}, 422, "body.epoch: there is no such field: do you mean epochs?"),
    ("POST", "/train", {"json": {"zoom": 5}}, 422, "body.zoom: there is no such field: GET /docs lists the"),
    ("POST", "/train", {"json": {"dataset": "cifar"}}, 404, "kmnist, mnist, printed, printed_letters"),
    (
        "POST",
        "/train",
        {"json": {"dataset": "MNIST"}},
        422,
        "body.dataset: should be a name of training data: 1 to 40 of",
    ),
    ("PUT", "/serving", {"json": {"policy": "newest", "dataset": "MNIST"}}, 422, "body.dataset: should be a name of"),
    ("POST", "/checkpoints?dataset=", {}, 422, "query.dataset: should be a name of training data"),
    ("PUT", "/training-data/zz?file=../../x.zip", {}, 422, "query.file: should be a file name: 1 to 100 letters, dig"),
    ("GET", "/numbers/x", {}, 422, "path.number: should be a number of 1 to 40 decimal digits"),
    ("GET", "/datasets/20200101-000000-aaaaaa/x", {}, 422, "path.file: there is no such file"),
    *(
        ("PUT", "/serving", {"content": body, "headers": JSON}, 422, 'body: send a JSON object such as {"policy": "')
        for body in ("null", "[]", '"x"', "5", "true", '[{"policy": "newest"}]')
    ),
    ("PUT", "/serving", {"json": {"policy": 5}}, 422, "body.policy: should be 'newest', 'best' or 'pinned', not 5"),
    ("POST", "/train", {"json": {"train_examples": 99}}, 422, "raise train_examples or lower batch_size"),
    ("POST", "/train", {"json": {"priority": 10}}, 422, "body.priority: should be at most 9, not 10"),
    ("POST", "/train", {"json": {"priority": -1}}, 422, "body.priority"),
    ("POST", "/train", {"json": {"priority": "high"}}, 422, "body.priority: should be a whole number"),
    ("POST", "/train", {"headers": {"Idempotency-Key": "a key"}}, 422, "visible ASCII characters, without spaces"),
    ("POST", "/train", {"headers": {"Idempotency-Key": ""}}, 422, "header.idempotency-key"),
    ("POST", "/train", {"headers": {"Idempotency-Key": 201 * "x"}}, 422, "should have at most 200 characters"),
    ("POST", "/train", {"json": [1, 2]}, 422, "send a JSON object"),
    ("POST", "/train", {"content": '{"epochs": ', "headers": JSON}, 422, "this is not JSON"),
    ("POST", "/train", {"content": '{"adam_lr": NaN}', "headers": JSON}, 422, "adam_lr"),
    ("POST", "/train", {"content": b"\xff\xfe", "headers": JSON}, 422, "this is not JSON"),
    (
        "POST",
        "/train",
        {"content": '{"epochs": 5}', "headers": {"Content-Type": "text/plain"}},
        415,
        "application/json",
    ),
    ("POST", "/train", {"content": "[" * 60_000, "headers": JSON}, 400, "cannot be read"),
    ("POST", "/train", {"content": b" " * 1_000_000, "headers": JSON}, 413, "too long"),
    ("GET", "/jobs/20200101-000000-aaaaaa", {}, 404, "GET /jobs"),
    ("GET", "/jobs/nonsense", {}, 404, "ids look like"),
    ("GET", "/jobs?page=2", {}, 422, "query.page: there is no such field"),
    ("GET", "/jobs?state=failed", {}, 422, "query.state: there is no such field: do you mean status?"),
    ("GET", "/datasets/nonsense", {}, 404, "There is no data set 'nonsense'"),
    ("GET", "/datasets/20200101-000000-aaaaaa", {}, 404, "no data set 20200101-000000-aaaaaa: see GET /datasets"),
    ("GET", "/jobs?limit=0", {}, 422, "query.limit"),
    ("GET", "/jobs?limit=101", {}, 422, "query.limit"),
    ("GET", "/jobs?status=done", {}, 422, "'queued', 'running'"),
    ("GET", "/jobs?before=", {}, 404, "ids look like"),
    ("GET", "/jobs?before=%00", {}, 404, "ids look like"),
    ("GET", "/jobs?before=20200101-000000-aaaaaa", {}, 404, "GET /jobs"),
    ("GET", "/jobs/20200101-000000-aaaaaa/events", {}, 404, "GET /jobs"),
    ("GET", "/jobs/nonsense/events", {}, 404, "ids look like"),
    ("GET", "/jobs/20200101-000000-aaaaaa/cancel", {}, 405, "GET /docs"),
    *(("POST", f"/jobs/20200101-000000-aaaaaa/{verb}", {}, 404, "GET /jobs") for verb in VERBS),
    *(("POST", f"/jobs/nonsense/{verb}", {}, 404, "ids look like") for verb in VERBS),
    ("GET", "/jobs/20200101-000000-aaaaaa/epochs/1/samples.png", {}, 404, "checkpoint"),
    ("GET", "/jobs/20200101-000000-aaaaaa/epochs/0/samples.png", {}, 422, "path.epoch"),
    ("GET", "/checkpoints/nonsense", {}, 404, "ids look like"),
    ("GET", "/checkpoints/20200101-000000-aaaaaa-e001", {}, 404, "GET /checkpoints"),
    ("GET", "/nowhere", {}, 404, "GET /docs"),
    ("DELETE", "/train", {}, 405, "GET /docs"),
]


@pytest.fixture(scope="module")
def client(shared_client: TestClient) -> TestClient:
    return shared_client


@pytest.mark.parametrize(
    ("method", "path", "request_", "status", "message"),
    MISTAKES,
    ids=[f"{m[0]} {m[1][:40]} {i}" for i, m in enumerate(MISTAKES)],
)
def test_a_mistake_gets_a_problem_with_a_sentence(
    client: TestClient, redis_url: str, method: str, path: str, request_: dict[str, Any], status: int, message: str
) -> None:
    answer = client.request(method, path, **request_)
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert problem["status"] == status
    assert problem["title"]
    assert problem["type"].removeprefix("/problems/") in PROBLEMS
    assert message in problem["detail"]
    assert problem["detail"].endswith((".", "?"))
    assert answer.text.endswith("}\n")
    with redis.Redis.from_url(redis_url) as connection:
        assert [name for name in connection.scan_iter() if not name.startswith(RATES.encode())] == []


def test_allow_has_every_method_that_the_path_supports(client: TestClient) -> None:
    paths = client.get("/openapi.json").json()["paths"]
    for path, operations in paths.items():
        supported = {method.upper() for method in operations} | ({"HEAD"} if "get" in operations else set())
        answer = client.options(re.sub("{.+?}", "7", path))
        assert (answer.status_code, answer.json()["type"]) == (405, "/problems/method-not-allowed"), path
        assert set(answer.headers["Allow"].split(", ")) == supported, path
    assert client.delete("/train").headers["Allow"] == client.head("/train").headers["Allow"] == "POST"


def test_a_body_without_a_declared_length_is_limited_too(client: TestClient) -> None:
    answer = client.post("/train", content=(b" " * 10_000 for _ in range(100)), headers=JSON)
    assert answer.status_code == 413
    assert answer.headers["content-type"] == "application/problem+json"


def test_several_mistakes_are_reported_at_once(client: TestClient) -> None:
    problem = client.post("/train", json={"epochs": 0, "batch_size": "x"}).json()
    assert [mistake["field"] for mistake in problem["errors"]] == ["body.epochs", "body.batch_size"]


@pytest.mark.usefixtures("store")
def test_without_redis_digits_are_served_and_other_requests_get_retry_after() -> None:
    settings = AppSettings(redis_url="redis://127.0.0.1:9/0")
    with local_client(create_app(settings), raise_server_exceptions=False) as client:
        job = "/jobs/20200101-000000-aaaaaa"
        calls = [("POST", "/train"), ("GET", "/jobs"), ("GET", job), ("GET", f"{job}/events")]
        for method, path in calls + [("POST", f"{job}/{verb}") for verb in VERBS]:
            answer = client.request(method, path)
            assert answer.status_code == 503
            assert int(answer.headers["Retry-After"]) > 0
            assert answer.headers["content-type"] == "application/problem+json"
            assert "Redis" in answer.json()["detail"]
        assert client.get("/digits/7?n=40").status_code == 200
        assert client.get("/livez").status_code == 200
        ready = client.get("/readyz")
        assert ready.status_code == 200
        assert ready.json()["redis"].startswith("down")


@pytest.mark.parametrize(("work_rate", "why"), [("off", "accepted already"), ("100/minute", "it is full")])
def test_a_full_redis_refuses_new_jobs_and_still_returns_the_old(
    mortal_redis: RunningRedis, work_rate: str, why: str
) -> None:
    """Requests are counted in Redis, which refuses that; else the API refuses the order."""
    settings = AppSettings(redis_url=mortal_redis.url, work_rate=work_rate)
    with local_client(create_app(settings), raise_server_exceptions=False) as client:
        job = client.post("/train").json()["links"]["self"]
        client.post(f"{job}/cancel")
        with mortal_redis.client() as connection:
            connection.config_set("maxmemory", "1mb")
        before = client.get(job).json()
        for path in ("/train", f"{job}/resume", f"{job}/retry"):
            refused = client.post(path)
            assert refused.status_code == 503
            assert int(refused.headers["Retry-After"]) > 0
            assert why in refused.json()["detail"]
        assert client.get("/jobs").json()["jobs"] == [before]


def test_the_last_fifth_of_the_memory_of_redis_is_for_accepted_jobs(mortal_redis: RunningRedis) -> None:
    """A caller orders, labels and cancels runs until that is refused; the job that runs then still ends."""
    consumer, labels = JobConsumer.connect(mortal_redis.url), {"notes": "\N{GRINNING FACE}" * 2000}
    cancelled: list[str] = []
    settings = AppSettings(redis_url=mortal_redis.url, work_rate="off")
    with local_client(create_app(settings), raise_server_exceptions=False) as client, mortal_redis.client() as server:
        running = client.post("/train").json()["links"]["self"]
        claim = consumer.claim(600.0)
        assert claim
        memory: Any = server.info("memory")
        most = memory["used_memory"] + 2**20
        server.config_set("maxmemory", most)
        while (answer := client.post("/train")).status_code == 202:
            cancelled.append(answer.json()["links"]["self"])
            client.patch(cancelled[-1], json=labels)
            client.post(f"{cancelled[-1]}/cancel")
        memory = server.info("memory")
        server.config_set("maxmemory", int(memory["used_memory"] / 0.9))  # also if Redis frees buffers
        job = cancelled[-1]
        orders = ["/train", "/datasets", "/evaluations", f"{job}/resume", f"{job}/retry"]
        others = [client.put("/training-data/letters"), client.patch(job, json=labels)]
        for refused in [client.post(path) for path in orders] + others:
            assert (refused.status_code, refused.json()["type"]) == (503, "/problems/redis-nearly-full")
        assert client.get("/readyz").json()["redis"] == "up"
        consumer.add_epoch(claim, epoch_record(1))
        consumer.finish(claim, JobStatus.SUCCEEDED)
        found = client.get(running).json()
        assert (found["status"], len(found["epochs"])) == ("succeeded", 1)
        server.config_set("maxmemory", most)
        for job in cancelled:
            assert client.delete(job).status_code == 204
        assert client.post("/train").status_code == 202
    consumer.close()


def test_a_redis_that_may_lose_jobs_receives_none(mortal_redis: RunningRedis) -> None:
    with local_client(create_app(AppSettings(redis_url=mortal_redis.url)), raise_server_exceptions=False) as client:
        job = client.post("/train").json()["links"]["self"]
        client.post(f"{job}/cancel")
        with mortal_redis.client() as connection:
            connection.config_set("maxmemory-policy", "allkeys-lru")
        for path in ("/train", f"{job}/resume", f"{job}/retry"):
            refused = client.post(path)
            assert refused.status_code == 503
            assert refused.json()["type"] == "/problems/redis-unsafe"
            assert "set maxmemory-policy to noeviction" in refused.json()["detail"]
        assert "noeviction" in client.get("/readyz").json()["redis"]
        assert len(client.get("/jobs").json()["jobs"]) == 1


def test_with_neither_redis_nor_a_generator_the_process_is_not_ready() -> None:
    with local_client(create_app(AppSettings(redis_url="redis://127.0.0.1:9/0"))) as client:
        answer = client.get("/readyz")
    assert answer.status_code == 503
    assert "Retry-After" in answer.headers
    assert answer.json()["ready"] is False


def test_the_openapi_page_documents_every_path(client: TestClient, store: CheckpointStore) -> None:
    assert client.get("/docs").status_code == 200
    described = client.get("/openapi.json").json()
    assert {f"{method.upper()} {path}" for path, methods in described["paths"].items() for method in methods} == {
        "POST /checkpoints",
        "PUT /training-data/{name}",
        "GET /checkpoints/{checkpoint}/{file}",
        "GET /checkpoints/{checkpoint}/exports/{file}",
        "POST /train",
        "GET /jobs",
        "GET /jobs/{job_id}",
        "GET /jobs/{job_id}/events",
        "GET /jobs/{job_id}/live",
        *(f"GET /jobs/{{job_id}}/history.{form}" for form in ("json", "csv")),
        *(f"POST /jobs/{{job_id}}/{verb}" for verb in VERBS),
        "GET /jobs/{job_id}/epochs/{epoch}/samples.png",
        "GET /jobs/{job_id}/epochs/{epoch}/thumbnail.png",
        "PATCH /jobs/{job_id}",
        "GET /digits/{label}",
        "GET /digits/{label}/neighbours",
        "GET /digits/{label}/traversal",
        "GET /digits",
        "GET /images/{dataset}/{label}",
        "GET /images/{dataset}/{label}/neighbours",
        "GET /images/{dataset}/{label}/traversal",
        "GET /images/{dataset}",
        "GET /training-data",
        "GET /training-data/{name}",
        "GET /training-data/{name}/preview.png",
        "DELETE /training-data/{name}",
        "GET /serving",
        "PUT /serving",
        "GET /checkpoints",
        "GET /jobs/{job_id}/evolution/{label}",
        "POST /datasets",
        "GET /datasets",
        "GET /datasets/{job_id}",
        "DELETE /datasets/{job_id}",
        "DELETE /jobs/{job_id}",
        "POST /evaluations",
        "GET /evaluations",
        "GET /evaluations/{job_id}",
        "GET /evaluations/{job_id}/result.json",
        "GET /evaluations/{job_id}/picture.png",
        "GET /datasets/{job_id}/archive",
        "GET /datasets/{job_id}/{file}",
        "GET /numbers/{number}",
        "GET /morph/{first}/{last}",
        "GET /checkpoints/{checkpoint}",
        "DELETE /checkpoints/{checkpoint}",
        "GET /problems/{code}",
        "GET /livez",
        "GET /readyz",
        "GET /metrics",
    }
    assert "Problem" in described["components"]["schemas"]
