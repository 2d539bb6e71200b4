"""The GPU path without a GPU: it runs on a simulated CUDA device, which has shapes and devices but no values."""

import json
import subprocess
import sys
from typing import Any

import pytest

from models.training.recipes import RECIPES
from tests.models.simulated_cuda.device import COMPILER, build_guard
from tests.models.simulated_cuda.iteration import FAULTS, PRECISIONS

pytestmark = pytest.mark.skipif(COMPILER is None, reason="no C++ compiler, which the simulated device needs")

KERNELS = {"seed": 180, "sharp": 240, "thorough": 300}  # of one iteration, at most
WITHOUT_TRITON = 260

Results = dict[str, dict[str, Any]]


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Results:
    """Run every check in one process with the simulated device."""
    environment = build_guard(tmp_path_factory.mktemp("guard"))
    command = [sys.executable, "-m", "tests.models.simulated_cuda"]
    ran = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    lines = [json.loads(line) for line in ran.stdout.splitlines()]
    return {line["name"]: line for line in lines}


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("recipe", RECIPES)
def test_an_iteration_stays_on_the_device_and_reads_no_value(recipe: str, precision: str, results: Results) -> None:
    result = results[f"{recipe} {precision}"]
    assert result["error"] is None, result["found"]
    assert result["found"]["kernels"] <= KERNELS[recipe], result["found"]["operations"]
    assert result["found"]["kernels"] < results[f"{recipe} {precision} plain"]["found"]["kernels"]


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("recipe", RECIPES)
def test_an_iteration_without_triton_launches_no_kernel_for_each_image(
    recipe: str, precision: str, results: Results
) -> None:
    result = results[f"{recipe} {precision} without triton"]
    assert result["error"] is None, result["found"]
    assert result["found"]["kernels"] <= WITHOUT_TRITON, result["found"]["operations"]


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("recipe", RECIPES)
def test_the_end_of_an_epoch_stays_on_the_device_and_reads_little(
    recipe: str, precision: str, results: Results
) -> None:
    """The host waits for the device at each read."""
    result = results[f"epoch end: {recipe} {precision}"]
    assert result["error"] is None, result["found"]
    reads = {part: counts["reads"] for part, counts in result["found"].items()}
    assert reads["evaluation"] <= 2
    assert reads["snapshot"] <= 12
    assert reads["state"] <= 6
    assert result["found"]["evaluation"]["sent"] == 0
    assert result["found"]["snapshot"]["sent"] <= 16


@pytest.mark.parametrize("fault", FAULTS)
def test_a_planted_fault_is_found(fault: str, results: Results) -> None:
    error = results[f"fault: {fault}"]["error"]
    assert error is not None
    assert error.startswith(FAULTS[fault].error)


def test_a_capture_that_fails_leaves_a_step_that_runs_eagerly(results: Results) -> None:
    """Here it fails for a real reason: this build of torch has no CUDA streams."""
    result = results["failed capture"]
    assert result["error"] is None, result["found"]
    assert "capture failed" in result["found"]["log"]
    assert result["found"]["kernels"] > 0
