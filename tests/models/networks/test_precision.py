"""The choice of a device and of a precision."""

import pytest
import torch

from models.devices import DeviceUnavailable
from models.networks.precision import settle_precision
from models.torch_device import find_device
from tests.models.networks.simulated_driver import SimulatedDriver, simulated_driver

CPU = torch.device("cpu")


@pytest.mark.parametrize("name", ["cuda:99", "cuda:128", "cuda:01", "tpu", "cuda:"])
def test_a_missing_device_is_named(name: str) -> None:
    with pytest.raises(DeviceUnavailable, match=f"ACGAN_DEVICE={name}"):
        find_device(name)


def test_bf16_is_refused_on_devices_on_which_it_would_take_days(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("models.networks.precision._cpu_multiplies_bf16", lambda: False)
    with pytest.raises(DeviceUnavailable, match="use auto or fp32"):
        settle_precision("bf16", CPU)
    assert settle_precision("auto", CPU) == "fp32"


def test_the_precision_is_that_of_the_given_gpu() -> None:
    with simulated_driver(SimulatedDriver()) as driver:
        assert settle_precision("auto", torch.device("cuda", 0)) == "fp32"
        assert settle_precision("auto", torch.device("cuda", 1)) == "bf16"
        assert driver.device == 0
