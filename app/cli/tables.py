"""Tables of jobs, generated data sets and checkpoints."""

from rich.table import Table

from acgan_client import Checkpoint, Dataset, Job, JobStatus, UnreadableJob
from acgan_client.records import CheckpointList
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


def datasets_table(found: list[Dataset | UnreadableJob]) -> Table:
    table = Table(box=None, pad_edge=False)
    for heading in ("data set", "status", "drawn", "per class", "seed", "checkpoint"):
        table.add_column(heading, no_wrap=True, justify="right" if heading in ("drawn", "per class") else "left")
    for each in found:
        if isinstance(each, UnreadableJob):
            table.add_row(cell(each.id), cell(each.status), "-", "-", "-", cell(each.trouble))
            continue
        of = 10 * (each.order.per_class + each.order.test_per_class)
        drawn = of if each.status is JobStatus.SUCCEEDED else each.progress.drawn if each.progress else 0
        table.add_row(
            cell(each.id),
            cell(each.status.value, COLOURS.get(each.status, "default")),
            f"{drawn:,}/{of:,}",
            f"{each.order.per_class:,} + {each.order.test_per_class:,}",
            str(each.order.seed),
            cell(each.order.checkpoint),
        )
    return table


def checkpoints_table(found: CheckpointList) -> Table:
    table = Table(box=None, pad_edge=False)
    for heading in ("checkpoint", "labels", "variety", "Frechet", "MB", ""):
        justify = "left" if heading in ("checkpoint", "") else "right"
        table.add_column(heading, no_wrap=bool(heading), justify=justify)  # type: ignore[arg-type]
    for each in found.checkpoints:
        table.add_row(
            cell(each.id),
            accuracy(each.metrics),
            figure(each, "variety"),
            figure(each, "frechet_distance"),
            f"{each.size / 1e6:.1f}",
            "served" if each.id == found.serving else "refused" if each.refused else "",
        )
    for other in found.unusable:
        what = "written by another version" if other.written_by_another_version else "damaged"
        table.add_row(cell(other.id), "-", "-", "-", "-", what)
    if found.serving not in {each.id for each in found.checkpoints}:
        table.caption = cell(f"{found.serving or 'nothing'} is served")
        table.caption_justify = "left"
    return table


def accuracy(metrics: dict[str, float]) -> str:
    return f"{metrics['label_accuracy']:.1%}" if "label_accuracy" in metrics else "-"


def figure(checkpoint: Checkpoint, name: str) -> str:
    return f"{checkpoint.metrics[name]:.2f}" if name in checkpoint.metrics else "-"
