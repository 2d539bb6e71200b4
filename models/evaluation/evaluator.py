"""Full evaluation of a generator, in minutes: each figure is given beside that of real digits.

Digits are evaluated as they are served, rounded to bytes. The reporting judge is never used to choose a generator.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import torch
from pydantic import Field
from torch import Tensor

from models.data.catalog import DIGITS
from models.data.dataset import Dataset
from models.evaluation import classifier, metrics
from models.evaluation.classifier import Classifier, Looks, look
from models.evaluation.judge import Judge
from models.evaluation.metrics import Moments
from models.networks.inference import FoldedGenerator
from models.records import Record
from models.sampling.sampler import draw_digits

SEED = 2**52  # of the evaluated digits
TAUGHT_SEED = 2**52 + 1  # of the digits that pupils learn from
NEIGHBOURS = 1000  # digits whose nearest training digit is searched
CLOSE = 0.01  # share of test digits that count as copies by chance


ReportStep = Callable[[str], None]


class EvaluationBudget(NamedTuple):
    """Evaluated digits and training digits for each class, number of pupils, and epochs that each pupil trains."""

    digits: int = 1000
    lessons: int = 6000
    pupils: int = 3
    epochs: int = 4


FULL, QUICK = EvaluationBudget(), EvaluationBudget(digits=200, lessons=1000, pupils=1, epochs=4)


class Figures(Record):
    """Quality figures of digits. Accuracies, shares and their intervals are 0-1."""

    digits: int = Field(description="Number of evaluated digits.")
    label_accuracy: float = Field(description="Share of digits that the judge recognises as their label.")
    label_accuracy_interval: tuple[float, float] = Field(description="Wilson's 95 % interval.")
    label_accuracies: list[float] = Field(description="Of each class.")
    confusion: list[list[int]] = Field(description="Requested label (rows) against recognised class (columns).")
    gan_train: float = Field(
        description="Mean accuracy, on real test digits, of classifiers (pupils) trained on these digits."
    )
    gan_trains: list[float] = Field(description="Of each pupil.")
    lessons: int = Field(description="Digits that each pupil was trained on.")
    frechet_distance: float = Field(description="Distance to the real test digits, in the judge's features.")
    kernel_distance: float = Field(description="Distance to them by the kernel (x.y / F + 1)^3, unbiased.")
    density: float
    coverage: float
    variety: list[float] = Field(description="Mean distance within each class, divided by that of training digits.")
    nearest_distance: float = Field(description="Median distance in grey levels to the nearest training digit.")
    copies: float = Field(description=f"Share nearer to a training digit than {1 - CLOSE:.0%} of the test digits are.")


class Neighbours(NamedTuple):
    """Digits and their nearest training digits: uint8 (N, 28, 28) each, class by class, nearest pair first."""

    labels: Tensor  # (N,)
    digits: Tensor
    nearest: Tensor


@dataclass(frozen=True)
class Evaluator:
    """Computes the quality figures of digits. `report_step` is called with a sentence for each step."""

    dataset: Dataset
    judge: Judge
    effort: EvaluationBudget = FULL
    report_step: ReportStep = lambda _: None

    def examine_generator(self, generator: FoldedGenerator) -> tuple[Figures, Neighbours]:
        def draw(n: int, seed: int) -> Tensor:
            drawn = [draw_digits(generator, label, n, seed) for label in range(self.dataset.class_count)]
            return torch.cat([torch.from_numpy(digits) for digits in drawn]).to(self.dataset.test_images.device)

        self.report_step(f"drawing {self.effort.digits * self.dataset.class_count} digits to evaluate")
        digits = draw(self.effort.digits, SEED)
        self.report_step(f"drawing {self.effort.lessons * self.dataset.class_count} digits to train pupils on")
        lessons = draw(self.effort.lessons, TAUGHT_SEED)
        return self.examine(digits, self.by_class(digits), lessons, self.by_class(lessons))

    def examine_real(self) -> Figures:
        """Evaluate the real digits: test digits for accuracy, variety and copies; else training against test digits."""
        train, labels = self.dataset.train_images, self.dataset.train_labels
        chosen = torch.cat(
            [(labels == label).nonzero().flatten()[: self.effort.digits] for label in range(self.dataset.class_count)]
        )
        taught = torch.cat(
            [(labels == label).nonzero().flatten()[: self.effort.lessons] for label in range(self.dataset.class_count)]
        )
        compared, _ = self.examine(train[chosen], labels[chosen], train[taught], labels[taught])
        test = self.dataset.test_images, self.dataset.test_labels
        near, _ = self.nearest(*test)
        of_test = self.recognised(self.real, test[1]) | self.varied(self.real, test[1]) | near
        return compared.model_copy(update=of_test)

    def examine(self, digits: Tensor, labels: Tensor, lessons: Tensor, taught: Tensor) -> tuple[Figures, Neighbours]:
        near, neighbours = self.nearest(digits, labels)
        seen = look(self.judge.classifier, digits)
        figures = self.recognised(seen, labels) | self.compared(seen) | self.varied(seen, labels)
        figures |= self.taught(lessons, taught) | near
        return Figures.model_validate(figures), neighbours

    # ----------------------------------------------------------------------------
    # The figures.

    @cached_property
    def real(self) -> Looks:
        """The judge's output for the real test digits."""
        return look(self.judge.classifier, self.dataset.test_images)

    def recognised(self, seen: Looks, labels: Tensor) -> dict[str, object]:
        """Measure how many digits are recognised as their label."""
        counts = metrics.confusion(labels, seen.classes, self.dataset.class_count).cpu()
        right = counts.diagonal()
        return {
            "digits": len(labels),
            "label_accuracy": float(right.sum() / counts.sum()),
            "label_accuracy_interval": metrics.wilson(int(right.sum()), int(counts.sum())),
            "label_accuracies": (right / counts.sum(1)).tolist(),
            "confusion": counts.tolist(),
        }

    def compared(self, seen: Looks) -> dict[str, object]:
        """Compare the distribution of the features with that of real digits."""
        self.report_step("comparing the digits with real ones")
        real, drawn = self.real.features, seen.features
        density, coverage = metrics.density_and_coverage(real, drawn)
        return {
            "frechet_distance": metrics.frechet(Moments.of(drawn), Moments.of(real)),
            "kernel_distance": metrics.kernel_distance(drawn, real),
            "density": density,
            "coverage": coverage,
        }

    def varied(self, seen: Looks, labels: Tensor) -> dict[str, object]:
        """Measure how much the digits of each class vary, compared with real ones."""
        parts = metrics.split_by_class(seen.features, labels, self.dataset.class_count)
        varied = [metrics.mean_distance(features) for features in parts]
        return {"variety": [mine / float(theirs) for mine, theirs in zip(varied, self.judge.distances, strict=True)]}

    def taught(self, lessons: Tensor, labels: Tensor) -> dict[str, object]:
        """Train classifiers on the digits, test them on real ones (Shmelkov et al. 2018; Ravuri and Vinyals 2019)."""
        scores = []
        for number in range(1, self.effort.pupils + 1):
            self.report_step(f"training pupil {number} of {self.effort.pupils} on {len(lessons)} digits")
            pupil = Classifier("reporting", self.dataset.class_count)
            classifier.train(pupil, lessons, labels, seed=100 + number, epochs=self.effort.epochs, augment=False)
            scores.append(classifier.accuracy(pupil, self.dataset.test_images, self.dataset.test_labels))
        return {"gan_train": sum(scores) / len(scores), "gan_trains": scores, "lessons": len(lessons)}

    def nearest(self, digits: Tensor, labels: Tensor) -> tuple[dict[str, object], Neighbours]:
        """Measure how many digits are copies of training digits. Test digits, which are no copies, set the scale."""
        self.report_step("searching the nearest training digits")
        train = self.dataset.train_images.flatten(1).float()
        chosen = torch.linspace(0, len(digits) - 1, min(NEIGHBOURS, len(digits)), device=digits.device).long()
        some, classes = digits[chosen], labels[chosen].long()
        distances, places = metrics.nearest(some.flatten(1).float(), train)
        order = (classes * 1e6 + distances).argsort()  # distances are below 28 * 255
        near: dict[str, object] = {
            "nearest_distance": float(distances.median()),
            "copies": float((distances < self.close).float().mean()),
        }
        return near, Neighbours(classes[order], some[order], self.dataset.train_images[places[order]])

    def by_class(self, digits: Tensor) -> Tensor:
        """Return the labels of digits that are sorted by class, with equally many of each."""
        classes = self.dataset.class_count
        return torch.arange(classes, device=digits.device).repeat_interleave(len(digits) // classes)

    @cached_property
    def close(self) -> Tensor:
        """Distance below which a digit counts as a copy. By chance, a share CLOSE of the test digits is that near."""
        train, test = (images.flatten(1).float() for images in (self.dataset.train_images, self.dataset.test_images))
        return metrics.nearest(test[:NEIGHBOURS], train)[0].quantile(CLOSE)


class Evaluation(Record):
    """Figures of a generator and of real digits."""

    checkpoint: str
    dataset: str
    classes: list[str] = Field(list(DIGITS), description="The name of each label, from 0.")
    judge_accuracy: float = Field(description="Accuracy of the reporting judge on the real test digits.")
    generator: Figures
    real: Figures
    seconds: float


def evaluate(
    name: str, generator: FoldedGenerator, examiner: Evaluator, real: Figures
) -> tuple[Evaluation, Neighbours]:
    """Evaluate a generator. Takes minutes on a CPU."""
    began = time.monotonic()
    figures, neighbours = examiner.examine_generator(generator)
    evaluation = Evaluation(
        checkpoint=name,
        dataset=examiner.dataset.name,
        classes=list(examiner.dataset.classes),
        judge_accuracy=examiner.judge.accuracy,
        generator=figures,
        real=real,
        seconds=time.monotonic() - began,
    )
    return evaluation, neighbours
