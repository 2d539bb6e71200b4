"""Train changes of the recipe `sharp`, and measure GAN-train, variety, Frechet distance and labels of each.

python -m benchmarks.candidates --out DIR [--only NAME ...] [--seeds 1 2 3] [--epochs 5] [--minutes M]

Each candidate is trained for each seed, with the rate falling as in `sharp`. "A + B" has the changes of A and of B. The
averaged generator is measured. The state of each epoch is kept in DIR, so that another call continues. `results.jsonl`
has a row for each run; the call prints the table of all rows as Markdown. MNIST is found as in `acgan train`
(ACGAN_DATA_DIR).
"""

import argparse
import json
import statistics
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from torch import Tensor

from app.settings import AppSettings
from benchmarks.candidates.changes import CANDIDATES, Candidate, candidate
from models.config import TrainingConfig
from models.data.dataset import Dataset, load_dataset
from models.evaluation.evaluator import SEED, TAUGHT_SEED, EvaluationBudget, Evaluator
from models.evaluation.judge import find_judge
from models.networks.acgan import Generator
from models.sampling.sampler import SampleRange, to_pixels
from models.torch_device import describe, find_device
from models.training.losses import TWO_SIDED
from models.training.recipes import RECIPES
from models.training.trainer import Trainer

BATCH = 500  # images that are drawn at once
BUDGET = EvaluationBudget(pupils=2)
COLUMNS = ("GAN-train", "variety, mean", "variety, least", "Frechet", "labels", "worst class", "s per epoch")


@contextmanager
def changed(by: Candidate) -> Iterator[None]:
    """Let a trainer of `sharp` have the candidate's changes."""
    recipe = RECIPES["sharp"]._replace(**by.recipe)
    with ExitStack() as stack:
        stack.enter_context(mock.patch.dict(RECIPES, {"sharp": recipe}))
        stack.enter_context(mock.patch("models.training.iteration.TWO_SIDED", TWO_SIDED._replace(**by.objectives)))
        for name in ("Iteration", "FusedIteration"):
            stack.enter_context(mock.patch(f"models.training.trainer.{name}", by.iteration))
        stack.enter_context(mock.patch("models.training.iteration.Generator", by.generator))
        yield


class Ended(Exception):
    """The time of this call is over."""


class Run:
    """One candidate with one seed."""

    def __init__(self, name: str, config: TrainingConfig, dataset: Dataset, device: torch.device, folder: Path) -> None:
        self.name, self.config, self.dataset, self.device = name, config, dataset, device
        self.state = folder / f"{name.replace(' ', '-')}-{config.seed}.pt"

    def train(self, until: float) -> Trainer:
        """Train the remaining epochs. Raises Ended after `until`, on the monotonic clock; finished epochs are kept."""
        with changed(candidate(self.name)):
            trainer = Trainer(self.config, self.dataset, self.device)
            self.seconds: list[float] = []
            if self.state.exists():
                kept = torch.load(self.state, map_location=self.device, weights_only=True)
                self.seconds = kept["seconds"]
                with torch.no_grad():
                    for key, tensor in trainer.tensors().items():
                        tensor.copy_(kept["tensors"][key])
                trainer.begin_epoch(len(self.seconds) + 1)
            while trainer.epoch <= self.config.epochs:
                if time.monotonic() > until:
                    raise Ended
                self.train_epoch(trainer)
        return trainer

    def train_epoch(self, trainer: Trainer) -> None:
        began = time.monotonic()
        for iteration in range(trainer.batches):
            trainer.step(trainer.epoch, iteration)
        trainer.iteration = trainer.batches
        trainer.mean_losses()  # waits for the device; raises NonFiniteLoss
        self.seconds.append(round(time.monotonic() - began, 1))
        trainer.begin_epoch(trainer.epoch + 1)
        unfinished = self.state.with_suffix(".part")
        torch.save({"tensors": trainer.tensors(), "seconds": self.seconds}, unfinished)
        unfinished.replace(self.state)

    def measure(self, trainer: Trainer, evaluator: Evaluator) -> dict[str, Any]:
        """Return the figures of the averaged generator."""
        generator, effort = trainer.averaged_generator(), evaluator.effort

        def drawn(n: int, seed: int) -> tuple[Tensor, Tensor]:
            with trainer.compute.autocast():  # not around a pupil: its layers would keep their first weights
                return draw(generator, n, seed, self.device)

        figures, _ = evaluator.examine(
            *drawn(effort.digits, SEED), lambda: drawn(effort.lessons, TAUGHT_SEED), "generated"
        )
        return {
            "candidate": self.name,
            "seed": self.config.seed,
            "epochs": self.config.epochs,
            "GAN-train": figures.gan_train,
            "variety, mean": figures.variety_mean,
            "variety, least": min(figures.variety),
            "Frechet": figures.frechet_distance,
            "labels": figures.label_accuracy,
            "worst class": min(figures.label_accuracies),
            "s per epoch": statistics.median(self.seconds),
            "machine": describe(self.device),
        }


