"""The permissions of each role, the ownership of jobs, and each caller's share of common resources."""

import json
import logging
from collections.abc import Iterator
from typing import Any

import httpx2
import pytest
from fastapi.routing import APIRoute
from pydantic import SecretStr
from starlette.testclient import TestClient

from app.api import routes
from app.api.guarded_route import MAX_FIELDS, GuardedRoute
from app.main import create_app
from app.middleware.authentication import READING
from app.security.api_keys import Keyring, Role, make_key
from app.settings import AppSettings
from models.config import TrainingConfig
from models.registry.store import CheckpointStore
from tests.app.conftest import publish
from tests.models.registry.test_store import NEW
from tests.support.api_clients import local_client
from tests.support.serving import serving
from worker.jobs.client import JobClient, Order

NAMES = {"rita": Role.READ, "ana": Role.TRAIN, "ben": Role.TRAIN, "root": Role.ADMIN}
KEYS = {name: make_key(name, role) for name, role in NAMES.items()}
OLD_KEY, OLD_ENTRY = make_key("old")
RING = SecretStr(
    " ".join([*(str(entry) for _, entry in KEYS.values()), f"{OLD_ENTRY.name}:{OLD_ENTRY.digest.decode()}"])
)
VERBS = ("cancel", "resume", "retry", "front")
TINY = {"epochs": 1, "dataset": "printed"}


def key(name: str) -> dict[str, str]:
    return {"X-API-Key": OLD_KEY if name == "old" else KEYS[name][0]}


@pytest.fixture
def guarded_client(redis_url: str, store: CheckpointStore) -> Iterator[TestClient]:
    app = create_app(AppSettings(redis_url=redis_url, api_keys=RING, work_rate="off"))
    with local_client(app, raise_server_exceptions=False) as client:
        yield client


def start(client: TestClient, name: str, path: str = "/train") -> str:
    body = TINY if path == "/train" else {"per_class": 1, "test_per_class": 1}
    return str(client.post(path, json=body, headers=key(name)).raise_for_status().json()["id"])


@pytest.mark.parametrize("name", [*NAMES, "old"])
def test_every_role_reads_everything(guarded_client: TestClient, name: str) -> None:
    job = start(guarded_client, "ana")
    for path in ("/jobs", f"/jobs/{job}", "/digits/7", "/serving", "/checkpoints", "/metrics", "/docs"):
        assert guarded_client.get(path, headers=key(name)).status_code == 200


def test_a_reader_changes_nothing(guarded_client: TestClient) -> None:
    job = start(guarded_client, "ana")
    for method, path in [
        ("POST", "/train"),
        ("POST", "/datasets"),
        *(("POST", f"/jobs/{job}/{verb}") for verb in VERBS),
        ("PUT", "/serving"),
        ("DELETE", f"/datasets/{job}"),
        ("PATCH", "/nowhere"),
    ]:
        answer = guarded_client.request(method, path, headers=key("rita"))
        assert answer.status_code == 403, path
        assert "the role read, and this needs the role train" in answer.json()["detail"]
    assert [each["id"] for each in guarded_client.get("/jobs", headers=key("rita")).json()["jobs"]] == [job]


@pytest.mark.parametrize("verb", VERBS)
def test_a_trainer_changes_its_own_jobs_only(guarded_client: TestClient, verb: str) -> None:
    for path in ("/train", "/datasets"):
        job = start(guarded_client, "ana", path)
        if verb == "resume":
            guarded_client.post(f"/jobs/{job}/cancel", headers=key("ana")).raise_for_status()
        before = guarded_client.get(f"/jobs/{job}", headers=key("ben")).json()
        refused = guarded_client.post(f"/jobs/{job}/{verb}", headers=key("ben"))
        assert refused.status_code == 403
        assert "was started with the key 'ana'" in refused.json()["detail"]
        assert guarded_client.get(f"/jobs/{job}", headers=key("ben")).json() == before
        assert guarded_client.post(f"/jobs/{job}/{verb}", headers=key("ana")).status_code == 202
    assert guarded_client.post(f"/jobs/20200101-000000-aaaaaa/{verb}", headers=key("ben")).status_code == 404
    assert guarded_client.post(f"/jobs/nonsense/{verb}", headers=key("ben")).status_code == 404


def test_a_trainer_deletes_its_own_data_set_only(guarded_client: TestClient) -> None:
    made = start(guarded_client, "ana", "/datasets")
    guarded_client.post(f"/jobs/{made}/cancel", headers=key("ana")).raise_for_status()
    assert guarded_client.delete(f"/datasets/{made}", headers=key("ben")).status_code == 403
    assert guarded_client.delete(f"/datasets/{made}", headers=key("ana")).status_code == 204


