"""Whole commands on a GPU, called as the command line calls them: train and resume, digits, evaluate."""

import copy
import json
import signal
from pathlib import Path

import numpy as np
import pytest
import torch
from rich.console import Console

from app.cli.local import evaluation as local_evaluation
from app.cli.local import training as local_training
from app.cli.local.drawing import draw_here
from app.cli.local.evaluation import evaluate_here
from app.cli.local.training import Folder, LocalEpoch, Stopped, train_here
from app.settings import AppSettings
from benchmarks.gpu.context import data_dir
from models.data.dataset import Dataset, load_dataset
from models.evaluation import classifier, quality_gate
from models.evaluation.classifier import Classifier
from models.evaluation.evaluator import EvaluationBudget, Evaluator
from models.evaluation.judge import with_real
from models.evaluation.quality_gate import QualityGate
from models.networks.acgan import Generator
from models.records import EpochResult
from models.sampling.sampler import prepare
from models.training.trainer import Trainer
from tests.gpu.conftest import small

pytestmark = pytest.mark.gpu

QUIET = Console(quiet=True)


def stop(_: LocalEpoch) -> None:
    """Press Ctrl-C when an epoch is reported."""
    signal.raise_signal(signal.SIGINT)


class PatientFolder(Folder):
    """Reports an epoch before the next one begins, so that the next one cannot end before the stop."""

    def keep(self, trainer: Trainer, result: EpochResult, gate: QualityGate | None) -> None:
        super().keep(trainer, result, gate)
        self.finish_writing()


def folder(path: Path) -> Path:
    path.mkdir()
    return path


def test_a_run_that_was_stopped_and_resumed_writes_the_files_of_an_undisturbed_one(
    settings: AppSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(quality_gate, "FEW_DIGITS", 10)
    config, straight, stopped = small(recipe="sharp"), folder(tmp_path / "straight"), folder(tmp_path / "stopped")
    train_here(config, settings, straight, QUIET, False)
    with monkeypatch.context() as patient:
        patient.setattr(local_training, "Folder", PatientFolder)
        with pytest.raises(Stopped):
            train_here(config, settings, stopped, QUIET, False, stop)
    train_here(config, settings, stopped, QUIET, True)
    files = sorted(path.name for path in straight.glob("*.safetensors"))
    assert len(files) == 6
    assert (straight / "plot_epoch_002_generated.png").exists()
    for name in files:
        assert (stopped / name).read_bytes() == (straight / name).read_bytes(), name
    epochs = json.loads((stopped / "history.json").read_text())["epochs"]
    assert [epoch["epoch"] for epoch in epochs] == [1, 2]
    assert all(epoch["metrics"]["frechet_distance"] > 1 for epoch in epochs)


def test_a_digit_drawn_on_the_gpu_is_within_one_grey_level_of_the_cpus(settings: AppSettings) -> None:
    on_cpu = draw_here(settings.model_copy(update={"device": "cpu"}), "latest", 7, 40, 4, 0)
    on_device = draw_here(settings, "latest", 7, 40, 4, 0)
    assert on_cpu.digits.std() > 30
    assert np.abs(on_device.digits.astype(int) - on_cpu.digits.astype(int)).max() <= 1


@pytest.fixture(scope="module")
def printed(device: torch.device, tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    config = small(train_examples=1000, test_examples=300)
    return load_dataset(config, None, tmp_path_factory.mktemp("cache"), []).to(device)


def train_student(printed: Dataset) -> Classifier:
    images, labels = printed.train_images, printed.train_labels
    return classifier.train(Classifier("reporting"), images, labels, seed=1, epochs=3, batch=20)


@pytest.fixture(scope="module")
def student(printed: Dataset) -> Classifier:
    return train_student(printed)


def test_training_a_judge_is_deterministic(student: Classifier, printed: Dataset) -> None:
    assert classifier.accuracy(student, printed.test_images, printed.test_labels) > 0.7
    again = train_student(printed).state_dict()
    assert [name for name, tensor in student.state_dict().items() if not torch.equal(tensor, again[name])] == []


def test_an_evaluation_computes_every_metric(student: Classifier, printed: Dataset, device: torch.device) -> None:
    judge = with_real(copy.deepcopy(student), "reporting", printed).to(device)
    evaluator = Evaluator(printed, judge, EvaluationBudget(digits=20, lessons=30, pupils=1, epochs=1))
    real = evaluator.examine_real()
    figures, neighbours = evaluator.examine_generator(prepare(Generator(100).to(device).eval(), device))
    assert figures.digits == 200
    assert sum(map(sum, figures.confusion)) == 200
    assert figures.frechet_distance > real.frechet_distance
    assert neighbours.nearest.shape == neighbours.digits.shape


@pytest.mark.skipif(data_dir() is None, reason="real MNIST is not here")
def test_acgan_evaluate_accepts_the_bundled_generator(
    settings: AppSettings, gpu: torch.device, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On the CPU, tests/app/cli/test_local.py tests this."""
    monkeypatch.setattr(local_evaluation, "QUICK", EvaluationBudget(digits=40, lessons=60, pupils=1, epochs=1))
    found = evaluate_here(settings, "latest", "mnist", True, None, QUIET)
    assert found.generator.digits == 400
    assert found.generator.label_accuracy > 0.9
    assert 0 < found.generator.frechet_distance < 2 * found.real.frechet_distance
    assert found.real.label_accuracy == pytest.approx(found.judge_accuracy)
