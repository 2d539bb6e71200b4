"""The whole service with its checkpoints in a bucket: no file that another host needs is in a local folder."""

import gzip
import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from models.data.idx import read_idx
from models.registry.store import CheckpointId
from tests.faults.world import is_alive, outcome, running_world
from tests.support.running_service import Service, running
from tests.support.s3_endpoint import PATIENT_SECONDS, Endpoint, open_store
from worker.jobs.model import JobStatus

TINY = {"dataset": "printed", "epochs": 2, "batch_size": 4, "train_examples": 8, "test_examples": 8}


@pytest.fixture
def service(endpoint: Endpoint, tmp_path: Path) -> Iterator[Service]:
    given = {**endpoint.environment, "ACGAN_STORE": endpoint.address(), "ACGAN_STORE_SECONDS": "20"}
    with running(tmp_path / "home", **given) as service:
        yield service


def archives(folder: Path) -> list[str]:
    """The names of compressed files, also while folders are deleted."""
    return [name for _, _, names in os.walk(folder) for name in names if name.endswith(".gz")]


def test_a_run_and_a_data_set_are_made_and_served_from_a_bucket(
    service: Service, endpoint: Endpoint, tmp_path: Path
) -> None:
    job = service.train(**TINY)
    assert service.until_ended(job)["status"] == "succeeded"
    last = f"{job}-e002"
    service.until("the last epoch is served", lambda: service.client.get("/readyz").json()["serving"] == last)
    assert service.client.get("/digits/7?n=3").raise_for_status().headers["X-Checkpoint"] == last
    assert service.client.get(f"/digits/7?checkpoint={job}-e001").raise_for_status().content[:4] == b"\x89PNG"
    samples = service.client.get(f"/jobs/{job}/epochs/1/samples.png").raise_for_status()
    assert samples.content[:4] == b"\x89PNG"
    listed = service.client.get("/checkpoints").raise_for_status().json()
    assert [each["id"] for each in listed["checkpoints"]] == [last, f"{job}-e001"]

    order = {"per_class": 50, "test_per_class": 10}
    data_set = service.client.post("/datasets", json=order).raise_for_status().json()["id"]
    assert service.until_ended(data_set)["status"] == "succeeded"
    view = service.client.get(f"/datasets/{data_set}").raise_for_status().json()
    manifest = service.client.get(view["files"]["manifest.json"]).raise_for_status().json()
    for name, reported in manifest["files"].items():
        whole = service.client.get(view["files"][name]).raise_for_status().content
        assert hashlib.sha256(whole).hexdigest() == reported["sha256"]
        rest = service.client.get(view["files"][name], headers={"Range": "bytes=50-149"})
        assert (rest.status_code, rest.content) == (206, whole[50:150])
    images = service.client.get(view["files"]["train-images-idx3-ubyte.gz"]).content
    assert read_idx(gzip.decompress(images)).shape == (500, 28, 28)

    assert not (service.home / "checkpoints").exists()
    service.until("the worker has cleaned up", lambda: archives(service.home / "workshops") == [])
    store = open_store(service.environment["ACGAN_STORE"], tmp_path / "elsewhere", seconds=PATIENT_SECONDS)
    assert store.latest() == CheckpointId(job, 2)
    assert store.load_state(job) is None
    assert service.client.delete(f"/datasets/{data_set}").status_code == 204
    assert service.client.get(view["files"]["manifest.json"]).status_code == 404

    with endpoint.fault("refuse"):
        assert service.client.get("/digits/7?n=3").raise_for_status().headers["X-Checkpoint"] == last
        answer = service.client.get("/checkpoints", timeout=90)
        assert (answer.status_code, answer.headers["Retry-After"]) == (503, "5")


@pytest.mark.long
def test_a_run_continues_on_another_host_and_waits_for_the_bucket(endpoint: Endpoint, tmp_path: Path) -> None:
    """The hosts share only Redis and the bucket. The run of a killed worker has the result of an undisturbed one."""
    address = endpoint.address()
    given = {**endpoint.environment, "ACGAN_STORE": address, "ACGAN_STORE_SECONDS": "4", "ACGAN_SAVE_SECONDS": "1"}
    with running_world(tmp_path, environment=given) as world:
        world.store = open_store(address, tmp_path / "watcher", seconds=PATIENT_SECONDS)
        undisturbed = world.accept()
        first = world.start_worker({"ACGAN_HOME": str(tmp_path / "one")})
        expected = outcome(world.store, world.until_ended(undisturbed))
        job = world.accept()
        world.until("a state is saved", lambda: world.saved(job))
        killed = world.until_running(job)
        world.kill(killed)
        world.kill(first.pid)
        world.until("the worker is dead", lambda: not is_alive(killed))
        world.start_worker({"ACGAN_HOME": str(tmp_path / "two")})
        world.until_running(job, 60)
        with endpoint.fault("refuse"):
            trouble = world.until("the record has a trouble", lambda: world.job(job).trouble)
        assert "cannot" in trouble
        ended = world.until_ended(job)
        assert ended.status == JobStatus.SUCCEEDED
        assert ended.trouble is None
        assert outcome(world.store, ended) == expected
        assert world.violations == []
