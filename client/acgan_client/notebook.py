"""What results show in a notebook: HTML without scripts. All text of the service is escaped."""

from base64 import b64encode
from collections.abc import Iterable, Sequence
from datetime import datetime
from html import escape
from typing import TYPE_CHECKING

from acgan_client.errors import printable

if TYPE_CHECKING:
    from acgan_client.records import Dataset, Epoch, Job, UnreadableJob
    from acgan_client.records.checkpoints import Checkpoint

MOST_ROWS = 100
MOST_CHARACTERS = 200  # of a cell
WIDTH, HEIGHT, MARGIN = 420, 140, 36  # of a curve, in pixels
CURVES = (("generator", "#0a7d6b"), ("discriminator", "#b0551c"))
BAR = 240  # pixels


def safe(value: object) -> str:
    """Return a value as the text of an element: escaped, on one line, of bounded length."""
    text = printable(value)
    return escape(text if len(text) <= MOST_CHARACTERS else f"{text[:MOST_CHARACTERS]}...")


def table_html(headings: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Return a table of at most MOST_ROWS rows."""
    cells = [[safe(value) for value in row] for row in rows]
    head = "".join(f"<th style='text-align:left'>{safe(heading)}</th>" for heading in headings)
    body = "".join(
        "<tr>" + "".join(f"<td style='text-align:left'>{cell}</td>" for cell in row) + "</tr>"
        for row in cells[:MOST_ROWS]
    )
    more = f"<p>and {len(cells) - MOST_ROWS:,} more</p>" if len(cells) > MOST_ROWS else ""
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>{more}"


# ----------------------------------------------------------------------------
# Jobs.


def job_html(job: "Job") -> str:
    """Return the state of a run, its progress, and the curve of its test losses."""
    name = f" ({safe(job.config.name)})" if job.config.name else ""
    last = job.epochs[-1].epoch if job.epochs else 0
    parts = [f"<p><b>job {safe(job.id)}</b>{name}: {safe(job.status)}, epoch {last} of {job.config.epochs}</p>"]
    if job.progress is not None and not job.ended:
        batches = max(1, job.progress.batches * job.progress.epochs)
        done = ((job.progress.epoch - 1) * job.progress.batches + job.progress.batch) / batches
        parts.append(bar_html(done, job.progress.eta_seconds))
    parts += [f"<p>{safe(text)}</p>" for text in (job.error, job.trouble) if text]
    parts.append(curve_html(job.epochs))
    return "".join(parts)


def dataset_html(dataset: "Dataset") -> str:
    order = dataset.order
    each = f"{order.per_class + order.test_per_class:,} images of each class"
    images = f"{dataset.progress.digits:,} images" if dataset.progress else each
    parts = [
        f"<p><b>data set {safe(dataset.id)}</b>: {safe(dataset.status)}, {images} by "
        f"{safe(order.checkpoint)}, seed {order.seed}</p>"
    ]
    if dataset.progress is not None and not dataset.ended:
        done = dataset.progress.drawn / max(1, dataset.progress.digits)
        parts.append(bar_html(done, dataset.progress.eta_seconds))
    if dataset.error:
        parts.append(f"<p>{safe(dataset.error)}</p>")
    return "".join(parts)


def bar_html(done: float, seconds_left: float) -> str:
    """Return a bar for a part of 0 to 1."""
    part = min(1.0, max(0.0, done))
    bar = (
        f"<svg width='{BAR}' height='10' role='img' aria-label='{part:.0%} done'>"
        f"<rect width='{BAR}' height='10' fill='#ddd'/>"
        f"<rect width='{BAR * part:.0f}' height='10' fill='{CURVES[0][1]}'/></svg>"
    )
    return f"<p>{bar} {part:.0%}, about {max(0.0, seconds_left):,.0f} s left</p>"


def curve_html(epochs: "Sequence[Epoch]") -> str:
    """Return the test losses of each epoch as SVG; an empty text without epochs."""
    if not epochs:
        return ""
    values = {name: [(epoch.epoch, getattr(epoch.losses, name).test.loss) for epoch in epochs] for name, _ in CURVES}
    numbers = [epoch.epoch for epoch in epochs]
    losses = [loss for points in values.values() for _, loss in points]
    low, high = min(losses), max(losses)
    parts = []
    for row, (name, colour) in enumerate(CURVES):
        points = [(across(x, numbers), down(y, low, high)) for x, y in values[name]]
        line = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        parts.append(f"<polyline points='{line}' fill='none' stroke='{colour}' stroke-width='2'/>")
        parts.append(f"<circle cx='{points[-1][0]:.1f}' cy='{points[-1][1]:.1f}' r='3' fill='{colour}'/>")
        parts.append(label(MARGIN + 8, 14 + 14 * row, f"{name}, test loss {values[name][-1][1]:.3f}", colour))
    parts += [label(0, MARGIN, f"{high:.2f}"), label(0, HEIGHT - MARGIN // 2, f"{low:.2f}")]
    parts += [label(MARGIN, HEIGHT - 2, f"epoch {numbers[0]}"), label(WIDTH - MARGIN, HEIGHT - 2, str(numbers[-1]))]
    title = "aria-label='test losses of each epoch'"
    return f"<svg width='{WIDTH}' height='{HEIGHT}' role='img' {title}>{''.join(parts)}</svg>"


def across(epoch: int, epochs: Sequence[int]) -> float:
    span = max(1, epochs[-1] - epochs[0])
    return MARGIN + (epoch - epochs[0]) / span * (WIDTH - 2 * MARGIN)


def down(loss: float, low: float, high: float) -> float:
    part = (loss - low) / (high - low) if high > low else 0.5
    return HEIGHT - MARGIN / 2 - part * (HEIGHT - 1.5 * MARGIN)


def label(x: float, y: float, text: str, colour: str = "currentColor") -> str:
    return f"<text x='{x}' y='{y}' font-size='11' fill='{colour}'>{safe(text)}</text>"


# ----------------------------------------------------------------------------
# Lists.


def jobs_html(jobs: "Sequence[Job | UnreadableJob]") -> str:
    rows: list[tuple[object, ...]] = []
    for job in jobs:
        config = job.config if isinstance(job.config, dict) else job.config.model_dump()
        last = getattr(job.epochs[-1], "epoch", len(job.epochs)) if job.epochs else 0
        done = f"{last}/{config.get('epochs', '?')}"
        rows.append(
            (job.id, job.status, done, when(job.created_at), config.get("dataset", ""), config.get("name") or "")
        )
    return table_html(("job", "status", "epochs", "accepted", "data", "name"), rows)


def datasets_html(datasets: "Sequence[Dataset | UnreadableJob]") -> str:
    rows: list[tuple[object, ...]] = []
    for dataset in datasets:
        order = (
            dataset.order if isinstance(dataset.order, dict) or dataset.order is None else dataset.order.model_dump()
        )
        known = order or {}
        wanted = (known.get("per_class", "?"), known.get("seed", "?"), known.get("checkpoint", "?"))
        rows.append((dataset.id, dataset.status, when(dataset.created_at), *wanted))
    return table_html(("data set", "status", "ordered", "per class", "seed", "checkpoint"), rows)


def checkpoints_html(checkpoints: "Sequence[Checkpoint]", serving: str | None) -> str:
    rows = [
        (
            checkpoint.id,
            figure(checkpoint, "label_accuracy", ".1%"),
            figure(checkpoint, "variety", ".2f"),
            figure(checkpoint, "frechet_distance", ".2f"),
            f"{checkpoint.size / 1e6:.1f}",
            "served" if checkpoint.id == serving else checkpoint.refused or "",
        )
        for checkpoint in checkpoints
    ]
    return table_html(("checkpoint", "labels", "variety", "Frechet", "MB", ""), rows)


def figure(checkpoint: "Checkpoint", name: str, form: str) -> str:
    return format(checkpoint.metrics[name], form) if name in checkpoint.metrics else "-"


def when(time: datetime | None) -> str:
    return f"{time:%Y-%m-%d %H:%M}" if time is not None else "-"


# ----------------------------------------------------------------------------
# Pictures.


def picture_html(file: bytes, media_type: str, alt: str) -> str:
    """Return an element with the picture in it."""
    data = b64encode(file).decode()
    return f"<img src='data:{escape(media_type)};base64,{data}' alt='{escape(printable(alt))}'>"
