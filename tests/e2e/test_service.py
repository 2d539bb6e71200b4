"""The whole path with the real parts: train over HTTP, watch the job, draw digits; then kill some processes."""

import io
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from models.config import DatasetName
from tests.conftest import DATA_DIR, NOWHERE
from tests.support.running_service import Service, running
from tests.support.serving import following

DATA = {"ACGAN_MNIST_MIRRORS": NOWHERE, **({"ACGAN_DATA_DIR": str(Path(DATA_DIR).resolve())} if DATA_DIR else {})}
ROWS = [(network, split) for network in ("generator", "discriminator") for split in ("train", "test")]


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with running(tmp_path_factory.mktemp("service") / "a home", **DATA) as service:
        yield service


@pytest.fixture(scope="module")
def recipe(dataset_name: DatasetName) -> dict[str, Any]:
    return {"epochs": 2, "dataset": dataset_name, "batch_size": 10, "train_examples": 60, "test_examples": 20}


@pytest.fixture(scope="module")
def finished(service: Service, recipe: dict[str, Any]) -> dict[str, Any]:
    """A run that succeeded."""
    return service.until_ended(service.train(**recipe))


def picture(content: bytes) -> Image.Image:
    image = Image.open(io.BytesIO(content))
    assert image.format == "PNG"
    return image


def test_a_run_succeeds_with_twelve_losses_per_epoch(finished: dict[str, Any]) -> None:
    assert finished["status"] == "succeeded", finished["error"]
    assert [epoch["epoch"] for epoch in finished["epochs"]] == [1, 2]
    for epoch in finished["epochs"]:
        for network, split in ROWS:
            row = epoch["losses"][network][split]
            assert row["loss"] == pytest.approx(row["generation_loss"] + row["auxiliary_loss"], rel=1e-4)
    assert finished["config"]["precision"] in ("fp32", "bf16")
    assert finished["device"].startswith(("cpu", "cuda"))
    assert finished["progress"]["batch"] == finished["progress"]["batches"] == 6
    assert finished["progress"]["eta_seconds"] == 0
    assert finished["created_at"] <= finished["started_at"] <= finished["ended_at"]


def test_every_epoch_has_its_plot(service: Service, finished: dict[str, Any]) -> None:
    for epoch in finished["epochs"]:
        assert picture(service.client.get(epoch["samples"]).content).size == (588, 1120)


def test_digits_are_drawn_by_the_run_that_just_ended(service: Service, finished: dict[str, Any]) -> None:
    newest = finished["epochs"][-1]["checkpoint"]

    def served() -> Any:
        answer = service.client.get("/digits/7?n=40")
        return answer if answer.headers.get("X-Checkpoint") == newest else None

    answer = service.until("the new generator is served", served)
    assert picture(answer.content).size == (280, 112)
    listed = service.client.get("/checkpoints").json()
    assert listed["serving"] == newest
    assert {epoch["checkpoint"] for epoch in finished["epochs"]} <= {c["id"] for c in listed["checkpoints"]}


def test_the_command_line_draws_the_same_digits(service: Service, finished: dict[str, Any], tmp_path: Path) -> None:
    newest = finished["epochs"][-1]["checkpoint"]
    out = tmp_path / "threes.png"
    command = [sys.executable, "-m", "app.cli", "digits", "3", "-n", "12", "-o", str(out), "--seed", "4"]
    result = subprocess.run([*command, "--home", str(service.home)], capture_output=True, text=True, check=True).stdout
    assert newest in " ".join(result.split())
    served = service.client.get(f"/digits/3?n=12&seed=4&checkpoint={newest}").content
    assert list(picture(out.read_bytes()).tobytes()) == list(picture(served).tobytes())


def test_the_celery_process_has_not_loaded_torch(service: Service, finished: dict[str, Any]) -> None:
    """Otherwise CUDA and OpenMP would be forked, because the training process is its child."""
    parent = service.find("app.cli worker")
    assert "libtorch" not in Path(f"/proc/{parent}/maps").read_text()
    children = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
    assert any("libtorch" in Path(f"/proc/{child}/maps").read_text() for child in children)


def test_runs_wait_for_each_other_in_order(service: Service, recipe: dict[str, Any]) -> None:
    ids = [service.train(**{**recipe, "epochs": 1, "train_examples": 20}) for _ in range(3)]
    ended = [service.until_ended(job_id) for job_id in ids]
    assert [job["status"] for job in ended] == ["succeeded"] * 3
    starts = [job["started_at"] for job in ended]
    assert starts == sorted(starts)
    assert all(before["ended_at"] <= after["started_at"] for before, after in pairwise(ended))


