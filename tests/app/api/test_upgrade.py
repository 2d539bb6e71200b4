"""With the Redis and the store of the release before, this version shows, runs, resumes and follows every job.

The fixture is the text of real records (tests/fixtures/record_release.py documents how it was made). It has no weights
and no pictures: the test substitutes a generator of which that release drew a digit.
"""

import base64
import hashlib
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import redis
import torch
from safetensors.torch import save
from starlette.testclient import TestClient

from app.main import create_app
from app.settings import AppSettings
from models.config import TrainingConfig
from models.data.dataset import load_dataset
from models.networks.weights import to_bytes
from models.registry.store import MANIFEST, SAMPLES, CheckpointStore
from models.sampling.png import encode_png
from models.training import training_state
from models.training.trainer import Trainer
from tests.fixtures.record_release import generator
from tests.support.api_clients import local_client
from tests.support.serving import following, serving, until
from worker.jobs.consumer import JobConsumer
from worker.runner import run_next_job

FIXTURE = json.loads((Path(__file__).parents[2] / "fixtures" / "release_before.json").read_text())
JOBS: dict[str, str] = FIXTURE["jobs"]


def load_redis(client: Any) -> None:
    for key, (kind, value) in FIXTURE["keys"].items():
        match kind:
            case "hash":
                client.hset(key, mapping=value)
            case "string":
                client.set(key, value)
            case "zset":
                client.zadd(key, dict(value))
            case "stream":
                for entry, fields in value:
                    client.xadd(key, fields, id=entry)


def load_store(root: Path) -> None:
    """Write the records, and weights beside each manifest, with their sizes and checksums in the manifest."""
    weights, picture = to_bytes(generator()), encode_png(np.zeros((1120, 588), np.uint8))
    for name, text in FIXTURE["store"].items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        if path.name == MANIFEST and path.parent.name.isdecimal():
            manifest = json.loads(text)
            for file in manifest["files"]:
                data = picture if file == SAMPLES else weights
                (path.parent / file).write_bytes(data)
                manifest["files"][file] = {"sha256": hashlib.sha256(data).hexdigest(), "size": len(data)}
            path.write_text(json.dumps(manifest, indent=2))


def load_state(root: Path, tmp_path: Path) -> None:
    """Write the state of the cancelled run with the header that the release before wrote."""
    about = FIXTURE["state"]["about"]
    config, where = TrainingConfig.model_validate_json(about["config"]), json.loads(about["position"])
    trainer = Trainer(config, load_dataset(config, None, tmp_path / "cache", []), torch.device("cpu"))

    class Reached(Exception):
        pass

    def stop() -> None:
        if (trainer.epoch, trainer.iteration) == (where["epoch"], where["iteration"]):
            raise Reached

    with pytest.raises(Reached):
        list(trainer.run(check=stop))
    state = training_state.from_bytes(training_state.to_bytes(trainer.state()))
    assert {name: list(tensor.shape) for name, tensor in sorted(state.tensors.items())} == FIXTURE["state"]["tensors"]
    assert state.dataset_checksum == about["dataset_checksum"]
    data = save(state.tensors, metadata=about)
    digest = hashlib.sha256(data).hexdigest()
    folder = root / JOBS["cancelled"]
    (folder / f"resume-{digest[:16]}.safetensors").write_bytes(data)
    (folder / "resume.json").write_text(json.dumps({"sha256": digest, "size": len(data)}))


@pytest.fixture
def records(redis_url: str, settings: AppSettings) -> Iterator[Any]:
    load_store(settings.store_dir)
    with redis.Redis.from_url(redis_url, decode_responses=True) as client:
        load_redis(client)
        yield client


@pytest.fixture
def client(settings: AppSettings, records: Any) -> Iterator[TestClient]:
    JobConsumer.connect(settings.redis_url).rebuild_indexes()  # as a worker does when it starts
    with local_client(create_app(settings), raise_server_exceptions=False) as client:
        yield client


def stored(job: str) -> dict[str, str]:
    fields: dict[str, str] = FIXTURE["keys"][f"acgan:job:{job}"][1]
    return fields


def is_dataset(job: str) -> bool:
    return "order" in stored(job)


@pytest.mark.parametrize("what", JOBS)
def test_every_job_keeps_its_address_and_its_fields(client: TestClient, what: str) -> None:
    job, kind = JOBS[what], "datasets" if is_dataset(JOBS[what]) else "jobs"
    fields, found = stored(job), client.get(f"/{kind}/{job}").raise_for_status().json()
    assert job in [each["id"] for each in client.get(f"/{kind}").json()[kind]]
    record = client.get(f"/jobs/{job}").raise_for_status().json()
    assert found["status"] == record["status"] == fields["status"]
    config = json.loads(fields["config"])
    assert {name: record["config"][name] for name in config} == config
    for name in ("caller", "error", "retry_of", "device", "worker", "runs_on"):
        assert record[name] == fields.get(name, "any" if name == "runs_on" else None), name
    assert record["priority"] == int(fields["priority"])
    epochs = FIXTURE["keys"].get(f"acgan:job:{job}:epochs", ["hash", {}])[1]
    assert [each["checkpoint"] for each in record["epochs"]] == [
        json.loads(epoch)["checkpoint"] for epoch in epochs.values()
    ]
    if is_dataset(job):
        order = json.loads(fields["order"])
        assert {name: found["order"][name] for name in order} == order
    no_worker = fields["status"] == "queued"
    assert (record["trouble"] is not None) == no_worker, record["trouble"]