def test_only_an_admin_chooses_the_served_checkpoint(guarded_client: TestClient) -> None:
    assert guarded_client.put("/serving", json={"policy": "best"}, headers=key("ana")).status_code == 403
    assert guarded_client.get("/serving", headers=key("ana")).json()["policy"] == "newest"
    assert guarded_client.put("/serving", json={"policy": "best"}, headers=key("root")).status_code == 200


@pytest.mark.parametrize("name", ["root", "old"])
def test_an_admin_and_a_key_without_a_role_change_everything(guarded_client: TestClient, name: str) -> None:
    job = start(guarded_client, "ana")
    assert guarded_client.post(f"/jobs/{job}/front", headers=key(name)).status_code == 202
    assert guarded_client.post(f"/jobs/{job}/cancel", headers=key(name)).status_code == 202
    assert guarded_client.post(f"/jobs/{job}/resume", headers=key(name)).status_code == 202
    assert guarded_client.put("/serving", json={"policy": "best"}, headers=key(name)).status_code == 200


def test_a_record_without_a_caller_can_be_changed_only_by_an_admin(
    guarded_client: TestClient, shared_redis: Any
) -> None:
    async def create(jobs: JobClient) -> str:
        return (await jobs.create(Order(TrainingConfig(epochs=1)))).id

    job = shared_redis.ask(create)
    refused = guarded_client.post(f"/jobs/{job}/cancel", headers=key("ana"))
    assert refused.status_code == 403
    assert "without a known key" in refused.json()["detail"]
    assert guarded_client.post(f"/jobs/{job}/cancel", headers=key("root")).status_code == 202


