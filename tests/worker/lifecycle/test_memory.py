"""Too little memory on a device: one job fails with a sentence, and every other job, on any worker, runs."""

import re
import signal
import subprocess
import sys
import weakref
from pathlib import Path

import pytest
import torch

from models.devices import DeviceOutOfMemory
from models.torch_device import explain_out_of_memory
from models.training.trainer import Trainer
from tests.faults.world import running_world
from worker.jobs.model import JobStatus
from worker.runner import run_next_job
from worker.settings import WorkerSettings

CPU = torch.device("cpu")
SENTENCE = (
    r"cpu \(\d+ threads\) has too little memory for a training with batches of {} images: "
    r"\d+\.\d of \d+\.\d GiB were free when it failed; reduce the batch size, or end other programs"
)


def test_a_job_without_memory_fails_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The allocator refuses in the second epoch; another worker's job and this worker's next one succeed."""
    trainers = list[weakref.ref[Trainer]]()

    def step(self: Trainer, epoch: int, iteration: int) -> None:
        trainers.append(weakref.ref(self))
        if epoch == 2:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 96.00 GiB.")
        train(self, epoch, iteration)

    train = Trainer.step
    with running_world(tmp_path, environment={"ACGAN_LEASE_SECONDS": "60"}) as world:  # no pause loses a job
        world.start_worker()
        other = world.accept(epochs=12)
        world.until_running(other, 60)
        settings = WorkerSettings(redis_url=world.redis.url, home=world.home)

        monkeypatch.setattr(Trainer, "step", step)
        large = world.accept(epochs=2)
        run_next_job(settings)
        job = world.job(large)
        assert job.status == JobStatus.FAILED
        assert re.match(SENTENCE.format(4), str(job.error))
        assert [epoch.epoch for epoch in job.epochs] == [1]
        beside = world.job(other)
        assert beside.ended_at is None or (job.started_at and beside.ended_at > job.started_at), "it did not run beside"
        assert all(trainer() is None for trainer in trainers), "the memory of the failed job is not free"

        assert world.until_ended(other).status == JobStatus.SUCCEEDED
        world.kill(world.workers[0].pid, signal.SIGTERM)  # else it could claim the next job
        assert world.workers[0].wait(60) == 0
        monkeypatch.setattr(Trainer, "step", train)
        small = world.accept(epochs=1)
        run_next_job(settings)
        assert world.job(small).status == JobStatus.SUCCEEDED


def test_a_batch_larger_than_all_memory_is_explained() -> None:
    """The CPU's allocator raises a plain RuntimeError."""
    with pytest.raises(DeviceOutOfMemory, match=SENTENCE.format(7)), explain_out_of_memory(CPU, 7):
        torch.empty(2**55, dtype=torch.uint8)


@pytest.mark.parametrize("message", ["CUDA error: out of memory", "CUBLAS_STATUS_ALLOC_FAILED when calling ..."])
def test_errors_of_libraries_without_memory_are_explained(message: str) -> None:
    with pytest.raises(DeviceOutOfMemory, match="too little memory for this job"), explain_out_of_memory(CPU):
        raise RuntimeError(message)


def test_other_errors_are_not_changed() -> None:
    with pytest.raises(RuntimeError, match="mat1 and mat2"), explain_out_of_memory(CPU, 7):
        torch.zeros(2, 3) @ torch.zeros(2, 3)


TRAIN = """
import torch
from models.training.trainer import Trainer

def step(*_):
    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 96.00 GiB.")

Trainer.step = step
from app.cli import main
main()
"""


def test_acgan_train_prints_the_sentence_and_exits_with_1(tmp_path: Path) -> None:
    sizes = ["--batch-size", "20", "--train-examples", "60", "--test-examples", "20"]
    command = [sys.executable, "-c", TRAIN, "train", "--dataset", "printed", *sizes, "--out", str(tmp_path / "run")]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.returncode == 1, ended.stderr
    assert re.match("error: " + SENTENCE.format(20), ended.stderr.replace("\n", " "))
    assert "Traceback" not in ended.stderr