def test_every_checkpoint_keeps_its_pixels_and_the_newest_is_served(client: TestClient) -> None:
    ids = [
        json.loads(text)["id"]
        for name, text in FIXTURE["store"].items()
        if name.endswith(f"/{MANIFEST}") and "id" in json.loads(text)
    ]
    listed = client.get("/checkpoints").json()
    assert sorted(each["id"] for each in listed["checkpoints"]) == sorted(ids)
    assert listed["serving"] == json.loads(FIXTURE["store"]["latest.json"])["checkpoint"]
    drawn = np.frombuffer(base64.b64decode(FIXTURE["digit"]), np.uint8).reshape(28, 28).astype(int)
    for checkpoint in ids:
        answer = client.get(f"/digits/3?seed=7&format=npy&checkpoint={checkpoint}").raise_for_status()
        digit = np.load(io.BytesIO(answer.content)).reshape(28, 28).astype(int)
        assert abs(digit - drawn).max() <= 1, "another processor may round differently"
    assert client.get("/readyz").json()["trouble"] is None


def test_old_events_are_followed_from_where_a_client_stopped(settings: AppSettings, records: Any) -> None:
    job = JOBS["succeeded"]
    entries = [(entry, fields) for entry, fields in FIXTURE["keys"]["acgan:events"][1] if fields["job"] == job]
    with serving(settings) as address, following(address, job, entries[1][0]) as events:
        found = [(event.id, event.kind) for event in events]
    assert found == [(entry, fields["kind"]) for entry, fields in entries[2:]]


def test_queued_jobs_run_in_order_and_an_idempotency_key_still_finds_its_job(
    client: TestClient, settings: AppSettings
) -> None:
    before = {name: JOBS[name] for name in ("queued by ana", "queued by ben", "queued data set")}
    for what, job in before.items():
        run_next_job(settings)
        record = client.get(f"/jobs/{job}").json()
        assert (what, record["status"], record["error"]) == (what, "succeeded", None)
    assert client.get(f"/datasets/{before['queued data set']}/manifest.json").status_code == 200
    accepted_last = before["queued by ben"]  # of all runs with a checkpoint
    until("it is served", lambda: client.get("/serving").json()["serving"].startswith(accepted_last))


def test_the_cancelled_run_resumes_from_its_state(
    client: TestClient, settings: AppSettings, tmp_path: Path, records: Any
) -> None:
    load_state(settings.store_dir, tmp_path)
    job = JOBS["cancelled"]
    first = client.get(f"/jobs/{job}").json()["epochs"][0]
    client.post(f"/jobs/{job}/resume").raise_for_status()
    client.post(f"/jobs/{job}/front").raise_for_status()
    run_next_job(settings)
    record = client.get(f"/jobs/{job}").json()
    assert (record["status"], record["error"]) == ("succeeded", None)
    assert [each["epoch"] for each in record["epochs"]] == [1, 2, 3, 4]
    assert record["epochs"][0] == first
    assert not [warning for warning in record["warnings"] if "from the beginning" in warning]
    assert CheckpointStore(settings.store_dir).epochs(job) == [1, 2, 3, 4]


def test_jobs_of_that_release_can_be_deleted(client: TestClient, settings: AppSettings, records: Any) -> None:
    kept = ("queued by ana", "queued by ben", "queued data set", "succeeded", "cancelled")
    for what, job in JOBS.items():
        assert client.delete(f"/jobs/{job}").status_code == (409 if what in kept else 204), what
    left = [str(path) for path in settings.store_dir.rglob("*")] + list(records.scan_iter())
    for what, job in JOBS.items():
        if what not in kept:
            assert not [name for name in left if job in name and "idempotency" not in name]


@pytest.mark.parametrize("change", [{"status": "paused"}, {"config": '{"recipe": "diffusion"}'}, {"colour": "blue"}])
def test_records_of_a_later_release_are_shown_and_not_claimed(
    client: TestClient, settings: AppSettings, records: Any, change: dict[str, str]
) -> None:
    """The other direction: a later release ran, and this one was installed again."""
    job = JOBS["queued by ana"]
    records.hset(f"acgan:job:{job}", mapping=change)
    found = client.get(f"/jobs/{job}").raise_for_status().json()
    assert len(client.get("/jobs").raise_for_status().json()["jobs"]) == 5
    consumer = JobConsumer.connect(settings.redis_url)
    claim = consumer.claim()
    assert claim is not None
    if "colour" in change:
        assert (found["status"], claim.job.id) == ("queued", job)
    else:
        assert "does not understand" in found["trouble"]
        assert claim.job.id == JOBS["queued by ben"]
