"""The Prometheus metrics of a worker, and their transfer from the training process to its parent.

The parent process holds the metrics and the port: it outlives its training process, so that counts and port survive if
that is killed. The training process sends each change to the parent over an inherited pair of sockets, without waiting.
"""

import json
import math
from collections.abc import Sequence

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics

import worker.observability.prometheus  # noqa: F401  # before the first metric
from models.records import Loss, Progress
from worker.jobs.model import ENDED, EpochRecord, JobStatus
from worker.observability.metrics_channel import Sender

disable_created_metrics()  # type: ignore[no-untyped-call]

Figure = Counter | Gauge | Histogram

REGISTRY = CollectorRegistry()

JOBS_TAKEN = Counter("acgan_worker_jobs_taken", "Jobs claimed.", registry=REGISTRY)
JOBS_ENDED = Counter(
    "acgan_worker_jobs_ended", "Jobs ended, by status; those handed back are `queued`.", ["status"], registry=REGISTRY
)
LEASES_LOST = Counter("acgan_worker_leases_lost", "Jobs that another worker took over.", registry=REGISTRY)
BUSY = Gauge(
    "acgan_worker_busy", "Whether the worker runs a job or draws parts of another worker's data set.", registry=REGISTRY
)
PARTS_HELPED = Counter(
    "acgan_worker_parts_helped", "Parts of up to 5000 digits drawn for data sets of other workers.", registry=REGISTRY
)
PROCESSES_LOST = Counter(
    "acgan_worker_processes_lost", "Training processes that were killed or ran out of memory.", registry=REGISTRY
)

ITERATIONS = Counter("acgan_worker_iterations", "Iterations trained.", registry=REGISTRY)
IMAGES_PER_SECOND = Gauge("acgan_worker_images_per_second", "Real images per second, recently.", registry=REGISTRY)
EPOCH_SECONDS = Histogram(
    "acgan_worker_epoch_seconds",
    "Seconds per epoch, with its evaluation.",
    buckets=(0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600, 1800),
    registry=REGISTRY,
)
LAST_EPOCH_SECONDS = Gauge("acgan_worker_last_epoch_seconds", "Seconds of the last epoch.", registry=REGISTRY)
LOSS = Gauge("acgan_worker_loss", "Losses of the last epoch, in nats.", ["network", "split", "loss"], registry=REGISTRY)

QUALITY = Gauge(
    "acgan_worker_quality", "Quality of the last epoch by the choosing judge.", ["figure"], registry=REGISTRY
)
EPOCHS_REFUSED = Counter("acgan_worker_epochs_refused", "Epochs whose generators are not served.", registry=REGISTRY)

WRITING = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
SAVE_SECONDS = Histogram(
    "acgan_worker_save_seconds", "Seconds to save the state of a run.", buckets=WRITING, registry=REGISTRY
)
SAVES_FAILED = Counter("acgan_worker_saves_failed", "States that could not be saved.", registry=REGISTRY)
WAITS_FOR_STORAGE = Gauge(
    "acgan_worker_waits_for_storage", "Whether the job waits for the store, or for space in it.", registry=REGISTRY
)
PUBLISH_SECONDS = Histogram(
    "acgan_worker_publish_seconds", "Seconds to make and write a checkpoint.", buckets=WRITING, registry=REGISTRY
)

JOBS_REQUEUED = Counter("acgan_worker_jobs_requeued", "Jobs queued again by this reconciler.", registry=REGISTRY)
WORKERS_LOST = Counter("acgan_worker_workers_lost", "Lost workers found by this reconciler.", registry=REGISTRY)
WEBHOOKS = Counter(
    "acgan_worker_webhooks",
    "Attempts to deliver a message about a job's end, by outcome.",
    ["outcome"],
    registry=REGISTRY,
)

for _outcome in ("delivered", "failed", "refused", "gone", "given_up"):
    WEBHOOKS.labels(_outcome)
for _status in (*ENDED, JobStatus.QUEUED):
    JOBS_ENDED.labels(_status.value)

_FIGURES: dict[str, Figure] = {
    figure._name: figure for figure in list(globals().values()) if isinstance(figure, Counter | Gauge | Histogram)
}


class InvalidFigure(ValueError):
    """A datagram is not a valid change of a metric. The message gives the reason."""


_sender: Sender | None = None


def speak_to_parent(sender: Sender) -> None:
    """In the training process: send all later changes to the parent."""
    global _sender
    _sender = sender


def tell(figure: Figure, value: float = 1, *labels: str) -> None:
    """Add to a counter, set a gauge or observe in a histogram: in this process, or in the parent if it counts."""
    if _sender is None:
        apply(figure, value, labels)
    else:
        _sender.send(json.dumps([figure._name, value, labels]).encode())


def apply(figure: Figure, value: float, labels: Sequence[str]) -> None:
    child = figure.labels(*labels) if labels else figure
    match child:
        case Counter():
            child.inc(value)
        case Gauge():
            child.set(value)
        case Histogram():
            child.observe(value)


def count(datagram: bytes) -> None:
    """In the parent: apply a change that the training process sent. Raises InvalidFigure and then changes nothing."""
    try:
        name, value, labels = json.loads(datagram)
        figure = _FIGURES[name]
        is_valid = isinstance(labels, list) and all(isinstance(label, str) for label in labels)
        if not is_valid or len(labels) != len(figure._labelnames) or isinstance(value, bool | str):
            raise InvalidFigure(f"labels or value do not fit {name}: {datagram[:200]!r}")
        if not math.isfinite(value) and not isinstance(figure, Gauge):
            raise InvalidFigure(f"{name} cannot count {value}")
        apply(figure, float(value), labels)
    except (ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError) as error:
        raise InvalidFigure(f"{error!r} in {datagram[:200]!r}") from error


class Meter:
    """Updates the metrics of a run. `position` is the number of iterations that were done before."""

    def __init__(self, position: int) -> None:
        self.position = position

    def progressed(self, progress: Progress) -> None:
        position = (progress.epoch - 1) * progress.batches + progress.batch
        tell(ITERATIONS, max(0, position - self.position))
        tell(IMAGES_PER_SECOND, progress.images_per_second)
        self.position = position

    def epoch_ended(self, result: EpochRecord) -> None:
        tell(EPOCH_SECONDS, result.seconds)
        tell(LAST_EPOCH_SECONDS, result.seconds)
        for network, splits in (("generator", result.losses.generator), ("discriminator", result.losses.discriminator)):
            for split, losses in (("train", splits.train), ("test", splits.test)):
                for loss in Loss.model_fields:
                    tell(LOSS, getattr(losses, loss), network, split, loss)
        for figure, value in result.metrics.items():
            tell(QUALITY, value, figure)
        if result.refused:
            tell(EPOCHS_REFUSED)
