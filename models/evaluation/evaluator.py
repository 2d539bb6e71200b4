"""Full evaluation of a generator, in minutes: each figure is given beside that of real digits.

Digits are evaluated as they are served, rounded to bytes. The reporting judge chooses a generator
only if the serving policy selects by evaluations.
"""

import itertools
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, partial
from typing import NamedTuple

import torch
from torch import Tensor

from models.data.dataset import Dataset
from models.evaluation import classifier, metrics, resampling
from models.evaluation.classifier import Classifier, Looks, look
from models.evaluation.evaluation_records import CLOSE, Effort, Evaluation, Figures, require_finite
from models.evaluation.evaluation_steps import Steps, compute_always
from models.evaluation.judge import Judge
from models.evaluation.metrics import Check, Moments, go_on
from models.networks.inference import FoldedGenerator
from models.sampling.sampler import draw_digits

SEED = 2**52  # of the evaluated digits
TAUGHT_SEED = 2**52 + 1  # of the digits that pupils learn from
DRAWN_AT_ONCE = 500  # digits, between two checks
NEIGHBOURS = 1000  # digits whose nearest training digit is searched


ReportStep = Callable[[str], None]


class EvaluationBudget(NamedTuple):
    """Evaluated digits and training digits for each class, number of pupils, and epochs that each pupil trains."""

    digits: int = 1000
    lessons: int = 6000
    pupils: int = 3
    epochs: int = 4


EFFORTS: dict[Effort, EvaluationBudget] = {
    "full": EvaluationBudget(),
    "quick": EvaluationBudget(digits=200, lessons=1000, pupils=1, epochs=4),
}
FULL, QUICK = EFFORTS["full"], EFFORTS["quick"]

Lessons = Callable[[], tuple[Tensor, Tensor]]  # digits, and their labels


class Neighbours(NamedTuple):
    """Digits and their nearest training digits: uint8 (N, 28, 28) each, class by class, nearest pair first."""

    labels: Tensor  # (N,)
    digits: Tensor
    nearest: Tensor


def nearest_first(classes: Tensor, distances: Tensor) -> Tensor:
    """Return the order of digits by class, and within a class by distance in grey levels: (N,), (N,) -> (N,)."""
    return (classes.double() * 1e6 + distances).argsort()  # distances are below 28 * 255


