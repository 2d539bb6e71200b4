"""How good a generator is, told in minutes: each figure beside what real digits of the same data set reach.

Digits are looked at as they are served, rounded to bytes. The judge that reports has chosen nothing before.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import torch
from pydantic import Field
from torch import Tensor

from models import classifier, figures
from models.classifier import Classifier, Looks, look
from models.config import NUM_CLASSES
from models.data import Dataset
from models.drawing import draw_digits
from models.figures import Moments
from models.folding import FoldedGenerator
from models.history import Record
from models.judge import Judge

SEED = 2**52  # of the digits that are looked at
TAUGHT_SEED = 2**52 + 1  # of those that pupils learn from
NEIGHBOURS = 1000  # digits whose nearest training digit is looked for
CLOSE = 0.01  # share of test digits that count as copies: what chance leaves


Told = Callable[[str], None]


class Effort(NamedTuple):
    """How much is looked at, a class, and how long pupils learn."""

    digits: int = 1000
    lessons: int = 6000
    pupils: int = 3
    epochs: int = 4


FULL, QUICK = Effort(), Effort(digits=200, lessons=1000, pupils=1, epochs=4)


class Figures(Record):
    """What is told of digits. Accuracies, shares and their intervals are 0-1."""

    digits: int = Field(description="How many were looked at.")
    label_accuracy: float = Field(description="Share that the judge takes for what was asked.")
    label_accuracy_interval: tuple[float, float] = Field(description="Wilson's, 95 %.")
    label_accuracies: list[float] = Field(description="Of each class.")
    confusion: list[list[int]] = Field(description="Asked for (rows) against recognised (columns).")
    gan_train: float = Field(
        description="Accuracy on real test digits of classifiers that learned from these; the mean."
    )
    gan_trains: list[float] = Field(description="Of each pupil.")
    lessons: int = Field(description="Digits that each pupil learned from.")
    frechet_distance: float = Field(description="To the real test digits, in the judge's features.")
    kernel_distance: float = Field(description="The same by the kernel (x.y / F + 1)^3, unbiased.")
    density: float
    coverage: float
    variety: list[float] = Field(description="Mean distance within each class, by that of real training digits.")
    nearest_distance: float = Field(description="Median distance in grey levels to the nearest training digit.")
    copies: float = Field(description=f"Share nearer to a training digit than {1 - CLOSE:.0%} of the test digits are.")


class Neighbours(NamedTuple):
    """Digits, and the training digits next to them: uint8 (N, 28, 28) each, class by class, nearest pair first."""

    labels: Tensor  # (N,)
    digits: Tensor
    nearest: Tensor


@dataclass(frozen=True)
class Examiner:
    """Looks at digits of a data set's kind. `told` hears what is being done."""

    dataset: Dataset
    judge: Judge
    effort: Effort = FULL
    told: Told = lambda _: None

    def examine_generator(self, generator: FoldedGenerator) -> tuple[Figures, Neighbours]:
        def draw(n: int, seed: int) -> Tensor:
            drawn = [draw_digits(generator, label, n, seed) for label in range(NUM_CLASSES)]
            return torch.cat([torch.from_numpy(digits) for digits in drawn]).to(self.dataset.test_images.device)

        self.told(f"drawing {self.effort.digits * NUM_CLASSES} digits to look at")
        digits = draw(self.effort.digits, SEED)
        self.told(f"drawing {self.effort.lessons * NUM_CLASSES} digits to learn from")
        lessons = draw(self.effort.lessons, TAUGHT_SEED)
        return self.examine(digits, by_class(digits), lessons, by_class(lessons))

    def examine_real(self) -> Figures:
        """What real digits reach: training beside test digits; test digits in accuracy, variety and copies."""
        train, labels = self.dataset.train_images, self.dataset.train_labels
        chosen = torch.cat(
            [(labels == label).nonzero().flatten()[: self.effort.digits] for label in range(NUM_CLASSES)]
        )
        taught = torch.cat(
            [(labels == label).nonzero().flatten()[: self.effort.lessons] for label in range(NUM_CLASSES)]
        )
        compared, _ = self.examine(train[chosen], labels[chosen], train[taught], labels[taught])
        test = self.dataset.test_images, self.dataset.test_labels
        near, _ = self.nearest(*test)
        of_test = self.recognised(self.real, test[1]) | self.varied(self.real, test[1]) | near
        return compared.model_copy(update=of_test)

    def examine(self, digits: Tensor, labels: Tensor, lessons: Tensor, taught: Tensor) -> tuple[Figures, Neighbours]:
        near, neighbours = self.nearest(digits, labels)
        seen = look(self.judge.classifier, digits)
        told = self.recognised(seen, labels) | self.compared(seen) | self.varied(seen, labels)
        told |= self.taught(lessons, taught) | near
        return Figures.model_validate(told), neighbours

    # ----------------------------------------------------------------------------
    # The figures.

    @cached_property
    def real(self) -> Looks:
        """The real test digits, looked at."""
        return look(self.judge.classifier, self.dataset.test_images)

    def recognised(self, seen: Looks, labels: Tensor) -> dict[str, object]:
        """Are they what they were asked to be?"""
        counts = figures.confusion(labels, seen.classes).cpu()
        right = counts.diagonal()
        return {
            "digits": len(labels),
            "label_accuracy": float(right.sum() / counts.sum()),
            "label_accuracy_interval": figures.wilson(int(right.sum()), int(counts.sum())),
            "label_accuracies": (right / counts.sum(1)).tolist(),
            "confusion": counts.tolist(),
        }

    def compared(self, seen: Looks) -> dict[str, object]:
        """Are they distributed as real ones are?"""
        self.told("comparing them with real digits")
        real, drawn = self.real.features, seen.features
        density, coverage = figures.density_and_coverage(real, drawn)
        return {
            "frechet_distance": figures.frechet(Moments.of(drawn), Moments.of(real)),
            "kernel_distance": figures.kernel_distance(drawn, real),
            "density": density,
            "coverage": coverage,
        }

    def varied(self, seen: Looks, labels: Tensor) -> dict[str, object]:
        """Do they vary as much?"""
        varied = [figures.mean_distance(features) for features in figures.split_by_class(seen.features, labels)]
        return {"variety": [mine / float(theirs) for mine, theirs in zip(varied, self.judge.distances, strict=True)]}

    def taught(self, lessons: Tensor, labels: Tensor) -> dict[str, object]:
        """What does a classifier learn from them about real ones (Shmelkov et al. 2018; Ravuri and Vinyals 2019)?"""
        scores = []
        for number in range(1, self.effort.pupils + 1):
            self.told(f"teaching pupil {number} of {self.effort.pupils} from {len(lessons)} digits")
            pupil = Classifier("reporting")
            classifier.train(pupil, lessons, labels, seed=100 + number, epochs=self.effort.epochs, augment=False)
            scores.append(classifier.accuracy(pupil, self.dataset.test_images, self.dataset.test_labels))
        return {"gan_train": sum(scores) / len(scores), "gan_trains": scores, "lessons": len(lessons)}

    def nearest(self, digits: Tensor, labels: Tensor) -> tuple[dict[str, object], Neighbours]:
        """Are they copies of what was trained on? Test digits, which are none, tell what is near."""
        self.told("looking for training digits that they resemble")
        train = self.dataset.train_images.flatten(1).float()
        chosen = torch.linspace(0, len(digits) - 1, min(NEIGHBOURS, len(digits)), device=digits.device).long()
        some, classes = digits[chosen], labels[chosen].long()
        distances, places = figures.nearest(some.flatten(1).float(), train)
        order = (classes * 1e6 + distances).argsort()  # distances are below 28 * 255
        near: dict[str, object] = {
            "nearest_distance": float(distances.median()),
            "copies": float((distances < self.close).float().mean()),
        }
        return near, Neighbours(classes[order], some[order], self.dataset.train_images[places[order]])

    @cached_property
    def close(self) -> Tensor:
        """The distance below which a digit counts as a copy: a share CLOSE of test digits are as near by chance."""
        train, test = (images.flatten(1).float() for images in (self.dataset.train_images, self.dataset.test_images))
        return figures.nearest(test[:NEIGHBOURS], train)[0].quantile(CLOSE)


def by_class(digits: Tensor) -> Tensor:
    """The labels of digits that lie class by class, as many of each."""
    return torch.arange(NUM_CLASSES, device=digits.device).repeat_interleave(len(digits) // NUM_CLASSES)


class Evaluation(Record):
    """A generator's figures beside real digits'."""

    checkpoint: str
    dataset: str
    judge_accuracy: float = Field(description="Of the judge that reports, on the real test digits.")
    generator: Figures
    real: Figures
    seconds: float


def evaluate(name: str, generator: FoldedGenerator, examiner: Examiner, real: Figures) -> tuple[Evaluation, Neighbours]:
    """Examine a generator. Minutes on a CPU."""
    began = time.monotonic()
    told, neighbours = examiner.examine_generator(generator)
    evaluation = Evaluation(
        checkpoint=name,
        dataset=examiner.dataset.name,
        judge_accuracy=examiner.judge.accuracy,
        generator=told,
        real=real,
        seconds=time.monotonic() - began,
    )
    return evaluation, neighbours
