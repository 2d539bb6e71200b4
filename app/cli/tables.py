"""Tables of jobs, generated data sets and checkpoints."""

from rich.table import Table

from acgan_client import Checkpoint, Dataset, Job, JobStatus, UnreadableJob
from acgan_client.checkpoint_records import CheckpointList
from app.cli.output import cell

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
