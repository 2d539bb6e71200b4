"""Classifier training, judging, evaluation and drawing on the simulated CUDA device."""

import json
import subprocess
import sys
from typing import Any

import pytest

from tests.models.simulated_cuda import judging
from tests.models.simulated_cuda.device import COMPILER, build_guard

pytestmark = pytest.mark.skipif(COMPILER is None, reason="no C++ compiler, which the simulated device needs")

Results = dict[str, dict[str, Any]]


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Results:
    """Run the checks in one process with the simulated device. Returns their results, or the error."""
    environment = build_guard(tmp_path_factory.mktemp("guard"))
    command = [sys.executable, "-m", "tests.models.simulated_cuda", *judging.CHECKS]
    ran = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    lines = [json.loads(line) for line in ran.stdout.splitlines()]
    return {line["name"]: line for line in lines}


def result_of(results: Results, name: str) -> dict[str, Any]:
    assert results[name]["error"] is None, results[name]
    return dict(results[name]["found"])


@pytest.mark.parametrize(("name", "kernels"), [("classifier training", 80), ("classifier training, augmented", 105)])
def test_a_classifiers_steps_stay_on_the_device_and_read_no_value(name: str, kernels: int, results: Results) -> None:
    result = result_of(results, name)
    assert result["kernels"] <= kernels, result["operations"]


def test_an_epochs_random_numbers_reach_the_device_in_two_transfers(results: Results) -> None:
    assert result_of(results, "classifier transfers")["transfers"] == 2


def test_a_read_planted_into_a_classifiers_step_is_found(results: Results) -> None:
    assert results["classifier fault"]["error"].startswith("DataDependentOutputException")


def test_a_missing_judge_is_trained_on_the_requested_device(results: Results) -> None:
    assert result_of(results, "found judge")["devices"] == ["cuda:0", "cuda:0"]


def test_an_evaluation_reads_the_device_a_few_times(results: Results) -> None:
    assert result_of(results, "examination")["reads"] <= 35


def test_the_verifier_sends_digits_once_and_reads_once(results: Results) -> None:
    assert result_of(results, "verifier") == {"sent": 1, "reads": 1}


def test_drawn_digits_are_read_once_a_batch(results: Results) -> None:
    assert result_of(results, "drawn batch") == {"sent": 2, "reads": 1}
    assert results["morph"]["error"] is None, results["morph"]


def test_a_generated_data_set_is_read_once_a_batch_and_once_more_to_verify_it(results: Results) -> None:
    assert result_of(results, "generated data set") == {"sent": 2 * 2 + 2, "reads": 2 + 2}
