"""Every DELETE keeps what is in use, and the next DELETE completes an interrupted one."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from app.main import create_app
from app.settings import AppSettings
from models.registry.serving_policy import ServingPolicy
from models.registry.storage.base import Folder, StoreReplaced
from models.registry.store import DATASET, CheckpointId, CheckpointStore, FenceRejected
from models.synthesis.shards import Shards
from tests.app.conftest import publish
from tests.models.registry.test_removal import PART
from tests.support.api_clients import local_client
from tests.support.stores import publish as publish_as
from worker.jobs.consumer import Claim, JobConsumer, LeaseLost
from worker.jobs.errors import StoreUnavailable
from worker.jobs.keys import JOBS, job_key
from worker.jobs.model import JobStatus
from worker.runner import run_next_job

SMALL = {"per_class": 1, "test_per_class": 1}


@pytest.fixture
def store(settings: AppSettings) -> CheckpointStore:
    return CheckpointStore(settings.store_dir)


@pytest.fixture
def client(settings: AppSettings) -> Iterator[TestClient]:
    with local_client(create_app(settings), raise_server_exceptions=False) as client:
        yield client


def start(client: TestClient) -> str:
    job_id: str = client.post("/train", json={"epochs": 2}).raise_for_status().json()["id"]
    return job_id


def run(
    client: TestClient, consumer: JobConsumer, store: CheckpointStore, status: JobStatus = JobStatus.SUCCEEDED
) -> str:
    """An ended job with two checkpoints, a fence and an entry."""
    job_id = start(client)
    claim = claimed(consumer)
    publish_under(store, claim)
    if status is JobStatus.CANCELLED:
        client.post(f"/jobs/{job_id}/cancel").raise_for_status()
    consumer.finish(claim, status)
    return job_id


def claimed(consumer: JobConsumer) -> Claim:
    claim = consumer.claim()
    assert claim is not None
    return claim


def publish_under(store: CheckpointStore, claim: Claim) -> None:
    for epoch in (1, 2):
        publish(store, claim.job.id, epoch, seed=epoch)
    store.take(claim.job.id, claim.fence)


def settled(client: TestClient, consumer: JobConsumer, store: CheckpointStore) -> tuple[str, str]:
    """Two runs: the first is not in use, the second is served."""
    first, second = run(client, consumer, store), run(client, consumer, store)
    serve(client, f"{second}-e002")
    return first, second


def serve(client: TestClient, checkpoint: str) -> None:
    client.put("/serving", json={"policy": "pinned", "checkpoint": checkpoint}).raise_for_status()


def refused(client: TestClient, path: str, *words: str) -> None:
    answer = client.delete(path)
    assert answer.status_code == 409, answer.text
    for word in words:
        assert word in answer.json()["detail"].replace("Job ", "job ").replace("Data set", "data set")


def everything_of(store: CheckpointStore, job: str) -> list[Path]:
    return [path for path in store.root.rglob("*") if job in str(path)]


# ----------------------------------------------------------------------------
# What is in use.


def test_a_checkpoint_that_is_read_or_loaded_is_kept_with_its_job(
    client: TestClient, consumer: JobConsumer, store: CheckpointStore
) -> None:
    first, _ = settled(client, consumer, store)
    services = client.app.state.services  # type: ignore[attr-defined]
    with services.store.reading(CheckpointId(first, 1).folder):
        for path in (f"/jobs/{first}", f"/checkpoints/{first}-e001"):
            refused(client, path, f"{first}-e001 is being read")
    services.inference.models.loads._tasks[CheckpointId(first, 2)] = None
    for path in (f"/jobs/{first}", f"/checkpoints/{first}-e002"):
        refused(client, path, f"{first}-e002 is being read")
    del services.inference.models.loads._tasks[CheckpointId(first, 2)]
    assert store.epochs(first) == [1, 2]
    assert client.delete(f"/checkpoints/{first}-e001").status_code == 204
    assert client.delete(f"/jobs/{first}").status_code == 204


def test_the_checkpoint_of_a_waiting_data_set_is_kept_with_its_job(
    client: TestClient, consumer: JobConsumer, store: CheckpointStore
) -> None:
    first, _ = settled(client, consumer, store)
    drawing = {"checkpoint": f"{first}-e001", **SMALL}
    dataset = client.post("/datasets", json=drawing).raise_for_status().json()["id"]
    for again in ("", "/resume", "/retry"):
        if again:
            client.post(f"/jobs/{dataset}/cancel").raise_for_status()
            dataset = client.post(f"/jobs/{dataset}{again}").raise_for_status().json()["id"]
        for path in (f"/jobs/{first}", f"/checkpoints/{first}-e001"):
            refused(client, path, f"data set {dataset} is being drawn with {first}-e001")
    assert client.delete(f"/checkpoints/{first}-e002").status_code == 204
    client.post(f"/jobs/{dataset}/cancel").raise_for_status()
    assert client.delete(f"/jobs/{first}").status_code == 204
    for path in ("resume", "retry"):
        answer = client.post(f"/jobs/{dataset}/{path}")
        assert (answer.status_code, f"{first}-e001 was deleted" in answer.json()["detail"]) == (409, True)


@pytest.mark.parametrize("state", ["queued", "running", "cancelling", "resumed"])
def test_a_job_that_has_not_ended_keeps_all_its_files(
    client: TestClient, consumer: JobConsumer, store: CheckpointStore, state: str
) -> None:
    job = run(client, consumer, store, JobStatus.CANCELLED)
    serve(client, f"{run(client, consumer, store)}-e001")
    client.post(f"/jobs/{job}/resume").raise_for_status()
    if state in ("running", "cancelling"):
        claimed(consumer)
    if state == "cancelling":
        client.post(f"/jobs/{job}/cancel").raise_for_status()
    for path in (f"/jobs/{job}", f"/checkpoints/{job}-e001"):
        refused(client, path, f"job {job} is {'queued' if state == 'resumed' else state}")
    assert store.epochs(job) == [1, 2]


@pytest.mark.parametrize(("path", "order"), [("/datasets", SMALL), ("/evaluations", {})])
def test_a_job_with_a_state_of_another_version_keeps_its_checkpoint(
    client: TestClient, consumer: JobConsumer, store: CheckpointStore, path: str, order: dict[str, int]
) -> None:
    """A newer version lists its own states elsewhere: a job that is in no known list may still run."""
    first, _ = settled(client, consumer, store)
    job = client.post(path, json={"checkpoint": f"{first}-e001", **order}).raise_for_status().json()["id"]
    kind = path.strip("/")
    consumer.redis.hset(job_key(job), "status", "paused")
    assert consumer.redis.zrem(f"{JOBS}:{kind}:queued", job)
    consumer.redis.zadd(f"{JOBS}:{kind}:paused", {job: 3})
    refused(client, f"/checkpoints/{first}-e001", job)
    refused(client, f"/jobs/{first}", job)
    refused(client, f"/jobs/{job}", "is paused")
    if path == "/datasets":
        refused(client, f"/datasets/{job}")


def test_a_data_set_is_kept_while_it_is_downloaded(
    client: TestClient, consumer: JobConsumer, store: CheckpointStore, settings: AppSettings
) -> None:
    serve(client, f"{run(client, consumer, store)}-e001")
    dataset = client.post("/datasets", json=SMALL).raise_for_status().json()["id"]
    run_next_job(settings)
    services = client.app.state.services  # type: ignore[attr-defined]
    with services.store.reading(Folder(dataset, DATASET)):
        for path in (f"/datasets/{dataset}", f"/jobs/{dataset}"):
            refused(client, path, "is being read or downloaded")
    assert client.get(f"/datasets/{dataset}/manifest.json").status_code == 200
    assert client.delete(f"/datasets/{dataset}").status_code == 204
    assert client.get(f"/datasets/{dataset}/manifest.json").status_code == 404
    assert client.delete(f"/jobs/{dataset}").status_code == 204
    assert everything_of(store, dataset) == []


def test_the_bundled_generator_is_kept(settings: AppSettings) -> None:
    app = create_app(settings.model_copy(update={"pretrained": True}))
    with local_client(app, raise_server_exceptions=False) as client:
        own = client.get("/serving").json()["serving"]
        refused(client, f"/checkpoints/{own}", "comes with the package")
        assert client.get(f"/checkpoints/{own}").status_code == 200


def test_a_pin_between_the_check_and_the_deletion_is_kept(
    client: TestClient, consumer: JobConsumer, store: CheckpointStore
) -> None:
    first, second = settled(client, consumer, store)
    jobs = client.app.state.services.jobs  # type: ignore[attr-defined]
    begin = jobs.begin_deletion

    async def pin_first(job_id: str) -> int:
        token = await begin(job_id)
        await client.app.state.services.inference.models.choose(pins.pop())  # type: ignore[attr-defined]
        return int(token)

    pins = [ServingPolicy(policy="pinned", checkpoint=f"{first}-e001")]
    jobs.begin_deletion = pin_first
    refused(client, f"/jobs/{first}", f"{first}-e001 is")
    jobs.begin_deletion = begin
    assert store.epochs(first) == [1, 2]
    job = client.get(f"/jobs/{first}").json()
    assert job["trouble"] is None
    serve(client, f"{second}-e002")
    assert client.delete(f"/jobs/{first}").status_code == 204


# ----------------------------------------------------------------------------
# Interrupted deletions, and late writes.


def test_a_deleted_job_leaves_nothing_in_redis_or_in_the_store(
    client: TestClient, consumer: JobConsumer, store: CheckpointStore
) -> None:
    first, _ = settled(client, consumer, store)
    store.save_state(first, b"a state")
    assert client.delete(f"/jobs/{first}").status_code == 204
    assert everything_of(store, first) == []
    assert [str(key) for key in consumer.redis.scan_iter(f"*{first}*")] == []
    for key in consumer.redis.scan_iter("acgan:*", _type="zset"):
        assert consumer.redis.zscore(key, first) is None, key
    for method, path in (("DELETE", ""), ("POST", "/resume"), ("POST", "/retry"), ("GET", "")):
        assert client.request(method, f"/jobs/{first}{path}").status_code == 404


@pytest.mark.parametrize("when", ["before the files", "in the middle of the files", "after the files"])
def test_an_interrupted_deletion_stays_listed_is_not_resumed_and_can_be_repeated(
    client: TestClient, consumer: JobConsumer, store: CheckpointStore, when: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = run(client, consumer, store, JobStatus.CANCELLED)
    serve(client, f"{run(client, consumer, store)}-e001")
    services = client.app.state.services  # type: ignore[attr-defined]

    def fail(*_: object) -> Any:
        raise OSError(5, "Input/output error")

    async def lose(_: str) -> None:
        raise StoreUnavailable("gone")

    with monkeypatch.context() as broken:
        match when:
            case "before the files":
                broken.setattr(services.store.storage, "hide_job", fail)
            case "in the middle of the files":
                broken.setattr(services.store.storage, "clear_job", fail)
            case "after the files":
                broken.setattr(services.jobs, "end_deletion", lose)
        assert client.delete(f"/jobs/{job}").status_code == 503
    found = client.get(f"/jobs/{job}").raise_for_status().json()
    assert (found["status"], "deleting the job again" in found["trouble"]) == ("cancelled", True)
    assert job in [each["id"] for each in client.get("/jobs").json()["jobs"]]
    answer = client.post(f"/jobs/{job}/resume")
    assert (answer.status_code, "being deleted" in answer.json()["detail"]) == (409, True)
    assert client.delete(f"/jobs/{job}").status_code == 204
    assert everything_of(store, job) == []
    assert client.get(f"/jobs/{job}").status_code == 404


def test_a_process_that_is_killed_during_a_deletion_leaves_the_record_for_the_next_one(
    client: TestClient, consumer: JobConsumer, store: CheckpointStore, settings: AppSettings
) -> None:
    job = run(client, consumer, store, JobStatus.CANCELLED)
    serve(client, f"{run(client, consumer, store)}-e001")
    killed = f"""
