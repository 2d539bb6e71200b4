"""The Triton kernels without a GPU: run by Triton's interpreter, and compiled for an H100."""

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from models.training.fused.kernels import TorchKernels, select_kernels, threshold_of
from models.training.recipes import RECIPES

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("triton") is None, reason="Triton has no wheel for this platform"
)


def check(name: str, folder: Path, **environment: str) -> dict[str, Any]:
    command = [sys.executable, "-W", "ignore", "-m", "tests.models.training.fused.triton_checks", name]
    variables = {**os.environ, "TRITON_CACHE_DIR": str(folder), **environment}
    ran = subprocess.run(command, env=variables, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    found: dict[str, Any] = json.loads(ran.stdout)
    return found


def test_they_compute_the_same_as_their_reference(tmp_path: Path) -> None:
    differences = check("run", tmp_path, TRITON_INTERPRET="1")
    assert len(differences) == 15 + len(RECIPES)
    for name, difference in differences.items():
        assert difference < (1e-4 if name.startswith("iteration") else 3e-5), (name, difference)


def test_they_compile_for_an_h100(tmp_path: Path) -> None:
    sizes = check("compile", tmp_path)
    assert len(sizes) == 20
    assert min(sizes.values()) > 1000


@pytest.mark.parametrize("p", [0.3, 0.5])
def test_the_specified_share_is_dropped(p: float) -> None:
    x, bits = torch.ones(1, 1, 256, 256), torch.arange(-32768, 32768, dtype=torch.int32).short()
    y = TorchKernels().activate(x, torch.zeros(1), bits, 0.2, p)
    assert (y == 0).sum() == round(p * 65536) == threshold_of(p) + 32768
    assert torch.allclose(y[y > 0], torch.tensor(1 / (1 - p)))


def test_a_cpu_uses_the_reference() -> None:
    assert isinstance(select_kernels(torch.device("cpu"), torch.float32), TorchKernels)


def test_a_gpu_on_which_they_fail_uses_the_reference(caplog: pytest.LogCaptureFixture) -> None:
    """This build of torch has no GPU, so the first tensor of the trial already fails."""
    assert isinstance(select_kernels(torch.device("cuda"), torch.float32), TorchKernels)
    assert "Triton kernels are unavailable" in caplog.text
