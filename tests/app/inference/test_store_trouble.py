"""Faults of the store while digits are served: the served checkpoint stays, and `trouble` gives the reason."""

import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from app.inference import loads
from app.main import create_app
from app.settings import AppSettings
from models.registry.serving_policy import CHOICE
from models.registry.store import GENERATOR, MANIFEST, POINTER, CheckpointId, CheckpointStore
from tests.app.api.test_digits import until
from tests.app.conftest import publish
from tests.app.inference.test_model_manager import served
from tests.models.registry.test_store import NEW, OLD
from tests.support.api_clients import local_client
from tests.support.stores import of_a_newer_version

NEWEST = f"{NEW}-e001"


def trouble(client: TestClient) -> str:
    message: str | None = client.get("/readyz").json()["trouble"]
    return message or ""


@pytest.fixture
def own(settings: AppSettings, store: CheckpointStore) -> Iterator[TestClient]:
    """An API that may also serve the bundled generator."""
    assert store.latest()
    with local_client(create_app(settings.model_copy(update={"pretrained": True}))) as client:
        assert served(client) == NEWEST
        yield client


@pytest.mark.parametrize("gone", [POINTER, NEW, "."])
def test_the_served_checkpoint_stays_while_its_files_are_gone(
    own: TestClient, store: CheckpointStore, gone: str
) -> None:
    path = (store.root / gone).resolve()
    away = path.rename(store.root.parent / "away")
    until(lambda: trouble(own) != "")
    assert served(own) == NEWEST
    assert any(word in trouble(own) for word in (POINTER, "gone"))
    away.rename(path)
    until(lambda: trouble(own) == "")
    newer = publish(store, NEW, 2, seed=3)
    until(lambda: served(own) == newer)


def test_an_empty_folder_in_place_of_the_store_is_not_a_store(own: TestClient, store: CheckpointStore) -> None:
    store.take("20260103-000000-aaaaaa", 1)  # writes the store's identity
    until(lambda: own.app.state.services.store._identity is not None)  # type: ignore[attr-defined]
    away = store.root.rename(store.root.parent / "away")
    store.root.mkdir()
    until(lambda: "emptied" in trouble(own))
    assert served(own) == NEWEST
    store.root.rmdir()
    away.rename(store.root)
    until(lambda: trouble(own) == "")


@pytest.mark.parametrize("name", [POINTER, CHOICE])
@pytest.mark.parametrize("content", [b"{", b"[]", b'{"policy": 1, "checkpoint": 2}', None])
def test_an_api_starts_with_a_checkpoint_that_verifies(
    settings: AppSettings, store: CheckpointStore, caplog: pytest.LogCaptureFixture, name: str, content: bytes | None
) -> None:
    """None stands for a file that cannot be read."""
    (store.root / name).unlink(missing_ok=True)
    (store.root / name).mkdir() if content is None else (store.root / name).write_bytes(content)
    with local_client(create_app(settings)) as client:
        assert served(client) == NEWEST
        assert name in trouble(client)
        time.sleep(2.5)
        assert sum(name in record.getMessage() for record in caplog.records if record.levelname == "ERROR") == 1
        assert [record for record in caplog.records if record.exc_info] == []


def test_the_policy_stays_in_force_when_its_file_is_gone(client: TestClient, store: CheckpointStore) -> None:
    client.put("/serving", json={"policy": "pinned", "checkpoint": f"{OLD}-e001"})
    (store.root / CHOICE).unlink()
    until(lambda: CHOICE in trouble(client))
    assert served(client) == f"{OLD}-e001"
    client.put("/serving", json={"policy": "newest"})
    assert served(client) == NEWEST
    assert trouble(client) == ""


def test_a_pinned_checkpoint_stays_served_when_its_files_are_gone(client: TestClient, store: CheckpointStore) -> None:
    client.put("/serving", json={"policy": "pinned", "checkpoint": f"{OLD}-e001"})
    (store.folder(CheckpointId(OLD, 1))).rename(store.root / "away")
    until(lambda: "the pinned checkpoint" in trouble(client))
    assert served(client) == f"{OLD}-e001"


def test_a_pipe_in_place_of_a_generator_is_a_503_and_trouble(client: TestClient, store: CheckpointStore) -> None:
    (store.folder(CheckpointId(OLD, 1)) / GENERATOR).unlink()
    os.mkfifo(store.folder(CheckpointId(OLD, 1)) / GENERATOR)
    answer = client.get(f"/digits/3?checkpoint={OLD}-e001")
    assert (answer.status_code, "Retry-After" in answer.headers) == (503, True)
    assert GENERATOR in trouble(client)
    assert served(client) == NEWEST


def test_a_read_that_hangs_delays_no_other(
    settings: AppSettings, store: CheckpointStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    another = publish(store, NEW, 2, seed=3)
    newest = publish(store, NEW, 3, seed=4)
    released = threading.Event()
    really_read = CheckpointStore.read

    def read(self: CheckpointStore, manifest: object, name: str) -> bytes:
        if getattr(manifest, "id", "") == f"{OLD}-e001":
            released.wait(200)
        return really_read(self, manifest, name)  # type: ignore[arg-type]

    monkeypatch.setattr(CheckpointStore, "read", read)
    monkeypatch.setattr(loads, "LOAD_SECONDS", 3.0)
    with local_client(create_app(settings), raise_server_exceptions=False) as client:
        answer = client.get(f"/digits/3?checkpoint={OLD}-e001")
        assert (answer.status_code, "Retry-After" in answer.headers) == (503, True)
        assert f"{OLD}-e001" in trouble(client)
        monkeypatch.setattr(loads, "LOAD_SECONDS", 60.0)  # a busy machine needs more than 3 for one that does not hang
        assert client.get(f"/digits/3?checkpoint={another}").status_code == 200
        later = publish(store, NEW, 4, seed=5)
        assert later != newest
        until(lambda: served(client) == later)
        released.set()
        until(lambda: client.get(f"/digits/3?checkpoint={OLD}-e001").status_code == 200)  # no load is left behind


def test_a_checkpoint_of_another_version_is_listed_with_the_reason(client: TestClient, store: CheckpointStore) -> None:
    of_a_newer_version(store, OLD, 1)
    listed = client.get("/checkpoints").json()
    assert [each["id"] for each in listed["checkpoints"]] == [NEWEST]
    (unusable,) = listed["unusable"]
    assert (unusable["id"], unusable["written_by_another_version"]) == (f"{OLD}-e001", True)
    assert "recipe" in unusable["reason"]
    answer = client.get(f"/checkpoints/{OLD}-e001")
    assert answer.status_code == 409
    assert "another version" in answer.json()["detail"]
    assert Path(store.folder(CheckpointId(OLD, 1)) / MANIFEST).exists()


@pytest.mark.parametrize("content", [b"{", b"[]", b'{"order": 1}', b"{" + b" " * 2**21 + b"}"])
def test_a_data_set_with_a_damaged_manifest_is_a_503_with_the_reason(
    client: TestClient, store: CheckpointStore, content: bytes
) -> None:
    folder = store.dataset_workshop(OLD)
    folder.mkdir(parents=True)
    (folder / MANIFEST).write_bytes(content)
    answer = client.get(f"/datasets/{OLD}/{MANIFEST}")
    assert (answer.status_code, "Retry-After" in answer.headers) == (503, True)
    assert "manifest" in answer.json()["detail"]
