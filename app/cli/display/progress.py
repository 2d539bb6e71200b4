"""Progress of a local or followed run on a terminal: a bar, and a table per epoch. Does not import torch."""

from typing import TYPE_CHECKING, Protocol

from pydantic import BaseModel
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from models.records import EpochLosses
from models.records import Progress as LocalProgress

if TYPE_CHECKING:
    from acgan_client.records import Progress as JobProgress


class JudgedEpoch(Protocol):
    """A finished epoch, trained locally or by a service."""

    @property
    def epoch(self) -> int: ...
    @property
    def seconds(self) -> float: ...
    @property
    def losses(self) -> BaseModel: ...
    @property
    def metrics(self) -> dict[str, float]: ...
    @property
    def refused(self) -> str | None: ...


def progress_bar(console: Console) -> Progress:
    """Return the bar of a run. Its tasks have the fields `epoch` and `rate`."""
    return bar(console, "Epoch {task.fields[epoch]}", "images/s, whole run")


def digits_bar(console: Console) -> Progress:
    """Return the bar of a generated data set. Its tasks have the field `rate`."""
    return bar(console, "Digits", "digits/s")


def bar(console: Console, what: str, unit: str) -> Progress:
    return Progress(
        TextColumn(what),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn(f"{{task.fields[rate]:.0f}} {unit}"),
        TimeRemainingColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )


def show(bar: Progress, task: TaskID, progress: "LocalProgress | JobProgress") -> None:
    done = (progress.epoch - 1) * progress.batches + progress.batch
    epoch = f"{progress.epoch}/{progress.epochs}"
    total = progress.epochs * progress.batches
    bar.update(task, completed=done, total=total, epoch=epoch, rate=progress.images_per_second)


FIGURES = {  # parts of a line, each with a figure without which it is left out
    "label_accuracy": "labels {label_accuracy:.1%} (worst class {label_accuracy_worst:.1%})",
    "variety": "variety {variety:.2f} relative to real digits (lowest class {variety_least:.2f})",
    "frechet_distance_raw": "Frechet distance {frechet_distance_raw:.2f}",
    "frechet_distance_averaged": "with averaged weights {frechet_distance_averaged:.2f}",
}


def print_epoch(epoch: JudgedEpoch, epochs: int, console: Console) -> None:
    console.print(f"Epoch {epoch.epoch}/{epochs} ({epoch.seconds:.1f} s)")
    console.print(EpochLosses(**epoch.losses.model_dump()).table(), highlight=False)
    if known := [part.format_map(epoch.metrics) for needed, part in FIGURES.items() if needed in epoch.metrics]:
        console.print(", ".join(known), highlight=False)
    if epoch.refused:
        console.print(f"not served: {epoch.refused}", highlight=False, markup=False)
