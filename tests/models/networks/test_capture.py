"""Captures of CUDA graphs, on a simulated driver: the streams, the devices and the allocator's pools."""

import pytest
import torch
from torch import Tensor

from models.networks.cuda_graph import CudaGraphStep
from tests.models.networks.simulated_driver import Failing, SimulatedDriver, simulated_driver

DEVICES = [torch.device("cuda"), torch.device("cuda", 0), torch.device("cuda", 1)]


def prepare(driver: SimulatedDriver, device: torch.device) -> CudaGraphStep:
    """Capture a step that adds a batch to a sum. Its tensors are on the CPU."""
    total = torch.zeros(3)

    def add(batch: Tensor) -> None:
        total.add_(batch)

    step = CudaGraphStep(add, [total], device)
    step.buffers = (torch.ones(3),)
    with simulated_driver(driver):
        step.launch = step.prepare()
        step.launch()
    return step


@pytest.mark.parametrize("device", DEVICES, ids=str)
def test_a_capture_uses_only_its_own_device(device: torch.device) -> None:
    driver = SimulatedDriver()
    prepare(driver, device)
    assert driver.replays == 1
    assert driver.synchronized == [device.index or 0]
    assert [index for index, _ in driver.kept] == [device.index or 0]
    assert driver.device == 0


@pytest.mark.parametrize("failing", ["begin", "end"])
@pytest.mark.parametrize("device", DEVICES, ids=str)
def test_a_failed_capture_leaves_the_streams_and_the_allocator_as_they_were(
    device: torch.device, failing: Failing, caplog: pytest.LogCaptureFixture
) -> None:
    driver = SimulatedDriver(failing)
    step = prepare(driver, device)
    assert "capture failed" in caplog.text
    assert step.launch == step.run_eagerly
    assert [stream.stream_id for stream in driver.current] == [0, 0]
    assert driver.capturing == []
    assert driver.kept == []
    assert driver.device == 0


def test_an_interrupt_during_a_capture_is_not_a_failed_capture() -> None:
    driver = SimulatedDriver()

    def interrupted() -> None:
        if driver.capturing:
            raise KeyboardInterrupt

    step = CudaGraphStep(interrupted, [], torch.device("cuda", 1))
    with simulated_driver(driver), pytest.raises(KeyboardInterrupt):
        step.prepare()
    assert [stream.stream_id for stream in driver.current] == [0, 0]
    assert driver.capturing == []
    assert driver.device == 0
