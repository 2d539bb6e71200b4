"""Deletions by role: a trainer its own jobs, an administrator everything, a reader nothing."""

from collections.abc import Iterator

import pytest
from starlette.testclient import TestClient

from app.main import create_app
from app.settings import AppSettings
from models.registry.store import CheckpointId, CheckpointStore
from tests.app.security.test_roles import RING, key, start
from tests.models.registry.test_store import OLD
from tests.support.api_clients import local_client


@pytest.fixture
def client(redis_url: str, store: CheckpointStore) -> Iterator[TestClient]:
    app = create_app(AppSettings(redis_url=redis_url, api_keys=RING, work_rate="off"))
    with local_client(app, raise_server_exceptions=False) as client:
        yield client


def ended(client: TestClient, path: str) -> str:
    """A job of ana that was cancelled before it ran."""
    job = start(client, "ana", path)
    client.post(f"/jobs/{job}/cancel", headers=key("ana")).raise_for_status()
    return job


@pytest.mark.parametrize("path", ["/train", "/datasets"])
@pytest.mark.parametrize(
    ("name", "status", "reason"),
    [
        ("rita", 403, "the role read, and this needs the role train"),
        ("ben", 403, "was started with the key 'ana'"),
        ("ana", 204, ""),
        ("root", 204, ""),
        ("old", 204, ""),
        (None, 401, ""),
    ],
)
def test_a_job_is_deleted_by_its_caller_or_an_administrator(
    client: TestClient, path: str, name: str | None, status: int, reason: str
) -> None:
    job = ended(client, path)
    answer = client.delete(f"/jobs/{job}", headers=key(name) if name else {})
    assert answer.status_code == status
    assert reason in answer.text
    left = client.get(f"/jobs/{job}", headers=key("rita"))
    assert left.status_code == (404 if status == 204 else 200)


@pytest.mark.parametrize(
    ("name", "status"), [("rita", 403), ("ana", 403), ("ben", 403), ("root", 204), ("old", 204), (None, 401)]
)
def test_a_checkpoint_is_deleted_by_an_administrator_only(
    client: TestClient, store: CheckpointStore, name: str | None, status: int
) -> None:
    answer = client.delete(f"/checkpoints/{OLD}-e001", headers=key(name) if name else {})
    assert answer.status_code == status
    assert store.stands(CheckpointId(OLD, 1)) == (status != 204)


def test_a_missing_job_is_refused_as_for_other_requests(client: TestClient) -> None:
    """The same responses as for other requests that change a job."""
    for job in ("20200101-000000-aaaaaa", "nonsense"):
        assert client.delete(f"/jobs/{job}", headers=key("ben")).status_code == 404
        assert client.delete(f"/jobs/{job}", headers=key("rita")).status_code == 403
