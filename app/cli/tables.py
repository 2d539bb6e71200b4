"""Tables of jobs, generated data sets, checkpoints and training data."""

from typing import TYPE_CHECKING

from rich.table import Table

from acgan_client import Checkpoint, Dataset, Job, JobStatus, UnreadableJob
from acgan_client.checkpoint_records import CheckpointList
from app.cli.output import cell

if TYPE_CHECKING:  # takes a while to load
    from app.schemas.training_data import TrainingDataView

COLOURS = {JobStatus.SUCCEEDED: "green", JobStatus.FAILED: "red", JobStatus.RUNNING: "cyan"}


def jobs_table(jobs: list[Job | UnreadableJob]) -> Table:
    table = Table(box=None, pad_edge=False)
    for heading in ("job", "status", "epochs", "labels", "data", "name"):
        table.add_column(heading, no_wrap=heading != "name", overflow="fold")
    for job in jobs:
        if isinstance(job, UnreadableJob):
            table.add_row(cell(job.id), cell(job.status), str(len(job.epochs)), "-", "-", cell(job.trouble))
            continue
        table.add_row(
            cell(job.id),
            cell(job.status.value, COLOURS.get(job.status, "default")),
            f"{len(job.epochs)}/{job.config.epochs}",
            accuracy(job.epochs[-1].metrics) if job.epochs else "-",
            cell(f"{job.config.dataset}, {job.config.recipe}"),
            cell(job.config.name or ""),
        )
    return table


def datasets_table(datasets: list[Dataset | UnreadableJob]) -> Table:
    table = Table(box=None, pad_edge=False)
    for heading in ("data set", "status", "drawn", "per class", "seed", "checkpoint"):
        table.add_column(heading, no_wrap=True, justify="right" if heading in ("drawn", "per class") else "left")
    for dataset in datasets:
        if isinstance(dataset, UnreadableJob):
            table.add_row(cell(dataset.id), cell(dataset.status), "-", "-", "-", cell(dataset.trouble))
            continue
        ordered = 10 * (dataset.order.per_class + dataset.order.test_per_class)
        done = dataset.status is JobStatus.SUCCEEDED
        drawn = ordered if done else dataset.progress.drawn if dataset.progress else 0
        table.add_row(
            cell(dataset.id),
            cell(dataset.status.value, COLOURS.get(dataset.status, "default")),
            f"{drawn:,}/{ordered:,}",
            f"{dataset.order.per_class:,} + {dataset.order.test_per_class:,}",
            str(dataset.order.seed),
            cell(dataset.order.checkpoint),
        )
    return table


def checkpoints_table(listing: CheckpointList) -> Table:
    table = Table(box=None, pad_edge=False)
    for heading in ("checkpoint", "labels", "variety", "Frechet", "MB", ""):
        justify = "left" if heading in ("checkpoint", "") else "right"
        table.add_column(heading, no_wrap=bool(heading), justify=justify)  # type: ignore[arg-type]
    for checkpoint in listing.checkpoints:
        table.add_row(
            cell(checkpoint.id),
            accuracy(checkpoint.metrics),
            figure(checkpoint, "variety"),
            figure(checkpoint, "frechet_distance"),
            f"{checkpoint.size / 1e6:.1f}",
            "served" if checkpoint.id == listing.serving else "refused" if checkpoint.refused else "",
        )
    for other in listing.unusable:
        what = "written by another version" if other.written_by_another_version else "damaged"
        table.add_row(cell(other.id), "-", "-", "-", "-", what)
    if listing.serving not in {checkpoint.id for checkpoint in listing.checkpoints}:
        table.caption = cell(f"{listing.serving or 'nothing'} is served")
        table.caption_justify = "left"
    return table


def accuracy(metrics: dict[str, float]) -> str:
    return f"{metrics['label_accuracy']:.1%}" if "label_accuracy" in metrics else "-"


def figure(checkpoint: Checkpoint, name: str) -> str:
    return f"{checkpoint.metrics[name]:.2f}" if name in checkpoint.metrics else "-"


def training_data_table(data: "list[TrainingDataView]") -> Table:
    table = Table(box=None, pad_edge=False)
    for heading in ("name", "versions", "classes", "training", "test", "checkpoints", "source"):
        is_number = heading in ("classes", "training", "test", "checkpoints")
        table.add_column(heading, no_wrap=heading != "source", justify="right" if is_number else "left")
    for each in data:
        table.add_row(
            cell(each.name),
            cell(", ".join(map(str, each.versions)) or "built in"),
            str(len(each.classes)),
            f"{each.train_images:,}",
            f"{each.test_images:,}",
            str(each.checkpoints),
            cell(each.description if each.built_in else each.source),
        )
    return table


def described(view: "TrainingDataView") -> list[str]:
    """Return training data as sentences: what they are, and how their images were made."""
    name = view.name if view.version is None else f"{view.name}@{view.version}"
    source = view.description if view.built_in else f"from {view.source}"
    sizes = f"{view.train_images:,} training and {view.test_images:,} test images"
    sentences = [f"{name}: {len(view.classes)} classes, {sizes}, {source}"]
    if view.options:
        sentences.append("options: " + ", ".join(map(option, view.options, view.options.values())))
    if view.newest_checkpoint:
        sentences.append(f"{view.checkpoints} checkpoints, the newest one {view.newest_checkpoint}")
    return sentences


def option(name: str, value: str | int | float | None) -> str:
    name = name.replace("_", " ")
    return f"{name} {value:.3g}" if isinstance(value, float) else f"{name} {'-' if value is None else value}"


def class_counts_table(view: "TrainingDataView") -> Table:
    table = Table(box=None, pad_edge=False)
    for heading in ("label", "class", "training", "test"):
        table.add_column(heading, no_wrap=True, justify="left" if heading == "class" else "right")
    for label, name in enumerate(view.classes):
        counts = [view.train_counts, view.test_counts]
        table.add_row(str(label), cell(name), *(f"{each[label]:,}" if each else "-" for each in counts))
    return table
