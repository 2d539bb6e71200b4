"""Quality of an epoch's digits, in seconds: figures by the choosing judge, and whether the generator may be served.

The judge gets digits of the same addresses every epoch, drawn as they are served: folded, rounded to bytes.
"""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from models.config import DatasetName
from models.data.dataset import Dataset
from models.evaluation.classifier import look
from models.evaluation.judge import Judge, bundled_judge, find_judge
from models.evaluation.metrics import Check, Moments, frechet, go_on, pairwise_mean, relative, wilson
from models.evaluation.resampling import frechet_interval, groups_of, interval, variety_without
from models.networks.acgan import Generator
from models.networks.inference import FoldedGenerator, all_finite
from models.sampling.sampler import latents, to_pixels

SEED = 2**53 - 1  # of the judged addresses
DIGITS = 500  # judged digits of each class
FEW_DIGITS, FEW_ITERATIONS = 100, 300  # digits of each class if an epoch has fewer iterations: 500 would take too long
DRAWN_AT_ONCE = 500
ENDS = ("low", "high")  # of intervals, in the names of metrics

# A generator below these limits is not served. docs/quality.md describes the runs from which they come.
RECOGNISED = 0.5  # share of a class's digits that the judge recognises
VARIED = 0.35  # variety of a class's digits, divided by that of real ones


def finite(figures: Mapping[str, float]) -> dict[str, float]:
    """Return the figures that are finite, rounded: JSON has no others."""
    return {name: round(figure, 4) for name, figure in figures.items() if math.isfinite(figure)}


class Quality(NamedTuple):
    """Figures of one generator. Accuracies are 0-1; variety is divided by that of real digits."""

    recognised: list[float]  # of each class
    variety: list[float]  # of each class; NaN if it has fewer than two different training images
    frechet_distance: float  # NaN if there is only one test image
    features: Tensor  # by the judge, of n digits of each of K classes, class by class: (K n, F), on the CPU

    @property
    def varied(self) -> list[int]:
        """The classes whose variety is known."""
        return [label for label, variety in enumerate(self.variety) if math.isfinite(variety)]

    @property
    def mean_variety(self) -> float:
        """The mean of the known varieties; NaN if there are none."""
        known = [self.variety[label] for label in self.varied]
        return sum(known) / len(known) if known else math.nan

    @property
    def least_varied(self) -> int:
        """The class with the least known variety; 0 if there are none."""
        return min(self.varied, key=lambda label: self.variety[label], default=0)

    def metrics(self) -> dict[str, float]:
        """Return the figures by name, without those that are not finite."""
        figures = {
            "label_accuracy": sum(self.recognised) / len(self.recognised),
            "label_accuracy_worst": min(self.recognised),
            "variety": self.mean_variety,
            "variety_least": self.variety[self.least_varied],
            "frechet_distance": self.frechet_distance,
        }
        for label in range(len(self.recognised)):
            figures[f"label_accuracy_{label}"] = self.recognised[label]
            figures[f"variety_{label}"] = self.variety[label]
        return finite(figures)

    def refusal(self, names: Sequence[str] | None = None) -> str | None:
        """Return why the generator is not served; None if it may be served. `names` are those of the classes."""
        names = names or [str(label) for label in range(len(self.recognised))]
        if unknown := set(range(len(names))).difference(self.varied):  # first: no further epoch changes this
            return (
                f"there are too few training images of {names[min(unknown)]} to measure how much its digits vary: "
                "each class needs two that differ"
            )
        for label, name in enumerate(names):
            if not self.recognised[label] >= RECOGNISED:
                share = f"{self.recognised[label]:.0%} of its digits for {name} are recognised"
                return f"{share}, below the {RECOGNISED:.0%} that serving requires"
            if self.variety[label] < VARIED:
                share = f"its digits for {name} have {self.variety[label]:.2f} times the variety of real ones"
                return f"{share}, below {VARIED}: it has collapsed and is not served"
        return None


def sample_count(iterations: int) -> int:
    """Return the number of digits of each class to judge after an epoch of this many iterations."""
    return DIGITS if iterations >= FEW_ITERATIONS else FEW_DIGITS


NOT_FINITE = "its weights are not finite"


class Verdict(NamedTuple):
    """Result for an epoch: which weights draw better, their figures, and the reason if they are not served."""

    averaged: bool
    metrics: dict[str, float]
    refused: str | None


def is_finite(generator: Generator) -> bool:
    return bool(all_finite(generator.state_dict().values()))


