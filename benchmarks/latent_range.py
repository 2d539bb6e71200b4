"""Digits of the package's generator with latents from a wider range than in training: the table of docs/quality.md.

python -m benchmarks.latent_range [FACTOR ...] [--pupils 2]

A factor of 1.1 draws the noise uniformly from [-1.1, 1.1) instead of [-1, 1). MNIST is found as in `acgan evaluate`
(ACGAN_DATA_DIR). Prints a row of Markdown for each factor.
"""

import argparse
import copy
import sys

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
HEAD = (
    "| factor | GAN-train (of each pupil) | label accuracy | worst class | Frechet | coverage | variety, least - most |"
)


def widened(generator: Generator, factor: float) -> Generator:
    """Return a generator that draws from noise n what the given one draws from `factor` n."""
    wide = copy.deepcopy(generator)
    wide.embedding.weight.data *= factor  # which the noise is multiplied by
    return wide


def row(factor: float, figures: Figures) -> str:
    cells = [f"{factor:g}", spread(figures.gan_trains, "GAN-train"), f"{figures.label_accuracy:.2%}"]
    cells += [f"{min(figures.label_accuracies):.2%}", f"{figures.frechet_distance:.3f}", f"{figures.coverage:.2f}"]
    cells.append(f"{min(figures.variety):.2f} - {max(figures.variety):.2f}")
    return f"| {' | '.join(cells)} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("factors", nargs="*", type=float, default=FACTORS)
    parser.add_argument("--pupils", type=int, default=2)
    parser.add_argument("--quick", action="store_true", help="few digits, to see whether it runs")
    given = parser.parse_args()
    settings, device = AppSettings(), find_device("auto")
    dataset = load_dataset(TrainingConfig(), settings.data_dir, settings.cache_dir)
    judge = find_judge(dataset, "reporting", settings.judges_dir, device)
    budget = EvaluationBudget(20, 100, given.pupils, 1) if given.quick else EvaluationBudget(pupils=given.pupils)
    evaluator = Evaluator(dataset.to(device), judge, budget)
    checkpoint = bundled.checkpoint()
    assert checkpoint
    manifest = bundled.STORE.manifest(checkpoint)
    trained = generator_from_bytes(bundled.STORE.read(manifest, manifest.draws)).float()
    sys.stdout.write(f"{HEAD}\n{'|---' * (HEAD.count('|') - 1)}|\n")
    for factor in given.factors:
        figures, _ = evaluator.examine_generator(FoldedGenerator(widened(trained, factor).to(device), device))
        sys.stdout.write(f"{row(factor, figures)}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
