"""The API under a path prefix, behind proxies that remove the prefix and proxies that keep it."""

from collections.abc import Iterator

import pytest
from starlette.testclient import TestClient

from app.main import create_app
from app.schemas.links import ROUTES, read_root_path
from app.settings import AppSettings
from models.registry.store import CheckpointStore
from tests.support.api_clients import let_routes_raise, local_client

RUN = {"epochs": 1}
REFUSED = [
    "//evil.example",
    "/a//b",
    "/a\\b",
    "\\a",
    "/a/../b",
    "/.",
    "a",
    "/a?b",
    "/a#b",
    "/a b",
    "/ä",
    "/a%2f",
    "/" + "a" * 300,
]
HOST = {"Host": "localhost"}


@pytest.fixture
def prefixed(settings: AppSettings, store: CheckpointStore) -> Iterator[TestClient]:
    with local_client(create_app(settings.model_copy(update={"root_path": "/acgan"}))) as client:
        yield client


@pytest.fixture
def behind_proxy(settings: AppSettings, store: CheckpointStore) -> Iterator[TestClient]:
    app = create_app(settings.model_copy(update={"forwarded_allow_ips": "*"}))
    with local_client(app) as client:
        yield client


@pytest.mark.parametrize("kept", ["/acgan", ""], ids=["kept by the proxy", "removed by the proxy"])
def test_every_link_has_the_prefix(prefixed: TestClient, kept: str) -> None:
    started = prefixed.post(f"{kept}/train", json=RUN)
    job = started.json()
    assert started.headers["Location"] == job["links"]["self"] == f"/acgan/jobs/{job['id']}"
    assert prefixed.get(started.headers["Location"]).json()["id"] == job["id"]
    assert job["links"]["events"] == f"/acgan/jobs/{job['id']}/events"
    checkpoints = prefixed.get(f"{kept}/checkpoints").json()["checkpoints"]
    links = [link for checkpoint in checkpoints for link in checkpoint["links"].values()]
    assert links
    assert all(link.startswith("/acgan/") for link in links)
    prefixed.post(f"{kept}/train", json=RUN)
    following = prefixed.get(f"{kept}/jobs?limit=1").json()["next"]
    assert [older["id"] for older in prefixed.get(following).json()["jobs"]] == [job["id"]]


def test_redirects_stay_below_the_prefix(prefixed: TestClient) -> None:
    for path, target in (("/acgan", "/acgan/"), ("/acgan/docs/", "/acgan/docs"), ("/docs/", "/acgan/docs")):
        answer = prefixed.get(path, follow_redirects=False)
        assert (answer.status_code, answer.headers["Location"]) == (307, target)


def test_the_openapi_document_names_the_prefix(prefixed: TestClient, client: TestClient) -> None:
    assert prefixed.get("/acgan/openapi.json").json()["servers"] == [{"url": "/acgan"}]
    assert client.get("/openapi.json").json()["servers"] == [{"url": "/"}]


def test_the_prefix_of_a_trusted_proxy_is_used(behind_proxy: TestClient) -> None:
    headers = {"X-Forwarded-Prefix": "/digits-of-ana/"}
    assert behind_proxy.post("/train", json=RUN, headers=headers).headers["Location"].startswith("/digits-of-ana/jobs/")
    assert behind_proxy.post("/train", json=RUN).headers["Location"].startswith("/jobs/")


@pytest.mark.parametrize("prefix", [prefix for prefix in REFUSED if prefix.isascii()])
def test_a_prefix_that_could_lead_to_another_host_is_ignored(behind_proxy: TestClient, prefix: str) -> None:
    answer = behind_proxy.get("/docs/", headers={"X-Forwarded-Prefix": prefix}, follow_redirects=False)
    assert answer.headers["Location"] == "/docs"


def test_the_prefix_of_any_other_caller_is_ignored(client: TestClient, prefixed: TestClient) -> None:
    headers = {"X-Forwarded-Prefix": "/evil"}
    assert client.post("/train", json=RUN, headers=headers).headers["Location"].startswith("/jobs/")
    assert prefixed.post("/train", json=RUN, headers=headers).headers["Location"].startswith("/acgan/jobs/")


@pytest.mark.parametrize("path", REFUSED)
def test_a_setting_that_is_no_path_is_refused(path: str) -> None:
    with pytest.raises(ValueError, match="should be a path such as /acgan"):
        read_root_path(path)


@pytest.mark.parametrize(
    ("text", "path"), [("", ""), ("/", ""), ("/acgan/", "/acgan"), ("/a/b-c_d.e~f", "/a/b-c_d.e~f")]
)
def test_a_path_is_read(text: str, path: str) -> None:
    assert read_root_path(text) == path


def test_an_unexpected_error_is_a_problem_below_the_prefix(settings: AppSettings, store: CheckpointStore) -> None:
    app = create_app(settings.model_copy(update={"root_path": "/acgan"}))
    let_routes_raise(app, ValueError("a fault"))
    with local_client(app, raise_server_exceptions=False) as client:
        problem = client.get("/acgan/jobs").json()
    assert (problem["status"], problem["type"]) == (500, "/problems/internal-error")
    assert "unknown" not in problem["detail"]


def test_no_prefix_begins_with_a_path_of_the_api(client: TestClient) -> None:
    paths = {*client.get("/openapi.json").json()["paths"], "/docs", "/openapi.json", "/page/main.js"}
    assert {path.split("/")[1] for path in paths} == ROUTES
    with pytest.raises(ValueError, match="a path of the API"):
        read_root_path("/digits/a")


def test_no_header_changes_the_prefix_of_the_settings(settings: AppSettings, store: CheckpointStore) -> None:
    changes = {"root_path": "/acgan", "forwarded_allow_ips": "*"}
    with local_client(create_app(settings.model_copy(update=changes))) as client:
        started = client.post("/train", json=RUN, headers={"X-Forwarded-Prefix": "/other"})
    assert started.headers["Location"].startswith("/acgan/jobs/")


def test_probes_answer_with_and_without_the_prefix(prefixed: TestClient) -> None:
    assert [prefixed.get(path).status_code for path in ("/livez", "/acgan/livez", "/acgan/nothing")] == [200, 200, 404]
