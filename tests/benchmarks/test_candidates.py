"""Each candidate trains, is measured and continues after a stop."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from benchmarks.candidates.__main__ import COLUMNS, Run, changed, table
from benchmarks.candidates.changes import BACKGROUND, CANDIDATES, TRANSLATION, candidate, translate
from models.config import TrainingConfig
from models.data.dataset import Dataset, load_dataset, to_unit_range
from models.evaluation.evaluator import EvaluationBudget, Evaluator
from models.evaluation.judge import find_judge
from models.networks.acgan import Generator
from models.training.ema import Average
from models.training.recipes import RECIPES
from models.training.trainer import Trainer

TINY = ["--dataset", "printed", "--examples", "200", "--epochs", "2", "--seeds", "1"]


def run(out: Path, *options: str) -> str:
    command = [sys.executable, "-m", "benchmarks.candidates", "--out", str(out), *TINY, *options]
    environment = {**os.environ, "ACGAN_HOME": str(out / "home")}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def results(out: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in (out / "results.jsonl").read_text().splitlines()]


@pytest.mark.long
@pytest.mark.timeout(900)
def test_every_candidate_is_trained_and_measured_once(tmp_path: Path) -> None:
    printed = run(tmp_path)
    rows = results(tmp_path)
    assert [row["candidate"] for row in rows] == list(CANDIDATES)
    assert len({row["Frechet"] for row in rows} | {row["GAN-train"] for row in rows}) > 2
    assert all(f"| {name} | 1 |" in printed for name in CANDIDATES)
    assert run(tmp_path) == printed  # nothing is trained again
    assert results(tmp_path) == rows


def test_a_run_continues_with_the_same_figures(tmp_path: Path) -> None:
    assert "| sharp |" not in run(tmp_path / "a", "--only", "sharp", "--minutes", "0")
    run(tmp_path / "a", "--only", "sharp")
    run(tmp_path / "b", "--only", "sharp")
    (first,), (second,) = results(tmp_path / "a"), results(tmp_path / "b")
    assert {**first, "s per epoch": 0} == {**second, "s per epoch": 0}
    assert not list(tmp_path.rglob("*.pt"))


def test_several_candidates_in_one_have_the_changes_of_each(tmp_path: Path) -> None:
    names = ["small batches", "flatness 0.03", "covering", "smoothing", "two rates"]
    together, alone = candidate(" + ".join(names)), [candidate(name) for name in names]
    for field in ("recipe", "config", "objectives"):
        assert getattr(together, field) == {key: value for each in alone for key, value in getattr(each, field).items()}
    assert together.iteration is alone[-1].iteration
    for name in ("covering + class head only", "two rates + late batches", "covering + nothing"):
        with pytest.raises(ValueError, match=r"both change the (objectives|iteration)|'nothing' is no candidate"):
            candidate(name)
    assert "| small batches + covering | 1 |" in run(tmp_path, "--only", "small batches + covering")


def test_the_recipe_thorough_is_two_candidates_in_one() -> None:
    together, thorough = candidate("small batches + distortion"), RECIPES["thorough"]
    same = RECIPES["sharp"]._replace(**together.recipe, **together.config, description=thorough.description)
    assert same == thorough


def test_translation_moves_each_image_by_its_offset() -> None:
    images = torch.full((2, 1, 28, 28), BACKGROUND)
    images[:, :, 10, 12] = 1.0
    moved = translate(images, torch.tensor([[0, 0], [-TRANSLATION, 2]]))
    assert torch.equal(moved[0], images[0])
    assert moved[1, 0].argmax() == (10 + TRANSLATION) * 28 + 12 - 2
    assert moved[1].sum() == images[1].sum()


def test_the_table_has_means_with_their_range_and_the_median_of_the_seconds() -> None:
    figures = dict.fromkeys(COLUMNS, 0.5)
    rows = [
        {"candidate": "sharp", **figures, "GAN-train": 0.97 + n / 100, "s per epoch": s}
        for n, s in enumerate((1, 2, 9))
    ]
    *_, row = table(rows).splitlines()
    assert row.startswith("| sharp | 3 | 98.00% (97.00% - 99.00%) | 0.500 (0.500 - 0.500) |")
    assert row.endswith("| 2 |")


def test_late_batches_update_the_average_once_for_each_batch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The average then covers as many images as that of other candidates, and its bias is divided out."""
    config = TrainingConfig(recipe="sharp", epochs=5, batch_size=20, dataset="printed", train_examples=80)
    dataset, updates = load_dataset(config, tmp_path, tmp_path), list[int]()
    monkeypatch.setattr(Average, "update", lambda _: updates.append(1))
    with changed(candidate("late batches")):
        trainer = Trainer(config, dataset, torch.device("cpu"))
        trainer.begin_epoch(5)
        for iteration in range(trainer.batches):
            trainer.step(5, iteration)
    assert len(updates) == trainer.batches == 4


class RealImages(Generator):
    """Draws training images, chosen by the first number of the noise."""

    def __init__(self, dataset: Dataset) -> None:
        super().__init__()
        labels = dataset.train_labels
        self.images = [to_unit_range(dataset.train_images[labels == label]) for label in range(self.classes)]

    def forward(self, noise: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        chosen = [self.images[label] for label in labels.tolist()]
        places = (noise[:, 0] + 1) / 2
        return torch.stack([images[int(place * len(images))] for images, place in zip(chosen, places, strict=True)])


def test_pupils_learn_from_real_images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also in bf16, whose autocast keeps the first weights of all layers within it."""
    config = TrainingConfig(dataset="printed", train_examples=2000, test_examples=500, precision="bf16")
    dataset = load_dataset(config, tmp_path, tmp_path)
    device = torch.device("cpu")
    evaluator = Evaluator(dataset, find_judge(dataset, "reporting", tmp_path, device), EvaluationBudget(20, 300, 1, 4))
    run, trainer = Run("sharp", config, dataset, device, tmp_path), Trainer(config, dataset, device)
    run.seconds = [1.0]
    monkeypatch.setattr(trainer, "averaged_generator", lambda: RealImages(dataset))
    row = run.measure(trainer, evaluator)
    assert row["GAN-train"] > 0.9
    assert row["labels"] > 0.9
