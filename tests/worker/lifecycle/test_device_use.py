"""A process whose device is broken, as after an illegal memory access of a GPU, ends after its job.

On a CPU no such error occurs: the tests raise torch's own error where a GPU would.
"""

from collections.abc import Callable
from typing import Any

import pytest
import torch

from models import torch_device
from models.config import TrainingConfig
from models.devices import DeviceOutOfMemory
from models.synthesis import order
from models.torch_device import explain_out_of_memory, is_broken
from tests.worker.conftest import Ask, accept
from tests.worker.sharing.conftest import ORDER
from worker.handlers.shards import draw_shard
from worker.jobs.client import Order
from worker.jobs.model import JobKind, JobStatus
from worker.lifecycle.lease import EXIT_CODE
from worker.runner import HANDLERS, run_next_job
from worker.settings import WorkerSettings

CPU = torch.device("cpu")
ILLEGAL_ACCESS = "CUDA error: an illegal memory access was encountered"


@pytest.fixture
def settings(redis_url: str) -> WorkerSettings:
    return WorkerSettings(redis_url=redis_url, device="cpu")


def failing(error: Exception) -> Callable[..., None]:
    def fail(*_: object, **__: object) -> None:
        raise error

    return fail


def during_cleanup() -> Exception:
    """The error of the device, hidden by one of the handler's cleanup."""
    try:
        try:
            raise torch.AcceleratorError(ILLEGAL_ACCESS)
        finally:
            raise OSError("no space left on device")
    except OSError as error:
        return error


@pytest.mark.parametrize("error", [torch.AcceleratorError(ILLEGAL_ACCESS), during_cleanup()], ids=["itself", "hidden"])
def test_a_broken_device_fails_one_job_and_ends_the_process(
    ask: Ask[Any], settings: WorkerSettings, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    first, second = accept(ask), accept(ask)
    ends = list[tuple[int, JobStatus]]()
    monkeypatch.setitem(HANDLERS, JobKind.TRAINING, failing(error))
    monkeypatch.setattr(torch_device, "free_cache", failing(torch.AcceleratorError(ILLEGAL_ACCESS)))

    def end(code: int) -> None:
        ends.append((code, ask(lambda jobs: jobs.get(first.id)).status))

    run_next_job(settings, end_process=end)
    assert ends == [(EXIT_CODE, JobStatus.FAILED)]
    assert ask(lambda jobs: jobs.get(second.id)).status == JobStatus.QUEUED


def test_a_device_whose_memory_cannot_be_released_ends_the_process(
    ask: Ask[Any], settings: WorkerSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A library on the device may report the error as a plain one."""
    job, ends = accept(ask), list[int]()
    monkeypatch.setitem(HANDLERS, JobKind.TRAINING, failing(RuntimeError(f"Triton Error [CUDA]: {ILLEGAL_ACCESS}")))
    monkeypatch.setattr(torch_device, "free_cache", failing(torch.AcceleratorError(ILLEGAL_ACCESS)))
    run_next_job(settings, end_process=ends.append)
    assert (ends, ask(lambda jobs: jobs.get(job.id)).status) == ([EXIT_CODE], JobStatus.FAILED)


@pytest.mark.parametrize(
    "error", [RuntimeError("out of luck"), torch.AcceleratorError("CUDA error: out of memory"), OSError("no file")]
)
def test_another_error_does_not_end_the_process(
    ask: Ask[Any], settings: WorkerSettings, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    job, ends = accept(ask), list[int]()
    monkeypatch.setitem(HANDLERS, JobKind.TRAINING, failing(error))
    run_next_job(settings, end_process=ends.append)
    assert (ends, ask(lambda jobs: jobs.get(job.id)).status) == ([], JobStatus.FAILED)


def test_too_little_memory_does_not_break_a_device() -> None:
    with pytest.raises(DeviceOutOfMemory) as explained, explain_out_of_memory(CPU):
        raise torch.AcceleratorError("CUDA error: out of memory")
    assert not is_broken(explained.value)
    assert not is_broken(torch.OutOfMemoryError("CUDA out of memory"))


@pytest.mark.parametrize("step", ["_draw", "_free_cache"])
def test_a_device_that_breaks_while_a_part_is_drawn_ends_the_process(
    ask: Ask[Any], settings: WorkerSettings, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    """The owner of the data set draws the part."""
    ends = list[int]()
    monkeypatch.setattr(order, "PART", 4)  # so that the data set has more than one
    job = ask(lambda jobs: jobs.create(Order(TrainingConfig(), dataset=ORDER)))
    monkeypatch.setattr(f"worker.handlers.shards.{step}", failing(torch.AcceleratorError(ILLEGAL_ACCESS)))
    run_next_job(settings, lambda message: draw_shard(settings, message, end_process=ends.append))
    assert set(ends) == {EXIT_CODE}
    assert ask(lambda jobs: jobs.get(job.id)).status == JobStatus.SUCCEEDED
