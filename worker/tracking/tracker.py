"""What every tracker implements, and what it receives. Free of torch and of the trackers' libraries."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, NamedTuple, Protocol

import numpy as np

from models.records import EpochResult, flatten

# `stopped`: the run waits to be resumed. `unknown`: another process continues the run, and its status is not ours.
Outcome = Literal["succeeded", "failed", "cancelled", "stopped", "unknown"]
UNFINISHED: tuple[Outcome, ...] = ("stopped", "unknown")  # the run may continue: its end is not final

Parameter = str | int | float | bool


class TrackedRun(NamedTuple):
    """A run as trackers describe it."""

    id: str  # only letters, digits, `.`, `_` and `-`
    name: str  # for people
    parameters: Mapping[str, Parameter]  # the configuration, without fields that are not set
    tags: Mapping[str, str]


class TrackingTarget(NamedTuple):
    """Where trackers write."""

    folder: Path  # for files; trackers create their own folders in it
    mlflow_uri: str  # of a server, or of a folder


@dataclass
class TrackedEpoch:
    """The figures of an epoch on their way to one tracker."""

    epoch: int  # from 1
    figures: Mapping[str, float]
    picture: np.ndarray | None  # uint8 (height, width); None if it was dropped or sent
    at: float = field(default_factory=time.time)  # when the epoch ended, in seconds since 1970
    is_sent: bool = False  # whether the tracker has the figures


class Tracker(Protocol):
    """A connection to one tracker. Used by one thread, which may wait for it. Each method may raise any exception."""

    def __init__(self, run: TrackedRun, target: TrackingTarget, first_epoch: int) -> None:
        """Open the run, or continue it if the tracker has it. The figures that follow begin with `first_epoch`."""

    def send_figures(self, epoch: TrackedEpoch) -> None:
        """Store the figures. When this returns, they are stored, each once."""

    def send_picture(self, epoch: int, picture: np.ndarray) -> None:
        """Store the sample picture of an epoch, uint8 (height, width)."""

    def end(self, outcome: Outcome) -> None:
        """Record how the run ended and close the connection."""


def figures_of(
    result: EpochResult, metrics: Mapping[str, float], learning_rate: float, images: int
) -> dict[str, float]:
    """Name every figure of an epoch by its group, as in `loss/generator_test_loss`.

    The last part is the name of the column in the history's table. `images` is the number of real images that the epoch
    trained on; images per second count the whole epoch, with its evaluation.
    """
    losses = {f"loss/{name}": float(str(value)) for name, value in flatten(result.losses.model_dump(mode="json"))}
    quality = {f"quality/{name}": value for name, value in metrics.items()}
    speed = {"training/images_per_second": images / result.seconds} if result.seconds > 0 else {}
    return {
        **losses,
        **quality,
        "training/learning_rate": learning_rate,
        "training/seconds": result.seconds,
        **speed,
    }
