"""Generated data sets, from the order to the files. The worker's code is called as its Celery task calls it."""

import gzip
import hashlib
import json
import threading
from pathlib import Path

import numpy as np
import pytest
import torch
from starlette.testclient import TestClient

from app.main import create_app
from app.settings import AppSettings
from models.atomic_files import write_durably
from models.data.idx import read_idx
from models.evaluation.verifier import find_verifier
from models.registry.store import CheckpointId, CheckpointStore
from models.synthesis.order import FILES
from tests.app.api.test_compositions import digits_of
from tests.models.registry.test_store import NEW, OLD
from tests.support.api_clients import local_client
from worker.lifecycle import shutdown
from worker.lifecycle.lease import Lease
from worker.runner import run_next_job

SMALL = {"per_class": 12, "test_per_class": 3, "seed": 4}
FOUR = [name for name in FILES if "redraws" not in name]


def ordered(client: TestClient, **fields: object) -> str:
    answer = client.post("/datasets", json={**SMALL, **fields})
    assert answer.status_code == 202, answer.text
    assert answer.headers["Location"] == f"/datasets/{answer.json()['id']}"
    return str(answer.json()["id"])


def array(client: TestClient, data_set: str, name: str) -> np.ndarray:
    return read_idx(gzip.decompress(client.get(f"/datasets/{data_set}/{name}").content))


def test_an_order_produces_files_in_the_format_of_mnist(client: TestClient, settings: AppSettings) -> None:
    data_set = ordered(client)
    waiting = client.get(f"/datasets/{data_set}").json()
    assert (waiting["status"], waiting["files"], waiting["progress"]) == ("queued", {}, None)
    assert waiting["order"]["checkpoint"] == f"{NEW}-e001"
    assert client.get(f"/datasets/{data_set}/manifest.json").status_code == 404

    run_next_job(settings)
    made = client.get(f"/datasets/{data_set}").json()
    assert made["status"] == "succeeded"
    assert (made["progress"]["drawn"], made["progress"]["digits"]) == (150, 150)
    assert list(made["files"]) == ["manifest.json", *FOUR]
    manifest = client.get(made["files"]["manifest.json"]).json()
    for name in FOUR:
        answer = client.get(made["files"][name])
        assert answer.headers["content-type"] == "application/gzip"
        assert hashlib.sha256(answer.content).hexdigest() == manifest["files"][name]["sha256"]
    for split, n, first in (("train", 12, 0), ("t10k", 3, 12)):
        images, labels = (
            array(client, data_set, f"{split}-{what}-ubyte.gz") for what in ("images-idx3", "labels-idx1")
        )
        assert np.array_equal(labels, np.tile(np.arange(10), n))
        for label in range(10):
            drawn = digits_of(client, f"/digits/{label}?n={n}&seed=4&index={first}")
            assert np.array_equal(images[label::10], drawn)