class QualityGate:
    """Judges generators of one latent size on one device. Folded generators are used as they are."""

    def __init__(
        self,
        judge: Judge,
        latent_size: int,
        device: torch.device,
        digits: int = DIGITS,
        names: Sequence[str] | None = None,
    ) -> None:
        """`names` are those of the classes; without them, messages have the labels."""
        self.judge = judge.to(device)
        self.real = judge.real.cpu()
        self.device = device
        self.classes = len(judge.distances)
        self.names = names
        self.labels = torch.arange(self.classes, device=device).repeat_interleave(digits)
        self.noise = latents(SEED, 0, digits, latent_size).to(device).repeat(self.classes, 1)

    def verdict(
        self,
        raw: Generator | FoldedGenerator,
        averaged: Generator | FoldedGenerator | None = None,
        check: Check = go_on,
    ) -> Verdict:
        """Judge an epoch's generator and, if given, the one with averaged weights. The verdict is that of the better
        one by Frechet distance, and of `raw` if this is not finite. Takes seconds on a CPU: `check` is called often,
        and ends it by raising."""
        generators = [self.fold(generator) for generator in (raw, averaged) if generator is not None]
        if not bool(torch.stack([generator.finite for generator in generators]).all()):
            return Verdict(False, {}, NOT_FINITE)
        qualities = [self.assess(generator, check) for generator in generators]
        better = min(range(len(qualities)), key=lambda which: qualities[which].frechet_distance)
        metrics = qualities[better].metrics() | self.intervals(qualities[better], check)
        if averaged is not None:
            both = zip(("raw", "averaged"), qualities, strict=True)
            metrics |= finite({f"frechet_distance_{name}": quality.frechet_distance for name, quality in both})
        return Verdict(better == 1, metrics, qualities[better].refusal(self.names))

    def assess(self, generator: Generator | FoldedGenerator, check: Check = go_on) -> Quality:
        """Draw the addresses and compute their figures. Reads all figures from the device at once."""
        seen = look(self.judge.classifier, self.draw(self.fold(generator), check), check)
        recognised = (seen.classes == self.labels).view(self.classes, -1).float().mean(1)
        by_class = seen.features.view(self.classes, -1, seen.features.shape[1])  # the labels are in order
        distances = torch.stack([pairwise_mean(features) for features in by_class])
        figures = (recognised.double(), distances, *Moments.of(seen.features), seen.features.double())
        read = torch.cat([figure.flatten() for figure in figures]).cpu()
        shares, varied, mean, covariance, features = read.split([figure.numel() for figure in figures])
        return Quality(
            shares.tolist(),
            [relative(*each) for each in zip(varied.tolist(), self.judge.distances.tolist(), strict=True)],
            frechet(Moments(mean, covariance.view(len(mean), -1)), self.real),
            features.view(len(self.labels), -1).float(),
        )

    def intervals(self, quality: Quality, check: Check = go_on) -> dict[str, float]:
        """Return `judged_per_class`, and the ends of the 95 % intervals of all figures but `label_accuracy_0`, ...

        The intervals of these follow from the accuracy and `judged_per_class`. Ends that are not finite are left out.
        An interval shows how much a figure varies with other digits of the same generator.
        """
        n = len(self.labels) // self.classes
        groups = groups_of(torch.arange(self.classes).repeat_interleave(n))
        varied = variety_without(quality.features.split(n), groups.split(n), self.judge.distances.tolist(), check)
        right = [round(share * n) for share in quality.recognised]
        least = quality.least_varied
        ends = {
            "label_accuracy": wilson(sum(right), n * self.classes),
            "label_accuracy_worst": wilson(min(right), n),
            "variety": interval(quality.mean_variety, varied[quality.varied].mean(0).tolist()),
            "variety_least": interval(quality.variety[least], varied[least].tolist()),
            "frechet_distance": frechet_interval(quality.frechet_distance, quality.features, self.real, groups, check),
        }
        for label, value in enumerate(quality.variety):
            ends[f"variety_{label}"] = interval(value, varied[label].tolist())
        found = {f"{name}_{end}": value for name, both in ends.items() for end, value in zip(ENDS, both, strict=True)}
        return {"judged_per_class": n, **{name: max(0.0, value) for name, value in finite(found).items()}}

    def draw(self, generator: FoldedGenerator, check: Check = go_on) -> Tensor:
        """Draw the judged digits: uint8 (N, 28, 28)."""
        drawn = []
        for noise, labels in zip(self.noise.split(DRAWN_AT_ONCE), self.labels.split(DRAWN_AT_ONCE), strict=True):
            check()
            drawn.append(to_pixels(generator(noise, labels)))
        return torch.cat(drawn)

    def fold(self, generator: Generator | FoldedGenerator) -> FoldedGenerator:
        return generator if isinstance(generator, FoldedGenerator) else FoldedGenerator(generator, self.device)


def find_quality_gate(
    dataset: Dataset,
    latent_size: int,
    device: torch.device,
    cache: Path,
    digits: int = DIGITS,
    check: Check = lambda: None,
) -> QualityGate:
    """Make a quality gate with the choosing judge of this data set. If no judge exists, it is trained on `device`.

    Raises what `check` raises, which is called while the judge is trained.
    """
    judge = find_judge(dataset, "choosing", cache, device, check)
    return QualityGate(judge, latent_size, device, digits, dataset.classes)


def packaged_quality_gate(name: DatasetName, latent_size: int, device: torch.device) -> QualityGate | None:
    """Make a quality gate with the package's choosing judge, without the data set; None if the package has none."""
    judge = bundled_judge(name, "choosing")
    return QualityGate(judge, latent_size, device) if judge else None