@pytest.mark.long
def test_a_running_job_is_cancelled_within_seconds_and_resumed_from_its_state(
    service: Service, recipe: dict[str, Any]
) -> None:
    job_id = service.train(**{**recipe, "epochs": 5, "train_examples": 150})
    with following(str(service.client.base_url), job_id) as stream:
        checkpoint = next(result for result in stream if result.kind == "epoch").data["checkpoint"]
        asked = time.monotonic()
        assert service.client.post(f"/jobs/{job_id}/cancel").json()["status"] in ("cancelling", "cancelled")
        assert [result.data["status"] for result in stream if result.kind == "status"][-1] == "cancelled"
    assert time.monotonic() - asked < 15
    cancelled = service.job(job_id)
    assert 1 <= len(cancelled["epochs"]) < 5
    assert cancelled["epochs"][0]["checkpoint"] == checkpoint
    assert service.client.get(f"/digits/7?checkpoint={cancelled['epochs'][-1]['checkpoint']}").status_code == 200

    assert service.client.post(f"/jobs/{job_id}/resume").json()["ended_at"] is None
    resumed = service.until_ended(job_id)
    assert resumed["status"] == "succeeded"
    assert [epoch["epoch"] for epoch in resumed["epochs"]] == [1, 2, 3, 4, 5]
    assert resumed["epochs"][: len(cancelled["epochs"])] == cancelled["epochs"]
    assert f"job {job_id} resumes after iteration" in service.worker_log()


def test_killing_redis_loses_no_digit_and_no_job(
    service: Service, finished: dict[str, Any], recipe: dict[str, Any]
) -> None:
    with service.without_restarts():
        os.kill(service.find("-server 127.0.0.1"), signal.SIGKILL)
        assert service.client.get("/digits/7?n=4").status_code == 200
        refused = service.client.get("/jobs")
    assert refused.status_code == 503
    assert int(refused.headers["Retry-After"]) > 0
    service.until("Redis is back", lambda: service.client.get("/jobs").status_code == 200)
    assert service.job(finished["id"]) == finished
    assert service.until_ended(service.train(**{**recipe, "epochs": 1}))["status"] == "succeeded"


def test_a_second_up_on_the_same_home_is_refused_in_a_sentence(service: Service) -> None:
    command = [sys.executable, "-m", "app.cli", "up", "--home", str(service.home)]
    refused = subprocess.run(command, capture_output=True, text=True, check=False)
    assert refused.returncode == 2
    assert "another `acgan up` runs on" in refused.stderr
    assert "Traceback" not in refused.stderr


def test_a_port_in_use_is_reported_in_a_sentence(service: Service, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "app.cli", "up", "--home", str(tmp_path / "other"), "--port", str(service.port)]
    refused = subprocess.run(command, capture_output=True, text=True, check=False)
    assert refused.returncode == 2
    assert "choose another with --port" in refused.stderr
    assert "`ACGAN_PORT=8001 make up`" in refused.stderr
    assert "Traceback" not in refused.stderr


def test_an_unavailable_data_set_fails_the_job_with_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with running(tmp_path / "home", ACGAN_DATA_DIR=str(tmp_path / "empty"), ACGAN_MNIST_MIRRORS=NOWHERE) as service:
        job = service.until_ended(service.train(epochs=1))
        assert job["status"] == "failed"
        assert "ACGAN_DATA_DIR" in job["error"]
        assert "the cache" in job["error"]
        assert "the public mirrors" in job["error"]
        assert "`dataset: printed`" in job["error"]
        assert service.client.get("/digits/7").status_code == 503


@pytest.mark.long
def test_ctrl_c_ends_everything_and_the_next_start_resumes(tmp_path: Path, recipe: dict[str, Any]) -> None:
    with running(tmp_path / "home", **DATA) as service:
        done = service.until_ended(service.train(**{**recipe, "epochs": 1, "train_examples": 20}))
        long = service.train(**{**recipe, "epochs": 3, "train_examples": 150})
        waiting = service.train(**{**recipe, "epochs": 1, "train_examples": 20})
        service.until("the run makes progress", lambda: service.job(long)["progress"])
        assert service.stop() < 10
        assert service.processes() == {}
        last = service.log.read_text().rstrip().splitlines()[-1]
        assert last == "stopped: all processes have ended; runs and other jobs continue at the next start"

    with running(tmp_path / "home", **DATA) as service:
        assert service.job(done["id"]) == done
        assert service.client.get("/digits/7").status_code == 200
        ended = [service.until_ended(job_id) for job_id in (long, waiting)]
        assert [job["status"] for job in ended] == ["succeeded", "succeeded"]
        assert f"job {long} resumes after iteration" in service.worker_log()
        assert [epoch["epoch"] for epoch in ended[0]["epochs"]] == [1, 2, 3]
        assert ended[0]["started_at"] < ended[1]["started_at"]


def test_killing_the_supervisor_ends_its_children(tmp_path: Path) -> None:
    with running(tmp_path / "home", **DATA) as service:
        before = service.processes()
        assert len(before) >= 4
        service.process.kill()
        service.process.wait()
        for _ in range(600):
            if not service.processes():
                return
            signal.sigtimedwait([], 0.1)
        pytest.fail(f"still there: {service.processes()}")
