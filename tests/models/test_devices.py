"""A GPU that the driver reports and PyTorch cannot use, as with a driver that is too old for its CUDA."""

import logging
import subprocess
import sys
import warnings

import pytest
import torch

from models import devices, torch_device
from models.devices import DeviceUnavailable, settle_device

TOO_OLD = "CUDA initialization: The NVIDIA driver on your system is too old (found version 11040)."
WARNING = f"{TOO_OLD} (Triggered internally at /pytorch/c10/cuda/CUDAFunctions.cpp:109.)"


@pytest.fixture
def old_driver(monkeypatch: pytest.MonkeyPatch) -> None:
    """torch's answer with such a driver. A build of torch for CPUs has another reason."""

    def is_available() -> bool:
        warnings.warn(WARNING, stacklevel=1)
        return False

    monkeypatch.setattr(torch.cuda, "is_available", is_available)
    monkeypatch.setattr(torch.version, "cuda", "13.0")


def answer(name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> tuple[str, str]:
    """Return what the process that asks torch prints, and its error."""
    monkeypatch.setattr(sys, "argv", ["-c", name])
    try:
        torch_device.main()
    except SystemExit as ended:
        return "", str(ended.code)
    return capsys.readouterr().out, ""


def settle_with(monkeypatch: pytest.MonkeyPatch, name: str, gpus: int, answered: tuple[str, str]) -> str:
    output, error = answered
    done = subprocess.CompletedProcess([], int(bool(error)), output, f"a warning of an import\n{error}")
    with monkeypatch.context() as patch:
        patch.setattr(devices, "count_gpus", lambda: gpus)
        patch.setattr(subprocess, "run", lambda *_, **__: done)
        return settle_device(name)


@pytest.mark.usefixtures("old_driver")
@pytest.mark.parametrize(
    ("gpus", "sentence"),
    [(1, "1 GPU, but PyTorch cannot use it"), (2, "2 GPUs, but PyTorch cannot use them")],
)
def test_the_cpu_computes_instead_of_a_gpu_only_with_a_warning(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
    gpus: int,
    sentence: str,
) -> None:
    answered = answer("auto", monkeypatch, capsys)
    with caplog.at_level(logging.WARNING):
        assert settle_with(monkeypatch, "auto", gpus, answered) == "cpu"
    assert caplog.messages == [f"the driver reports {sentence}: {TOO_OLD}; the CPU computes instead"]


@pytest.mark.usefixtures("old_driver")
def test_a_missing_gpu_is_explained(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    answered = answer("cuda", monkeypatch, capsys)
    with pytest.raises(DeviceUnavailable) as raised:
        settle_with(monkeypatch, "cuda", 1, answered)
    sentence = "ACGAN_DEVICE=cuda, but this machine has 0 CUDA devices: use auto or cpu. PyTorch reports: "
    assert str(raised.value) == sentence + TOO_OLD


def test_a_build_of_torch_for_cpus_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.version, "cuda", None)
    answered = answer("auto", monkeypatch, capsys)
    assert settle_with(monkeypatch, "auto", 1, answered) == "cpu"
    assert "PyTorch is installed without CUDA" in caplog.text


def test_a_usable_gpu_and_a_machine_without_one_need_no_warning(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    assert settle_with(monkeypatch, "auto", 1, ("cuda", "")) == "cuda"
    assert settle_with(monkeypatch, "auto", 0, ("", "not asked")) == "cpu"
    assert caplog.messages == []


def test_the_process_that_asks_torch_answers(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """No GPU is visible to it, also on a machine that has one."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    monkeypatch.setattr(devices, "count_gpus", lambda: 1)
    assert settle_device("auto") == "cpu"
    (message,) = caplog.messages
    assert message.startswith("the driver reports 1 GPU, but PyTorch cannot use it: ")