@dataclass(frozen=True)
class Evaluator:
    """Computes the quality figures of digits.

    `report_step` is called with a sentence for each step. `check` is called often, and ends the evaluation by raising.
    `steps` may keep the figures of finished steps.
    """

    dataset: Dataset
    judge: Judge
    effort: EvaluationBudget = FULL
    report_step: ReportStep = lambda _: None
    check: Check = go_on
    steps: Steps = compute_always

    @property
    def step_count(self) -> int:
        """The number of reported steps of one generator, or of the real digits."""
        return 4 + self.effort.pupils * self.effort.epochs

    def examine_generator(self, generator: FoldedGenerator) -> tuple[Figures, Neighbours]:
        def draw(n: int, seed: int) -> Tensor:
            drawn = []
            for label in range(self.dataset.class_count):
                for index in range(0, n, DRAWN_AT_ONCE):
                    self.check()
                    drawn.append(draw_digits(generator, label, min(DRAWN_AT_ONCE, n - index), seed, index))
            return torch.cat([torch.from_numpy(digits) for digits in drawn]).to(self.dataset.test_images.device)

        def draw_lessons() -> tuple[Tensor, Tensor]:
            lessons = draw(self.effort.lessons, TAUGHT_SEED)
            return lessons, self.by_class(lessons)

        self.report_step(f"drawing {self.effort.digits * self.dataset.class_count} digits to evaluate")
        digits = draw(self.effort.digits, SEED)
        return self.examine(digits, self.by_class(digits), draw_lessons, "generated")

    def examine_real(self) -> Figures:
        """Evaluate the real digits: test digits for accuracy, variety and copies; else training against test digits.

        Raises FiguresNotFinite.
        """
        train, labels = self.dataset.train_images, self.dataset.train_labels
        chosen = torch.cat(
            [(labels == label).nonzero().flatten()[: self.effort.digits] for label in range(self.dataset.class_count)]
        )
        taught = torch.cat(
            [(labels == label).nonzero().flatten()[: self.effort.lessons] for label in range(self.dataset.class_count)]
        )
        self.report_step("choosing real digits")
        lessons = train[taught], labels[taught]
        compared, _ = self.examine(train[chosen], labels[chosen], lambda: lessons, "real")
        test = self.dataset.test_images, self.dataset.test_labels
        near, _ = self.nearest(*test)
        of_test = self.recognised(self.real, test[1]) | self.varied(self.real, test[1]) | near
        return compared.model_copy(update=require_finite(of_test, "real"))

    def examine(self, digits: Tensor, labels: Tensor, lessons: Lessons, name: str) -> tuple[Figures, Neighbours]:
        """Evaluate digits. `lessons` is called if a pupil must be trained; `name` is that of the kept steps.

        Raises FiguresNotFinite.
        """
        near, neighbours = self.nearest(digits, labels)
        seen = look(self.judge.classifier, digits, self.check)
        figures = require_finite(self.recognised(seen, labels) | self.varied(seen, labels), name)
        self.report_step("comparing the digits with real ones")
        figures |= self.steps(f"{name}-compared", lambda: require_finite(self.compared(seen, labels), name))
        figures |= self.taught(lessons, name) | near
        return Figures.model_validate(figures), neighbours

    # ----------------------------------------------------------------------------
    # The figures.

    @cached_property
    def real(self) -> Looks:
        """The judge's output for the real test digits."""
        return look(self.judge.classifier, self.dataset.test_images, self.check)

    def recognised(self, seen: Looks, labels: Tensor) -> dict[str, object]:
        """Measure how many digits are recognised as their label."""
        counts = metrics.confusion(labels, seen.classes, self.dataset.class_count).cpu()
        right = counts.diagonal()
        return {
            "digits": len(labels),
            "label_accuracy": float(right.sum() / counts.sum()),
            "label_accuracy_interval": metrics.wilson(int(right.sum()), int(counts.sum())),
            "label_accuracies": (right / counts.sum(1)).tolist(),
            "label_accuracies_intervals": [
                metrics.wilson(int(share), int(n)) for share, n in zip(right, counts.sum(1), strict=True)
            ],
            "confusion": counts.tolist(),
        }

    def compared(self, seen: Looks, labels: Tensor) -> dict[str, object]:
        """Compare the distribution of the features with that of real digits."""
        real, drawn, groups, check = self.real.features, seen.features, resampling.groups_of(labels), self.check
        target = Moments.of(real).cpu()
        frechet = metrics.frechet(Moments.of(drawn), target)
        kernel = metrics.kernel_distance(drawn, real, check)
        both = metrics.density_and_coverage(real, drawn, check=check)
        intervals = resampling.density_and_coverage_intervals(both, drawn, real, groups, check)
        return {
            "frechet_distance": frechet,
            "frechet_distance_interval": resampling.frechet_interval(frechet, drawn, target, groups, check),
            "kernel_distance": kernel,
            "kernel_distance_interval": resampling.kernel_interval(kernel, drawn, real, groups, check),
            "density": both[0],
            "density_interval": intervals[0],
            "coverage": both[1],
            "coverage_interval": intervals[1],
        }

    def varied(self, seen: Looks, labels: Tensor) -> dict[str, object]:
        """Measure how much the digits of each class vary, compared with real ones: NaN if those do not vary."""
        parts = metrics.split_by_class(seen.features, labels, self.dataset.class_count)
        groups = metrics.split_by_class(resampling.groups_of(labels), labels, self.dataset.class_count)
        real = self.judge.distances.tolist()
        distances = [metrics.mean_distance(features, self.check) for features in parts]
        ratios = [metrics.relative(*each) for each in zip(distances, real, strict=True)]
        without = resampling.variety_without(parts, groups, real, self.check).cpu().tolist()  # one transfer from a GPU
        mean = sum(ratios) / len(ratios)
        means = [sum(each) / len(each) for each in zip(*without, strict=True)]
        return {
            "variety": ratios,
            "variety_intervals": [resampling.interval(*each) for each in zip(ratios, without, strict=True)],
            "variety_mean": mean,
            "variety_mean_interval": resampling.interval(mean, means),
        }

    def taught(self, lessons: Lessons, name: str) -> dict[str, object]:
        """Train classifiers on the digits, test them on real ones (Shmelkov et al. 2018; Ravuri and Vinyals 2019)."""
        drawn, trained, found = list[tuple[Tensor, Tensor]](), set[int](), []
        self.report_step(f"collecting {self.effort.lessons * self.dataset.class_count} digits to train pupils on")

        def train(number: int) -> dict[str, float]:
            trained.add(number)
            if not drawn:  # once, and only if a pupil must be trained
                drawn.append(lessons())
            return {"accuracy": self.teach(number, *drawn[0]), "lessons": len(drawn[0][0])}

        for number in range(1, self.effort.pupils + 1):
            found.append(self.steps(f"{name}-pupil-{number}", partial(train, number)))
            for _ in range(0 if number in trained else self.effort.epochs):
                self.report_step(f"pupil {number} of {self.effort.pupils} was trained before")
        scores = [float(each["accuracy"]) for each in found]
        mean, tests = sum(scores) / len(scores), len(self.dataset.test_labels)
        return {
            "gan_train": mean,
            "gan_train_interval": metrics.wilson(mean * tests, tests),
            "gan_trains": scores,
            "lessons": int(found[0]["lessons"]),
        }

    def teach(self, number: int, lessons: Tensor, labels: Tensor) -> float:
        """Train one pupil. Returns its accuracy on the real test digits."""
        pupil, batches = Classifier("reporting", self.dataset.class_count), math.ceil(len(labels) / classifier.BATCH)
        done = itertools.count()

        def check() -> None:
            self.check()
            if (batch := next(done)) % batches == 0:
                epoch = f"epoch {batch // batches + 1} of {self.effort.epochs}"
                self.report_step(f"training pupil {number} of {self.effort.pupils} on {len(lessons)} digits, {epoch}")

        classifier.train(
            pupil, lessons, labels, seed=100 + number, epochs=self.effort.epochs, augment=False, check=check
        )
        return classifier.accuracy(pupil, self.dataset.test_images, self.dataset.test_labels, self.check)

    def nearest(self, digits: Tensor, labels: Tensor) -> tuple[dict[str, object], Neighbours]:
        """Measure how many digits are copies of training digits. Test digits, which are no copies, set the scale."""
        self.report_step("searching the nearest training digits")
        train = self.dataset.train_images.flatten(1).float()
        chosen = torch.linspace(0, len(digits) - 1, min(NEIGHBOURS, len(digits)), device=digits.device).long()
        some, classes = digits[chosen], labels[chosen].long()
        distances, places = metrics.nearest(some.flatten(1).float(), train, self.check)
        order = nearest_first(classes, distances)
        copied = distances < self.close
        near: dict[str, object] = {
            "nearest_distance": float(distances.median()),
            "nearest_distance_interval": resampling.median_interval(distances),
            "copies": float(copied.float().mean()),
            "copies_interval": metrics.wilson(int(copied.sum()), len(copied)),
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
        return metrics.nearest(test[:NEIGHBOURS], train, self.check)[0].quantile(CLOSE)


def evaluate(
    name: str, generator: FoldedGenerator, evaluator: Evaluator, real: Figures
) -> tuple[Evaluation, Neighbours]:
    """Evaluate a generator. Takes minutes on a CPU. Raises FiguresNotFinite."""
    began = time.monotonic()
    figures, neighbours = evaluator.examine_generator(generator)
    tests = len(evaluator.dataset.test_labels)
    evaluation = Evaluation(
        checkpoint=name,
        dataset=evaluator.dataset.name,
        dataset_checksum=evaluator.dataset.checksum,
        classes=list(evaluator.dataset.classes),
        effort=next((effort for effort, budget in EFFORTS.items() if budget == evaluator.effort), None),
        judge_accuracy=evaluator.judge.accuracy,
        judge_accuracy_interval=metrics.wilson(round(evaluator.judge.accuracy * tests), tests),
        generator=figures,
        real=real,
        device=evaluator.dataset.test_images.device.type,
        seconds=time.monotonic() - began,
    )
    return evaluation, neighbours
