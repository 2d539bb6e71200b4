"""The order and the result of an evaluation, and the package's files for it. Without torch."""

import math
from collections.abc import Iterator
from functools import cache
from importlib import resources
from importlib.resources.abc import Traversable
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, WithJsonSchema

from models.errors import InvalidInput
from models.records import Record

CLOSE = 0.01  # share of test digits that count as copies by chance

Effort = Literal["full", "quick"]
Interval = Annotated[
    tuple[float, float], WithJsonSchema({"type": "array", "items": {"type": "number"}, "minItems": 2, "maxItems": 2})
]


class EvaluationOrder(BaseModel):
    """Which generator is evaluated, and with how many digits."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    checkpoint: Annotated[str, Field(max_length=100)] = Field(
        "latest",
        description="The checkpoint: `latest`, `best` or an id. Becomes an id when the evaluation is accepted.",
    )
    effort: Effort = Field("full", description="`quick` uses a fifth of the digits and one pupil: less precise.")


class Figures(Record):
    """Quality figures of digits, each with a 95 % interval. Accuracies, shares and their intervals are 0-1.

    Intervals of accuracies and shares are Wilson's. Those of distances, density, coverage and variety are by the
    jackknife over ten groups of the evaluated digits. They show how much a figure varies with other digits of the same
    generator, not the effect of other real digits or of another judge. If there are too few digits for an interval,
    both its ends are the figure.
    """

    digits: int = Field(description="Number of evaluated digits.")
    label_accuracy: float = Field(description="Share of digits that the judge recognises as their label.")
    label_accuracy_interval: Interval
    label_accuracies: list[float] = Field(description="Of each class.")
    label_accuracies_intervals: list[Interval] = Field(description="Of each class.")
    confusion: list[list[int]] = Field(description="Requested label (rows) against recognised class (columns).")
    gan_train: float = Field(
        description="Mean accuracy, on real test digits, of classifiers (pupils) trained on these digits."
    )
    gan_train_interval: Interval = Field(
        description="From the number of test digits; `gan_trains` shows the spread between pupils."
    )
    gan_trains: list[float] = Field(description="Of each pupil: one random seed each.")
    lessons: int = Field(description="Digits that each pupil was trained on.")
    frechet_distance: float = Field(description="Distance to the real test digits, in the judge's features.")
    frechet_distance_interval: Interval
    kernel_distance: float = Field(description="Distance to them by the kernel (x.y / F + 1)^3, unbiased.")
    kernel_distance_interval: Interval
    density: float
    density_interval: Interval
    coverage: float
    coverage_interval: Interval
    variety: list[float] = Field(description="Mean distance within each class, divided by that of training digits.")
    variety_intervals: list[Interval] = Field(description="Of each class.")
    variety_mean: float
    variety_mean_interval: Interval
    nearest_distance: float = Field(description="Median distance in grey levels to the nearest training digit.")
    nearest_distance_interval: Interval = Field(description="From the order of the distances.")
    copies: float = Field(description=f"Share nearer to a training digit than {1 - CLOSE:.0%} of the test digits are.")
    copies_interval: Interval


class Evaluation(Record):
    """Figures of a generator and of real digits."""

    checkpoint: str
    dataset: str
    dataset_checksum: str = Field(description="SHA-256 of the real images and labels.")
    classes: list[str] = Field(description="The name of each label, from 0.")
    effort: Effort | None = Field(description="Null if the number of digits is that of neither effort.")
    judge_accuracy: float = Field(description="Accuracy of the reporting judge on the real test digits.")
    judge_accuracy_interval: Interval = Field(description="Wilson's 95 % interval.")
    generator: Figures
    real: Figures
    device: str = Field(description="Type of the device that computed the figures: `cpu` or `cuda`.")
    seconds: float


class FiguresNotFinite(InvalidInput, code="figures-not-finite"):
    """Figures of an evaluation are not finite numbers. The message names them."""


def require_finite(figures: dict[str, Any], of: str) -> dict[str, Any]:
    """Return the figures, whose values are numbers or nested sequences of numbers. `of` names the digits.

    JSON has no NaN: a record with one could not be read. Raises FiguresNotFinite.
    """
    wrong = [name for name, value in figures.items() if not all(map(math.isfinite, _numbers(value)))]
    if wrong:
        raise FiguresNotFinite(
            f"the evaluation has no result, because these figures of the {of} digits are not finite numbers: "
            f"{', '.join(wrong)}. Perhaps all training images of a class are equal, or the judge could not learn from "
            "the training data"
        )
    return figures


@cache
def packaged_file(name: str) -> Traversable | None:
    """Return a file of the package, with a judge or with figures of real digits; None if there is none."""
    file = resources.files("models") / "judges" / name
    return file if file.is_file() else None


def packaged_judge(dataset: str, role: str) -> Traversable | None:
    """Return the file of the package's judge of a data set, which also judges parts of it; None if there is none."""
    return packaged_file(f"{dataset}-{role}.safetensors")


def _numbers(value: Any) -> Iterator[float]:
    if isinstance(value, list | tuple):
        for each in value:
            yield from _numbers(each)
    else:
        yield value
