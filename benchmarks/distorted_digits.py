"""Digits of the package's generator, distorted after they are drawn: what would distorted training images change?

python -m benchmarks.distorted_digits [--pupils 2] [--quick]

A trial before training: a generator that learns from distorted images will draw such digits. MNIST is found as in
`acgan evaluate` (ACGAN_DATA_DIR). Prints a row of Markdown for each distortion.
"""

import argparse
from typing import NamedTuple

import torch
from torch import Tensor

from benchmarks.candidates.__main__ import draw
from benchmarks.latent_range import add_effort, prepare, print_table
from models.data.dataset import to_unit_range
from models.data.distortion import distort
from models.evaluation.evaluation_records import Figures
from models.evaluation.evaluator import SEED, TAUGHT_SEED
from models.sampling.sampler import to_pixels

AT_ONCE = 1000  # images


class Distortion(NamedTuple):
    """Fractions of the maxima in models/data/distortion.py."""

    form: float  # angle, scale and slant
    shift: float
    share: float  # of the digits that are distorted

    def __str__(self) -> str:
        return f"{self.form:g}, shift {self.shift:g}, {self.share:.0%} of the digits" if self.share else "none"

    @property
    def most(self) -> tuple[float, ...]:
        """The largest values of the six distortions."""
        return (self.form,) * 4 + (self.shift,) * 2

    def apply(self, digits: Tensor, seed: int) -> Tensor:
        """Distort digits, uint8 (N, 28, 28). The seed determines how."""
        torch.manual_seed(seed)
        parts = (to_unit_range(part) for part in digits.split(AT_ONCE))
        return torch.cat([to_pixels(distort(part, self.most, self.share)) for part in parts])


TRIED = (
    Distortion(0.0, 0.0, 0.0),
    Distortion(0.2, 0.0, 1.0),
    Distortion(0.2, 0.2, 1.0),
    Distortion(0.4, 0.0, 1.0),
    Distortion(0.4, 0.4, 1.0),
    Distortion(0.6, 0.0, 0.5),
    Distortion(0.8, 0.4, 0.5),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    add_effort(parser)
    evaluator, generator, device = prepare(parser.parse_args())
    generator.eval()

    def measure(distortion: Distortion) -> Figures:
        def drawn(n: int, seed: int) -> tuple[Tensor, Tensor]:
            digits, labels = draw(generator, n, seed, device)
            return distortion.apply(digits, seed), labels

        effort = evaluator.effort
        return evaluator.examine(*drawn(effort.digits, SEED), lambda: drawn(effort.lessons, TAUGHT_SEED), "generated")[
            0
        ]

    print_table("distortion", ((str(each), measure(each)) for each in TRIED))


if __name__ == "__main__":
    main()
