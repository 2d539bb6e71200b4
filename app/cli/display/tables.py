"""Tables of jobs, generated data sets, checkpoints and training data. Each column says when a narrow terminal leaves it
out.
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from itertools import pairwise
from typing import TYPE_CHECKING

from acgan_client import Checkpoint, Dataset, Job, JobStatus, UnreadableJob
from acgan_client.records.checkpoints import CheckpointList
from app.cli.display.columns import Column, Table
from app.cli.display.job_descriptions import describe_job

if TYPE_CHECKING:  # takes a while to load
    from app.schemas.training_data import TrainingDataView

COLOURS = {JobStatus.SUCCEEDED: "green", JobStatus.FAILED: "red", JobStatus.RUNNING: "cyan"}
SHORTEST_ID = 18  # characters: date and time to the millisecond


def jobs_table(jobs: Sequence[Job | UnreadableJob], now: datetime | None = None) -> Table:
    """Return the runs. `age` is the time since it was accepted, `ran` that on a worker, `ETA` the time left."""
    at = now or datetime.now(UTC)
    table = Table(
        Column("job", shortest=shortest_prefix([job.id for job in jobs]), rank=3, ellipsis=False),
        Column("status"),
        Column("epochs", drop=9),
        Column("labels", drop=4, right=True),
        Column("age", drop=5, right=True),
        Column("ran", drop=2, right=True),
        Column("ETA", drop=8, right=True),
        Column("data", drop=1),
        Column("name", shortest=8, rank=0, drop=7),
    )
    for job in jobs:
        if isinstance(job, UnreadableJob):
            table.add(
                job.id, job.status, str(len(job.epochs)), "-", age(job.created_at, at), "-", "-", "-", job.trouble
            )
            continue
        table.add(
            job.id,
            (job.status.value, COLOURS.get(job.status, "")),
            f"{job.epochs[-1].epoch if job.epochs else 0}/{job.config.epochs}",
            accuracy(job.epochs[-1].metrics) if job.epochs else "-",
            age(job.created_at, at),
            ran(job, at),
            remaining(job),
            f"{job.config.dataset}, {job.config.recipe}",
            " ".join([job.name or "", *(f"#{tag}" for tag in job.tags)]).strip(),
        )
    return table


def other_jobs_table(jobs: Sequence[Job | UnreadableJob], now: datetime | None = None) -> Table:
    """Return jobs that are no runs. `age` is the time since it was accepted, `ran` that on a worker."""
    at = now or datetime.now(UTC)
    table = Table(
        Column("job", shortest=shortest_prefix([job.id for job in jobs]), rank=3, ellipsis=False),
        Column("status"),
        Column("age", drop=5, right=True),
        Column("ran", drop=2, right=True),
        Column("ETA", drop=4, right=True),
        Column("makes", shortest=8, rank=0, drop=7),
    )
    for job in jobs:
        if isinstance(job, UnreadableJob):
            table.add(job.id, job.status, age(job.created_at, at), "-", "-", job.trouble)
            continue
        status = (job.status.value, COLOURS.get(job.status, ""))
        table.add(job.id, status, age(job.created_at, at), ran(job, at), remaining(job), describe_job(job))
    return table


def datasets_table(datasets: Sequence[Dataset | UnreadableJob], now: datetime | None = None) -> Table:
    at = now or datetime.now(UTC)
    table = Table(
        Column("data set", shortest=shortest_prefix([each.id for each in datasets]), rank=3, ellipsis=False),
        Column("status"),
        Column("drawn", drop=9, right=True),
        Column("age", drop=5, right=True),
        Column("ETA", drop=8, right=True),
        Column("per class", drop=4, right=True),
        Column("seed", drop=2, right=True),
        Column("checkpoint", shortest=12, rank=0, drop=1),
    )
    for dataset in datasets:
        if isinstance(dataset, UnreadableJob):
            created = age(dataset.created_at, at)
            table.add(dataset.id, dataset.status, "-", created, "-", "-", "-", dataset.trouble)
            continue
        drawn = "-"  # before the start the number of images is unknown: it depends on the classes of the checkpoint
        if progress := dataset.progress:
            done = progress.digits if dataset.status is JobStatus.SUCCEEDED else progress.drawn
            drawn = f"{done:,}/{progress.digits:,}"
        table.add(
            dataset.id,
            (dataset.status.value, COLOURS.get(dataset.status, "")),
            drawn,
            age(dataset.created_at, at),
            remaining(dataset),
            f"{dataset.order.per_class:,} + {dataset.order.test_per_class:,}",
            str(dataset.order.seed),
            dataset.order.checkpoint,
        )
    return table


def checkpoints_table(listing: CheckpointList, now: datetime | None = None) -> Table:
    at = now or datetime.now(UTC)
    table = Table(
        Column("checkpoint", shortest=20, rank=5),
        Column("labels", right=True, drop=9),
        Column("variety", right=True, drop=3),
        Column("Frechet", right=True, drop=4),
        Column("age", right=True, drop=2),
        Column("MB", right=True, drop=1),
        Column("", shortest=7, rank=0),
    )
    for checkpoint in listing.checkpoints:
        table.add(
            checkpoint.id,
            accuracy(checkpoint.metrics),
            figure(checkpoint, "variety"),
            figure(checkpoint, "frechet_distance"),
            age(checkpoint.created_at, at),
            f"{checkpoint.size / 1e6:.1f}",
            "served" if checkpoint.id == listing.serving else "refused" if checkpoint.refused else "",
        )
    for other in listing.unusable:
        what = "written by another version" if other.written_by_another_version else "damaged"
        table.add(other.id, "-", "-", "-", "-", "-", what)
    if listing.serving not in {checkpoint.id for checkpoint in listing.checkpoints}:
        table.caption = f"{listing.serving or 'nothing'} is served"
    return table


# ----------------------------------------------------------------------------
# Cells.


def accuracy(metrics: dict[str, float]) -> str:
    return f"{metrics['label_accuracy']:.1%}" if "label_accuracy" in metrics else "-"


def figure(checkpoint: Checkpoint, name: str) -> str:
    return f"{checkpoint.metrics[name]:.2f}" if name in checkpoint.metrics else "-"


def age(since: datetime | None, now: datetime) -> str:
    return "-" if since is None else span((now - since).total_seconds())


def ran(job: Job, now: datetime) -> str:
    """Return the time that workers ran the job; for one of an earlier version, the time of its epochs."""
    if job.seconds_running is None:
        seconds = sum(epoch.seconds for epoch in job.epochs)
        return f"~{span(seconds)}" if seconds else "-"
    current = (now - job.running_since).total_seconds() if job.running_since else 0
    return span(job.seconds_running + max(0.0, current)) if job.started_at else "-"


def remaining(job: Job | Dataset) -> str:
    return span(job.progress.eta_seconds) if job.status == JobStatus.RUNNING and job.progress else "-"


def span(seconds: float) -> str:
    """Return a time in one or two units, as in `45s`, `12m`, `3h05m` or `4d`; 0s for times in the future."""
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m"
    if whole < 48 * 3600:
        return f"{whole // 3600}h{whole % 3600 // 60:02d}m"
    return f"{whole // 86_400}d"


def shortest_prefix(ids: list[str]) -> int:
    """Return the number of characters after which these ids differ, at least those of their time."""
    shared = [shared_length(one, other) for one, other in pairwise(sorted(set(ids)))]
    return max([SHORTEST_ID, *(length + 1 for length in shared)])


def shared_length(one: str, other: str) -> int:
    return next((at for at, (a, b) in enumerate(zip(one, other, strict=False)) if a != b), min(len(one), len(other)))


def training_data_table(data: "list[TrainingDataView]") -> Table:
    table = Table(
        Column("name", shortest=12, rank=4),
        Column("versions", drop=5),
        Column("classes", right=True, drop=6),
        Column("training", right=True),
        Column("test", right=True, drop=3),
        Column("checkpoints", right=True, drop=2),
        Column("source", shortest=12, rank=0, drop=1),
    )
    for each in data:
        table.add(
            each.name,
            ", ".join(map(str, each.versions)) or "built in",
            str(len(each.classes)),
            f"{each.train_images:,}",
            f"{each.test_images:,}",
            str(each.checkpoints),
            each.description if each.built_in else each.source or "",
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
    table = Table(
        Column("label", right=True), Column("class"), Column("training", right=True), Column("test", right=True)
    )
    for label, name in enumerate(view.classes):
        counts = [view.train_counts, view.test_counts]
        table.add(str(label), name, *(f"{each[label]:,}" if each else "-" for each in counts))
    return table
