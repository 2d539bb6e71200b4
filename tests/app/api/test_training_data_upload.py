"""Training data that arrives as a file: the job that reads it, its result, and what is left of each failure."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from starlette.testclient import TestClient

from app.main import create_app
from app.security.api_keys import Role, make_key
from app.settings import AppSettings
from models.registry.retention import GRACE_SECONDS, TEMPORARY_SECONDS, Usage, apply_retention
from models.registry.storage.uploads import UPLOAD, WORK
from models.registry.store import CheckpointStore
from models.registry.training_data import PREVIEW
from tests.support.api_clients import local_client
from tests.support.image_archives import CLASSES, bomb, zip_of_pictures
from tests.support.s3_endpoint import Endpoint
from worker.jobs.consumer import JobConsumer
from worker.jobs.keys import job_key
from worker.lifecycle import shutdown
from worker.runner import run_next_job
from worker.settings import WorkerSettings

ZIP = {"Content-Type": "application/zip"}


@pytest.fixture(autouse=True)
def no_interruption() -> Iterator[None]:
    shutdown._requested.clear()
    yield
    shutdown._requested.clear()


@pytest.fixture
def client(settings: AppSettings) -> Iterator[TestClient]:
    with local_client(create_app(settings), raise_server_exceptions=False) as client:
        yield client


@pytest.fixture
def worker(settings: AppSettings) -> WorkerSettings:
    return WorkerSettings(redis_url=settings.redis_url, device="cpu")


def send(client: TestClient, data: bytes, name: str = "letters", key: str = "", **query: Any) -> httpx2.Response:
    headers = ZIP | ({"Idempotency-Key": key} if key else {})
    return client.put(f"/training-data/{name}", content=data, headers=headers, params=query)


def accepted(client: TestClient, data: bytes, **query: Any) -> str:
    answer = send(client, data, **query)
    assert answer.status_code == 202, answer.json()
    assert answer.headers["Location"] == f"/jobs/{answer.json()['id']}"
    return str(answer.json()["id"])


def ended(client: TestClient, worker: WorkerSettings, job_id: str) -> dict[str, Any]:
    run_next_job(worker)
    job: dict[str, Any] = client.get(f"/jobs/{job_id}").json()
    return job


def files_of(store: CheckpointStore, job_id: str) -> list[str]:
    """The files of a job that are part of an upload or of an unfinished import."""
    found = [file.name for file in store.storage.files() if file.name.split("/")[0].lstrip(".").startswith(job_id)]
    return sorted(name for name in found if UPLOAD in name or WORK in name)


def test_a_file_becomes_training_data(client: TestClient, worker: WorkerSettings, settings: AppSettings) -> None:
    job_id = accepted(client, zip_of_pictures(), file="letters.zip", test_share=0.25, seed=4)
    queued, store = client.get(f"/jobs/{job_id}").json(), settings.open_store()
    assert queued["status"] == "queued"
    assert (queued["training_data"]["name"], queued["training_data"]["file"]) == ("letters", "letters.zip")
    assert queued["training_data"]["size"] == len(zip_of_pictures())
    assert queued["training_data"]["options"]["seed"] == 4
    assert files_of(store, job_id) == [f"{job_id}/{UPLOAD}/content", f"{job_id}/{UPLOAD}/manifest.json"]

    job = ended(client, worker, job_id)
    assert (job["status"], job["error"], job["trouble"]) == ("succeeded", None, None)
    assert job["result"] == {
        "dataset": "letters@1",
        "is_new": True,
        "classes": list(CLASSES),
        "train_images": 45,
        "test_images": 15,
    }
    assert (job["progress"]["batch"], job["progress"]["batches"], job["epochs"]) == (60, 60, [])
    assert files_of(store, job_id) == []
    manifest = store.training_data.manifest(store.training_data.find("letters"))
    assert manifest.classes == CLASSES
    assert store.training_data.read(manifest, PREVIEW).startswith(b"\x89PNG")
    assert "letters.zip" in manifest.source
    assert client.delete(f"/jobs/{job_id}").status_code == 204
    assert client.get("/training-data/letters").json()["version"] == 1


def test_it_is_listed_apart_from_runs(client: TestClient, worker: WorkerSettings) -> None:
    first, second = accepted(client, zip_of_pictures()), accepted(client, zip_of_pictures(), name="others")
    assert client.get("/jobs").json()["jobs"] == client.get("/datasets").json()["datasets"] == []
    page = client.get("/jobs?kind=training_data&limit=1&status=queued").json()
    assert [job["id"] for job in page["jobs"]] == [second]
    assert [job["id"] for job in client.get(page["next"]).json()["jobs"]] == [first]
    assert ended(client, worker, first)["status"] == "succeeded"
    assert [job["id"] for job in client.get("/jobs?kind=training_data&status=succeeded").json()["jobs"]] == [first]
    assert client.get("/jobs?kind=films").status_code == 422


def test_the_same_file_is_the_same_version_and_another_the_next(client: TestClient, worker: WorkerSettings) -> None:
    results = []
    for seed in (0, 0, 1):
        results.append(ended(client, worker, accepted(client, zip_of_pictures(seed=seed)))["result"])
    assert [(result["dataset"], result["is_new"]) for result in results] == [
        ("letters@1", True),
        ("letters@1", False),
        ("letters@2", True),
    ]


def test_a_repeated_request_is_the_same_job(client: TestClient, settings: AppSettings) -> None:
    first = send(client, zip_of_pictures(), key="k").json()["id"]
    again = send(client, zip_of_pictures(), key="k")
    assert (again.status_code, again.json()["id"]) == (202, first)
    other = send(client, zip_of_pictures(seed=1), key="k")
    assert (other.status_code, other.json()["type"]) == (422, "/problems/idempotency-conflict")
    assert {folder.job for folder in settings.open_store().storage.folders()} == {first}
    assert uploads(settings) == [first]


def uploads(settings: AppSettings) -> list[str]:
    """The jobs whose files are in the store, in any state."""
    return sorted({path.relative_to(settings.store_dir).parts[0] for path in settings.store_dir.rglob("content*")})


@pytest.mark.parametrize(
    ("name", "status", "code"),
    [
        ("mnist", 409, "training-data-reserved"),
        ("printed", 409, "training-data-reserved"),
        ("Letters", 422, "training-data-name-invalid"),
        ("..%2Fx", 404, "path-not-found"),
        ("letters@2", 422, "training-data-name-invalid"),
        ("x" * 300, 422, "training-data-name-invalid"),
    ],
)
def test_other_names_are_refused(client: TestClient, settings: AppSettings, name: str, status: int, code: str) -> None:
    answer = send(client, zip_of_pictures(), name)
    assert (answer.status_code, answer.json()["type"]) == (status, f"/problems/{code}")
    assert uploads(settings) == []


def test_other_requests_are_refused(client: TestClient, settings: AppSettings) -> None:
    for query in ({"fit": "stretch"}, {"test_share": 1}, {"file": "../x"}, {"file": "a/b"}, {"sneed": 1}):
        answer = send(client, zip_of_pictures(), **query)
        assert (answer.status_code, answer.json()["type"]) == (422, "/problems/invalid-input"), query
    answer = client.put("/training-data/letters", json={})
    assert (answer.status_code, answer.json()["type"]) == (415, "/problems/unsupported-file-type")
    assert uploads(settings) == []


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (b"no archive", "letters.zip"),
        (b"", "letters.zip"),
        (bomb(), "a/1.png has 67,108,864 bytes"),
        (zip_of_pictures(("a",)), "one class"),
    ],
)
def test_a_file_that_cannot_be_used_is_a_failed_job_with_a_sentence(
    client: TestClient, worker: WorkerSettings, settings: AppSettings, data: bytes, sentence: str
) -> None:
    job_id = accepted(client, data, file="letters.zip")
    job = ended(client, worker, job_id)
    assert (job["status"], job["result"]) == ("failed", None)
    assert sentence in job["error"]
    assert "\n" not in job["error"]
    assert "Traceback" not in job["error"]
    assert settings.open_store().training_data.references() == []
    assert not (settings.store_dir / job_id / WORK).exists()
    assert client.post(f"/jobs/{job_id}/resume").status_code == 202  # its file is still there
    assert ended(client, worker, job_id)["error"] == job["error"]
    refused = client.post(f"/jobs/{job_id}/retry")
    assert (refused.status_code, refused.json()["type"]) == (409, "/problems/invalid-transition")
    assert client.delete(f"/jobs/{job_id}").status_code == 204
    assert files_of(settings.open_store(), job_id) == []
    assert not (settings.store_dir / job_id).exists()


def test_a_full_queue_leaves_no_file(settings: AppSettings) -> None:
    narrow = settings.model_copy(update={"queue_limit": 1})
    with local_client(create_app(narrow)) as client:
        first = accepted(client, zip_of_pictures())
        answer = send(client, zip_of_pictures(seed=1))
        assert (answer.status_code, answer.json()["type"]) == (429, "/problems/queue-full")
        assert uploads(settings) == [first]
        assert [path.name for path in settings.store_dir.iterdir() if path.is_dir()] == [first]


def test_it_needs_the_role_admin(settings: AppSettings) -> None:
    keys = {role: make_key(role.value, role) for role in Role}
    with_keys = settings.model_copy(update={"api_keys": " ".join(str(entry) for _, entry in keys.values())})
    with local_client(create_app(AppSettings(**with_keys.model_dump()))) as client:
        for role, (key, _) in keys.items():
            headers = ZIP | {"X-API-Key": key}
            answer = client.put("/training-data/letters", content=zip_of_pictures(), headers=headers)
            assert answer.status_code == (202 if role is Role.ADMIN else 403)


def test_a_full_store_refuses_it(settings: AppSettings) -> None:
    with local_client(create_app(settings.model_copy(update={"store_limit": 1000}))) as client:
        answer = send(client, zip_of_pictures())
        assert (answer.status_code, answer.json()["type"]) == (409, "/problems/store-full")
    assert uploads(settings) == []


def test_a_bucket_holds_the_file_and_the_result(endpoint: Endpoint, redis_url: str) -> None:
    settings = AppSettings(redis_url=redis_url, store=endpoint.address())
    worker = WorkerSettings(redis_url=redis_url, store=settings.store, home=settings.home / "worker", device="cpu")
    with local_client(create_app(settings)) as client:
        failing, job_id = accepted(client, b"no archive"), accepted(client, zip_of_pictures())
        assert list((settings.home / "cache" / "uploads").iterdir()) == []
        assert ended(client, worker, failing)["status"] == "failed"
        assert ended(client, worker, job_id)["result"]["dataset"] == "letters@1"
        store = settings.open_store()
        assert files_of(store, job_id) == []
        assert files_of(store, failing) != []
        assert client.delete(f"/jobs/{failing}").status_code == 204
        assert files_of(store, failing) == []
        assert list((worker.home / "workshops").rglob("*.*")) == []


def test_files_of_ended_jobs_make_room_and_resuming_says_so(
    client: TestClient, worker: WorkerSettings, settings: AppSettings
) -> None:
    job_id = accepted(client, b"no archive")
    assert ended(client, worker, job_id)["status"] == "failed"
    store = settings.open_store()
    size = Usage(store.storage.files()).total
    assert size >= len(b"no archive")
    assert apply_retention(store, 0, unfinished=()) == []  # it is younger than ten minutes
    for path in (settings.store_dir / job_id).rglob("*"):
        age(path, GRACE_SECONDS + 1)
    assert apply_retention(store, 0, unfinished=[job_id]) == []
    assert apply_retention(store, size - 1, unfinished=()) == [f"the file that was sent for {job_id}"]
    answer = client.post(f"/jobs/{job_id}/resume")
    assert (answer.status_code, answer.json()["type"]) == (409, "/problems/invalid-transition")
    assert "was deleted. Send it again" in answer.json()["detail"]


def test_a_file_whose_job_was_never_accepted_is_deleted_after_an_hour(
    client: TestClient, settings: AppSettings, consumer: JobConsumer
) -> None:
    """The API ended between the storing of the file and the acceptance of the job."""
    job_id, other = accepted(client, zip_of_pictures()), accepted(client, zip_of_pictures(seed=1))
    consumer.redis.delete(job_key(job_id))
    store = settings.open_store()
    apply_retention(store, 1 << 40, [other], consumer.has_record)
    assert uploads(settings) == sorted([job_id, other])
    for path in settings.store_dir.rglob("*"):
        age(path, TEMPORARY_SECONDS + 1)
    apply_retention(store, 1 << 40, [other], consumer.has_record)
    assert uploads(settings) == [other]
    assert not (settings.store_dir / job_id).exists()


def age(path: Path, seconds: float) -> None:
    import os
    import time

    os.utime(path, (time.time() - seconds,) * 2)