import asyncio, os, signal
from pathlib import Path
from models.registry.store import CheckpointStore
from models.registry.removal import delete_run
from worker.jobs.client import JobClient
token = asyncio.run(JobClient.connect({settings.redis_url!r}).begin_deletion({job!r}))
store = CheckpointStore(Path({str(store.root)!r}))
store.storage.clear_job = lambda job: os.kill(os.getpid(), signal.SIGKILL)
delete_run(store, {job!r}, token)
"""
    assert subprocess.run([sys.executable, "-c", killed], check=False).returncode == -9
    assert store.epochs(job) == []
    assert "deleting the job again" in client.get(f"/jobs/{job}").json()["trouble"]
    assert client.get(f"/digits/3?checkpoint={job}-e001").status_code == 404
    assert client.delete(f"/jobs/{job}").status_code == 204
    assert everything_of(store, job) == []


def test_a_worker_that_holds_an_old_claim_writes_neither_record_nor_store(
    client: TestClient, consumer: JobConsumer, store: CheckpointStore
) -> None:
    job = start(client)
    late = claimed(consumer)
    store.take(job, late.fence)
    client.post(f"/jobs/{job}/cancel").raise_for_status()
    consumer.redis.zadd("acgan:leases", {job: 1})  # its lease expired
    assert consumer.reconcile(0.1) == [(job, "cancelled")]
    assert client.delete(f"/jobs/{job}").status_code == 204
    for write in (
        lambda: consumer.renew(late, 30),
        lambda: consumer.finish(late, JobStatus.SUCCEEDED),
        lambda: consumer.saved(late, 1, 1),
        lambda: publish_as(store, job, 1, late.fence),
        lambda: store.take(job, late.fence),
        lambda: store.save_state(job, b"late", late.fence),
    ):
        with pytest.raises((LeaseLost, FenceRejected)):
            write()
    assert everything_of(store, job) == []
    assert not consumer.redis.exists(job_key(job))
    assert start(client) != job


def test_a_late_shard_leaves_no_folder(store: CheckpointStore) -> None:
    shards = Shards(store, "20260101-000000-aaaaaa")
    with pytest.raises(StoreReplaced):
        shards.write(PART, b"late", 1)
    assert everything_of(store, "20260101-000000-aaaaaa") == []
