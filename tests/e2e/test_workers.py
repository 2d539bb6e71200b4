"""Several workers on one machine, and jobs that need a device that only some have. No test machine has 64 GPUs."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from models.devices import count_gpus
from tests.support.running_service import running

MISSING = "this machine has" if torch.version.cuda else "PyTorch is installed without CUDA"

RECIPE = {"dataset": "printed", "epochs": 400, "batch_size": 100, "train_examples": 100, "test_examples": 1}
WITHOUT_IT = {
    "acgan worker": ["app.cli", "worker", "--device", "cuda:63"],
    "celery": ["celery", "-A", "worker.tasks", "worker"],
}


@pytest.mark.long
def test_two_workers_run_two_jobs_at_a_time_and_leave_a_job_that_needs_a_gpu(tmp_path: Path) -> None:
    with running(tmp_path / "home", ACGAN_WORKERS="2", ACGAN_DEVICE="cpu") as service:
        wants_gpu = service.train(**RECIPE, runs_on="gpu")
        jobs = [service.train(**RECIPE), service.train(**RECIPE, runs_on="cpu")]
        service.until("both run", lambda: all(service.job(job)["progress"] for job in jobs))
        records = [service.job(job) for job in jobs]
        assert {record["status"] for record in records} == {"running"}
        assert len({record["worker"] for record in records}) == 2
        waiting = service.job(wants_gpu)
        assert (waiting["status"], waiting["runs_on"]) == ("queued", "gpu")
        assert "no worker with a GPU is available" in waiting["trouble"]
        for job in jobs:
            service.client.post(f"/jobs/{job}/cancel").raise_for_status()
        assert {service.until_ended(job)["status"] for job in jobs} == {"cancelled"}
        assert service.job(wants_gpu)["status"] == "queued"
        assert service.stop() < 10
        assert service.processes() == {}


@pytest.mark.parametrize("command", WITHOUT_IT)
def test_a_worker_whose_device_is_missing_does_not_start(
    command: str, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert count_gpus() < 64
    monkeypatch.setenv("ACGAN_REDIS_URL", redis_url)
    monkeypatch.setenv("ACGAN_DEVICE", "cuda:63")
    ended = subprocess.run(
        [sys.executable, "-m", *WITHOUT_IT[command]], capture_output=True, text=True, timeout=120, check=False
    )
    assert ended.returncode == 2
    assert f"error: ACGAN_DEVICE=cuda:63, but {MISSING}" in ended.stderr
    assert "Traceback" not in ended.stderr


@pytest.mark.skipif(count_gpus() > 0, reason="this machine has a GPU")
@pytest.mark.parametrize("command", ["worker", "serve"])
def test_on_a_machine_without_gpus_a_command_that_needs_one_names_what_is_missing(
    command: str, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The worker of Compose's profile gpu and of the Kubernetes overlay starts like this."""
    monkeypatch.setenv("ACGAN_REDIS_URL", redis_url)
    monkeypatch.setenv("ACGAN_DEVICE", "cuda")
    ended = subprocess.run(
        [sys.executable, "-m", "app.cli", command], capture_output=True, text=True, timeout=120, check=False
    )
    assert ended.returncode == 2
    missing = "this machine has 0 CUDA devices" if torch.version.cuda else MISSING
    sentence = f"error: ACGAN_DEVICE=cuda, but {missing}: use auto or cpu"
    assert " ".join(ended.stderr.split()) == sentence


def test_up_with_a_missing_device_does_not_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ACGAN_DEVICE", "cuda:63")
    ended = subprocess.run(
        [sys.executable, "-m", "app.cli", "up", "--home", str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert ended.returncode == 2
    assert f"error: ACGAN_DEVICE=cuda:63, but {MISSING}" in ended.stderr
