"""Digits of the package's generator with latents from a wider range than in training: the table of docs/quality.md.

python -m benchmarks.latent_range [FACTOR ...] [--pupils 2] [--quick]

A factor of 1.1 draws the noise uniformly from [-1.1, 1.1) instead of [-1, 1). MNIST is found as in `acgan evaluate`
(ACGAN_DATA_DIR). Prints a row of Markdown for each factor.
"""

import argparse
import copy
import sys
from collections.abc import Iterable

import torch

from app.settings import AppSettings
from benchmarks.candidates.__main__ import spread
from models.config import TrainingConfig
from models.data.dataset import load_dataset
from models.evaluation.evaluation_records import Figures
from models.evaluation.evaluator import EvaluationBudget, Evaluator
from models.evaluation.judge import find_judge
from models.networks.acgan import Generator
from models.networks.inference import FoldedGenerator
from models.networks.weights import generator_from_bytes
from models.registry import bundled
from models.torch_device import find_device

FACTORS = (1.0, 1.05, 1.1, 1.2)
HEAD = "| GAN-train (of each pupil) | label accuracy | worst class | Frechet | coverage | variety, least - most |"


def widened(generator: Generator, factor: float) -> Generator:
    """Return a generator that draws from noise n what the given one draws from `factor` n."""
    wide = copy.deepcopy(generator)
    wide.embedding.weight.data *= factor  # which the noise is multiplied by
    return wide


def row(name: str, figures: Figures) -> str:
    cells = [name, spread(figures.gan_trains, "GAN-train"), f"{figures.label_accuracy:.2%}"]
    cells += [f"{min(figures.label_accuracies):.2%}", f"{figures.frechet_distance:.3f}", f"{figures.coverage:.2f}"]
    cells.append(f"{min(figures.variety):.2f} - {max(figures.variety):.2f}")
    return f"| {' | '.join(cells)} |"


def add_effort(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--pupils", type=int, default=2)
    parser.add_argument("--quick", action="store_true", help="few digits, to see whether it runs")


def prepare(given: argparse.Namespace) -> tuple[Evaluator, Generator, torch.device]:
    """Return an evaluator by MNIST's reporting judge and the package's generator, both on this device."""
    settings, device = AppSettings(), find_device("auto")
    dataset = load_dataset(TrainingConfig(), settings.data_dir, settings.cache_dir)
    judge = find_judge(dataset, "reporting", settings.judges_dir, device)
    budget = EvaluationBudget(20, 100, given.pupils, 1) if given.quick else EvaluationBudget(pupils=given.pupils)
    checkpoint = bundled.checkpoint()
    assert checkpoint
    manifest = bundled.STORE.manifest(checkpoint)
    trained = generator_from_bytes(bundled.STORE.read(manifest, manifest.draws)).float()
    return Evaluator(dataset.to(device), judge, budget), trained.to(device), device


def print_table(variable: str, rows: Iterable[tuple[str, Figures]]) -> None:
    """Print each row as soon as it is measured. `variable` is what the rows differ in."""
    sys.stdout.write(f"| {variable} {HEAD}\n{'|---' * HEAD.count('|')}|\n")
    for name, figures in rows:
        sys.stdout.write(f"{row(name, figures)}\n")
        sys.stdout.flush()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("factors", nargs="*", type=float, default=FACTORS)
    add_effort(parser)
    given = parser.parse_args()
    evaluator, trained, device = prepare(given)

    def measure(factor: float) -> Figures:
        return evaluator.examine_generator(FoldedGenerator(widened(trained, factor), device))[0]

    print_table("factor", ((f"{factor:g}", measure(factor)) for factor in given.factors))


if __name__ == "__main__":
    main()