@torch.no_grad()
def draw(generator: Generator, n: int, seed: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Draw n images of each class, class by class: uint8 (K n, 28, 28) and labels (K n,)."""
    images, labels = [], []
    for label in range(generator.classes):
        series = SampleRange(label, n, seed, classes=generator.classes)
        for start in range(0, n, BATCH):
            noise, part = series.cut(start, min(n, start + BATCH), generator.latent_size)
            images.append(to_pixels(generator(noise.to(device), part.to(device))))
            labels.append(part.to(device))
    return torch.cat(images), torch.cat(labels)


def table(rows: Sequence[dict[str, Any]]) -> str:
    """Return the mean of each candidate over its seeds, and in brackets the least and the largest value.

    The seconds are the median, because other programs may have slowed down a run.
    """
    lines = [f"| candidate | seeds | {' | '.join(COLUMNS)} |", "|" + "---|" * (len(COLUMNS) + 2)]
    for name in dict.fromkeys([*CANDIDATES, *(row["candidate"] for row in rows)]):
        runs = [row for row in rows if row["candidate"] == name]
        if runs:
            cells = [spread([run[column] for run in runs], column) for column in COLUMNS]
            lines.append(f"| {name} | {len(runs)} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def spread(values: Sequence[float], column: str) -> str:
    if column == "s per epoch":
        return f"{statistics.median(values):.0f}"
    form = ".2%" if column in ("GAN-train", "labels", "worst class") else ".3f"
    mean, least, most = (f"{value:{form}}" for value in (statistics.mean(values), min(values), max(values)))
    return mean if len(values) == 1 else f"{mean} ({least} - {most})"


def known(name: str) -> str:
    """Return the name of a candidate, or of several in one. argparse shows the reason if it is none."""
    try:
        candidate(name)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    return name


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--only", nargs="+", type=known, default=list(CANDIDATES))
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--minutes", type=float, default=float("inf"))
    parser.add_argument("--dataset", default="mnist")
    parser.add_argument(
        "--examples", type=int, help="images of each split, for a quick look; digits and pupils shrink too"
    )
    given = parser.parse_args()
    until, settings, device = time.monotonic() + 60 * given.minutes, AppSettings(), find_device("auto")
    given.out.mkdir(parents=True, exist_ok=True)
    results = given.out / "results.jsonl"
    rows = [json.loads(line) for line in results.read_text().splitlines()] if results.exists() else []
    base = TrainingConfig(
        recipe="sharp",
        epochs=given.epochs,
        dataset=given.dataset,
        train_examples=given.examples,
        test_examples=given.examples,
    )
    dataset = load_dataset(base, settings.data_dir, settings.cache_dir).to(device)
    judge = find_judge(dataset, "reporting", settings.judges_dir, device)
    budget = EvaluationBudget(20, 100, 1, 1) if given.examples else BUDGET
    evaluator = Evaluator(dataset, judge, budget)
    try:
        for seed in given.seeds:  # all candidates with one seed before the next
            for name in given.only:
                if any((row["candidate"], row["seed"], row["epochs"]) == (name, seed, given.epochs) for row in rows):
                    continue
                run = Run(
                    name, base.model_copy(update={**candidate(name).config, "seed": seed}), dataset, device, given.out
                )
                row = run.measure(run.train(until), evaluator)
                rows.append(row)
                with results.open("a") as file:
                    file.write(json.dumps(row) + "\n")
                run.state.unlink()
                sys.stderr.write(f"{json.dumps(row)}\n")
    except Ended:
        sys.stderr.write("the time is over; the same call continues\n")
    sys.stdout.write(table(rows))


if __name__ == "__main__":
    main()