def test_files_support_ranges_and_have_names(
    client: TestClient, settings: AppSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.api.downloads.PIECE", 1000)
    data_set = ordered(client)
    run_next_job(settings)
    path = f"/datasets/{data_set}/train-images-idx3-ubyte.gz"
    whole = client.get(path)
    rest = client.get(path, headers={"Range": "bytes=100-", "If-Range": whole.headers["ETag"]})
    assert rest.status_code == 206
    assert rest.content == whole.content[100:]
    assert client.get(path, headers={"If-None-Match": whole.headers["ETag"]}).status_code == 304
    assert rest.headers["Content-Range"] == f"bytes 100-{len(whole.content) - 1}/{len(whole.content)}"
    assert client.get(path, headers={"Range": "bytes=100-", "If-Range": '"another"'}).status_code == 200
    beyond = client.get(path, headers={"Range": f"bytes={len(whole.content)}-"})
    assert (beyond.status_code, beyond.headers["Content-Range"]) == (416, f"bytes */{len(whole.content)}")
    labels = client.get(f"/datasets/{data_set}/train-labels-idx1-ubyte.gz")
    assert labels.headers["ETag"] != whole.headers["ETag"]


def test_a_verified_data_set_records_its_redraws(client: TestClient, settings: AppSettings) -> None:
    verifier = find_verifier("mnist", torch.device("cpu"))
    assert verifier
    found = [verifier.probabilities(digits_of(client, f"/digits/{label}?n=15&seed=4"), label) for label in range(10)]
    bar = float(min(np.sort(each)[3] for each in found))  # low enough for every label, too high for some digits
    data_set = ordered(client, verify=bar)
    run_next_job(settings)
    made = client.get(f"/datasets/{data_set}").json()
    assert made["status"] == "succeeded", made["error"]
    redraws = array(client, data_set, "train-redraws-idx1-ubyte.gz")
    images = array(client, data_set, "train-images-idx3-ubyte.gz")
    assert redraws.shape == (120,)
    assert redraws.any()
    for place in range(120):
        label, index = place % 10, place // 10 + 15 * int(redraws[place])
        assert np.array_equal(images[place], digits_of(client, f"/digits/{label}?seed=4&index={index}")[0])
    assert (verifier.probabilities(images, np.arange(120) % 10) >= np.float32(bar)).all()


def test_a_threshold_that_no_digit_reaches_fails_the_job_with_the_reason(
    client: TestClient, settings: AppSettings
) -> None:
    data_set = ordered(client, verify=1)
    run_next_job(settings)
    made = client.get(f"/datasets/{data_set}").json()
    assert made["status"] == "failed"
    assert "with a probability of at least 1: lower verify" in made["error"]


@pytest.mark.parametrize("how", ["cancelled", "queued"])
def test_a_stopped_order_resumes_from_its_last_part(
    client: TestClient, settings: AppSettings, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    """The order is cancelled by its caller, or handed back by a worker that shuts down."""
    monkeypatch.setattr("models.synthesis.order.PART", 4)
    undisturbed = ordered(client)
    run_next_job(settings)
    stopped, written = ordered(client), list[str]()

    heard = threading.Event()
    really_renew = Lease._renew

    def renew(lease: Lease) -> bool:
        held = really_renew(lease)
        if lease._cancelled.is_set():
            heard.set()
        return held

    def stop_after_the_second_part(path: Path, data: bytes) -> None:
        write_durably(path, data)
        written.append(path.name)
        if path.name == "train-0000008" and how == "cancelled":
            client.post(f"/jobs/{stopped}/cancel")
            assert heard.wait(60), "the worker has not read the request to cancel"
        elif path.name == "train-0000008":
            shutdown._requested.set()

    monkeypatch.setattr("models.synthesis.builder.write_durably", stop_after_the_second_part)
    monkeypatch.setattr(Lease, "_renew", renew)
    assert (run_next_job(settings) is not None) == (how == "queued")
    result = client.get(f"/datasets/{stopped}").json()
    assert (result["status"], result["progress"]["drawn"]) == (how, 70)
    if how == "cancelled":
        assert client.post(f"/jobs/{stopped}/resume").status_code == 202
    shutdown._requested.clear()
    run_next_job(settings)
    parts = ["t10k-0000000", "train-0000008", "train-0000004", "train-0000000"]  # other workers begin with the first
    assert written == [*parts, "manifest.json"]  # each exactly once
    for name in FOUR:
        ours, theirs = (client.get(f"/datasets/{each}/{name}").content for each in (stopped, undisturbed))
        assert ours == theirs


def test_data_sets_and_runs_are_listed_separately(client: TestClient) -> None:
    first, run, second = ordered(client), client.post("/train").json()["id"], ordered(client, checkpoint=f"{OLD}-e001")
    assert [each["id"] for each in client.get("/jobs").json()["jobs"]] == [run]
    page = client.get("/datasets?limit=1").json()
    assert [each["id"] for each in page["datasets"]] == [second]
    assert [each["id"] for each in client.get(page["next"]).json()["datasets"]] == [first]
    assert page["datasets"][0]["links"]["checkpoint"] == f"/checkpoints/{OLD}-e001"
    assert client.get(f"/jobs/{first}").json()["order"]["seed"] == 4
    assert client.get(f"/datasets/{run}").status_code == 404
    assert client.delete(f"/datasets/{run}").status_code == 404


def test_an_order_sent_twice_creates_one_job(client: TestClient) -> None:
    key = {"Idempotency-Key": "tuesday"}
    first = client.post("/datasets", json=SMALL, headers=key)
    assert client.post("/datasets", json=SMALL, headers=key).json()["id"] == first.json()["id"]
    assert client.post("/datasets", json={**SMALL, "seed": 5}, headers=key).status_code == 422
    assert client.post("/train", headers=key).status_code == 422


def test_deleted_files_can_be_made_again(client: TestClient, settings: AppSettings) -> None:
    data_set = ordered(client)
    refused = client.delete(f"/datasets/{data_set}")
    assert refused.status_code == 409
    assert "cancel it first" in refused.json()["detail"]
    run_next_job(settings)
    before = client.get(f"/datasets/{data_set}/{FOUR[0]}").content
    assert client.delete(f"/datasets/{data_set}").status_code == 204
    assert client.get(f"/datasets/{data_set}/{FOUR[0]}").status_code == 404
    assert client.get(f"/datasets/{data_set}").json()["files"] == {}
    again = client.post(f"/jobs/{data_set}/retry").json()["id"]
    run_next_job(settings)
    assert client.get(f"/datasets/{again}/{FOUR[0]}").content == before


def test_impossible_orders_are_refused(client: TestClient, settings: AppSettings, store: CheckpointStore) -> None:
    for field, value in (("per_class", 0), ("per_class", 500_001), ("verify", 2), ("seed", -1), ("labels", [3])):
        assert client.post("/datasets", json={field: value}).status_code == 422
    assert client.post("/datasets", json={"checkpoint": f"{NEW}-e009"}).status_code == 404
    path = client.get("/datasets/20260103-000000-aaaaaa/secrets.gz")
    assert path.status_code == 422
    assert "there is no such file" in path.json()["detail"]
    data_set = ordered(client, checkpoint=f"{OLD}-e001")
    (store.folder(CheckpointId(OLD, 1)) / "manifest.json").unlink()
    run_next_job(settings)
    failed = client.get(f"/datasets/{data_set}").json()
    assert failed["status"] == "failed"
    assert failed["error"].startswith(f"there is no checkpoint {OLD}-e001")


def test_reading_a_finished_data_set_needs_no_redis(client: TestClient, settings: AppSettings) -> None:
    data_set = ordered(client)
    run_next_job(settings)
    with local_client(create_app(settings.model_copy(update={"redis_url": "redis://127.0.0.1:9/0"}))) as alone:
        manifest = json.loads(alone.get(f"/datasets/{data_set}/manifest.json").content)
        assert set(manifest["files"]) == set(FOUR)