def test_keys_without_a_role_are_named_once_at_start(redis_url: str, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        create_app(AppSettings(redis_url=redis_url, api_keys=RING))
    (line,) = [record.getMessage() for record in caplog.records if "without a role" in record.getMessage()]
    assert "old" in line
    assert "ana" not in line


@pytest.mark.parametrize("role", ["king", "Admin", "", "read:train"])
def test_an_unknown_role_is_refused(role: str) -> None:
    with pytest.raises(ValueError, match="NAME:ROLE:SHA256"):
        Keyring.parse(f"ana:{role}:{OLD_ENTRY.digest.decode()}")


def test_every_route_that_changes_something_is_guarded() -> None:
    """A route of another class would be open to every role."""
    modules = [name for name in vars(routes) if hasattr(getattr(routes, name), "router")]
    assert {"checkpoints", "datasets", "jobs", "training"} <= set(modules)
    for name in modules:
        for route in getattr(routes, name).router.routes:
            assert isinstance(route, APIRoute)
            assert isinstance(route, GuardedRoute) or READING.issuperset(route.methods or ())


# ----------------------------------------------------------------------------
# Shared resources.


def fill(client: TestClient, name: str, times: int) -> list[int]:
    return [client.post("/train", json=TINY, headers=key(name)).status_code for _ in range(times)]


def test_one_key_does_not_fill_the_queue(redis_url: str, store: CheckpointStore) -> None:
    settings = AppSettings(redis_url=redis_url, api_keys=RING, work_rate="off", queue_limit=12)
    with local_client(create_app(settings), raise_server_exceptions=False) as client:
        assert fill(client, "ana", 12) == 6 * [202] + 6 * [429]
        assert fill(client, "ben", 12) == 3 * [202] + 9 * [429]
        assert fill(client, "root", 12)[0] == 202
        refused = client.post("/train", json=TINY, headers=key("ana"))
        assert "You have too many waiting jobs" in refused.json()["detail"]
        assert refused.headers["Retry-After"]
        job = client.get("/jobs", headers=key("ana")).json()["jobs"][-1]["id"]
        client.post(f"/jobs/{job}/cancel", headers=key("ana")).raise_for_status()
        assert client.post(f"/jobs/{job}/resume", headers=key("ana")).status_code == 429
        assert client.post(f"/jobs/{job}/retry", headers=key("ana")).status_code == 429


def test_callers_that_cannot_be_distinguished_have_no_share(redis_url: str, store: CheckpointStore) -> None:
    only = SecretStr(str(KEYS["ana"][1]))
    for keys in (None, only):
        settings = AppSettings(redis_url=redis_url, api_keys=keys, work_rate="off", queue_limit=8)
        with local_client(create_app(settings)) as client:
            statuses = fill(client, "ana", 9)
            assert (statuses[-1], set(statuses)) == (429, {202, 429} if keys is None else {429})


def test_one_caller_does_not_take_all_streams(redis_url: str, store: CheckpointStore) -> None:
    settings = AppSettings(redis_url=redis_url, api_keys=RING, event_streams=6)
    with serving(settings) as address, httpx2.Client(base_url=address, timeout=20) as client:
        job = client.post("/train", json=TINY, headers=key("ana")).json()["id"]
        open_streams = []

        def follow(name: str) -> int:
            request = client.build_request("GET", f"/jobs/{job}/events", headers=key(name))
            open_streams.append(client.send(request, stream=True))
            return open_streams[-1].status_code

        assert [follow("ana") for _ in range(5)] == [200, 200, 200, 503, 503]
        assert follow("ben") == 200
        for stream in open_streams:
            stream.close()


# ----------------------------------------------------------------------------
# What shared caches may store.


@pytest.mark.parametrize("read_needs_key", [None, False])
def test_responses_that_need_a_key_are_private(
    redis_url: str, store: CheckpointStore, read_needs_key: bool | None
) -> None:
    checkpoint = publish(store, NEW, 2, seed=3)
    settings = AppSettings(redis_url=redis_url, api_keys=RING, read_needs_key=read_needs_key)
    with local_client(create_app(settings)) as client:
        job = start(client, "ana")
        fixed = f"/digits/7?seed=4&checkpoint={checkpoint}"
        paths = [fixed, fixed, "/digits/7?seed=4", f"/jobs/{NEW}/epochs/2/samples.png", f"/jobs/{job}", "/jobs"]
        paths += ["/digits/7", f"/jobs/{job}/history.csv", "/metrics", "/nowhere", "/openapi.json", "/docs", "/"]
        controls = {path: client.get(path, headers=key("ana")).headers.get("cache-control") for path in paths}
    kept = "max-age=31536000, immutable"
    records = [f"/jobs/{job}", "/jobs", "/digits/7", f"/jobs/{job}/history.csv", "/metrics", "/nowhere"]
    if read_needs_key is None:
        assert controls[fixed] == controls[f"/jobs/{NEW}/epochs/2/samples.png"] == f"private, {kept}"
        assert controls["/digits/7?seed=4"] == controls["/docs"] == controls["/openapi.json"] == "private, no-cache"
        assert {controls[path] for path in records} == {"no-store"}
    else:
        assert controls[fixed] == f"public, {kept}"
        assert controls[f"/jobs/{job}"] == "no-cache"
    assert controls["/"] == "no-cache"  # the page's own files contain no data


# ----------------------------------------------------------------------------
# Limits on the errors that the service explains for one request.


def test_a_query_of_thousands_of_parameters_is_refused_before_it_is_parsed(client: TestClient) -> None:
    answer = client.get("/digits/7?" + "&".join(f"p{number}=1" for number in range(3315)))
    assert answer.status_code == 422
    assert len(answer.content) < 1000


@pytest.mark.parametrize(
    "body",
    [
        {f"field {number}": 1 for number in range(8000)},
        {"epochs": {f"field {number}": 1 for number in range(8000)}},
        {"name": [[1] * 4000, [2] * 4000]},
        [0] * 9000,
    ],
    ids=["fields", "below a field", "lists", "a list"],
)
@pytest.mark.parametrize(("method", "path"), [("POST", "/train"), ("POST", "/datasets"), ("PUT", "/serving")])
def test_a_body_of_thousands_of_members_is_refused_before_it_is_validated(
    redis_url: str, store: CheckpointStore, method: str, path: str, body: Any
) -> None:
    with local_client(create_app(AppSettings(redis_url=redis_url, max_body_bytes=10**6))) as client:
        answer = client.request(method, path, json=body)
    assert answer.status_code == 422
    assert len(answer.content) < 1000
    assert str(MAX_FIELDS) in answer.json()["detail"]


def test_ten_mistakes_are_explained_and_the_rest_counted(client: TestClient) -> None:
    for answer in (
        client.post("/train", json={f"field {number}": 1 for number in range(30)}),
        client.get("/digits/7?" + "&".join(f"p{number}=1" for number in range(30))),
    ):
        assert answer.status_code == 422
        assert len(answer.json()["errors"]) == 10
        assert "20 more errors" in answer.json()["detail"]


def test_a_mistake_quotes_the_beginning_of_the_value(client: TestClient) -> None:
    answer = client.post("/train", content=json.dumps({"\x1b[31m\u202e" + 30_000 * "x": 1}), headers=JSON)
    assert answer.status_code == 422
    assert len(answer.content) < 2000
    assert answer.json()["detail"].isprintable()


JSON = {"Content-Type": "application/json"}


# ----------------------------------------------------------------------------
# Public responses.


def test_probes_show_no_addresses(store: CheckpointStore) -> None:
    settings = AppSettings(redis_url="redis://:secret@redis.internal.example:6379/0", api_keys=RING)
    with local_client(create_app(settings)) as client:
        client.app.state.services.inference.models._trouble = (  # type: ignore[attr-defined]
            "s3://bucket/prefix at https://minio.example:9000/x, 10.0.0.7:6379, [fd00::7]:80 and redis:6379 are away"
        )
        readiness = client.get("/readyz").json()
    assert readiness["redis"] == "down: it does not answer"
    assert readiness["trouble"] == " and ".join(["(address) at (address), (address), (address)", "(address) are away"])
