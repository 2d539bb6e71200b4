"""Every figure that a worker tells Prometheus, and the way each takes from the process that trains to its parent.

The parent keeps the figures and the port: it outlives its training process, so that one that is killed costs no count
and no port. The training process reports each change to the parent over a pair of sockets that it inherits, and
does not wait.
"""

import json
import math
from collections.abc import Sequence

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics

import worker.observability.prometheus  # noqa: F401  # before the first figure
from models.records import Loss, Progress
from worker.jobs.model import ENDED, EpochRecord, JobStatus
from worker.observability.metrics_channel import Sender

disable_created_metrics()  # type: ignore[no-untyped-call]

Figure = Counter | Gauge | Histogram

REGISTRY = CollectorRegistry()

JOBS_TAKEN = Counter("acgan_worker_jobs_taken", "Jobs claimed.", registry=REGISTRY)
JOBS_ENDED = Counter(
    "acgan_worker_jobs_ended", "Jobs ended, by how; `queued` were handed back.", ["status"], registry=REGISTRY
)
LEASES_LOST = Counter("acgan_worker_leases_lost", "Jobs that went to somebody else meanwhile.", registry=REGISTRY)
BUSY = Gauge("acgan_worker_busy", "Whether a job is being run, or another's data set drawn.", registry=REGISTRY)
PARTS_HELPED = Counter(
    "acgan_worker_parts_helped", "Parts drawn for other workers' data sets, of 5000 digits at most.", registry=REGISTRY
)
PROCESSES_LOST = Counter("acgan_worker_processes_lost", "Training processes that ended by force.", registry=REGISTRY)

ITERATIONS = Counter("acgan_worker_iterations", "Iterations trained.", registry=REGISTRY)
IMAGES_PER_SECOND = Gauge("acgan_worker_images_per_second", "Real images consumed a second, lately.", registry=REGISTRY)
EPOCH_SECONDS = Histogram(
    "acgan_worker_epoch_seconds",
    "Seconds an epoch took, its evaluation included.",
    buckets=(0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600, 1800),
    registry=REGISTRY,
)
LAST_EPOCH_SECONDS = Gauge("acgan_worker_last_epoch_seconds", "Seconds the last epoch took.", registry=REGISTRY)
LOSS = Gauge("acgan_worker_loss", "Losses of the last epoch, in nats.", ["network", "split", "loss"], registry=REGISTRY)

QUALITY = Gauge(
    "acgan_worker_quality", "Figures of the last epoch's digits, by the choosing judge.", ["figure"], registry=REGISTRY
)
EPOCHS_REFUSED = Counter("acgan_worker_epochs_refused", "Epochs that are not served.", registry=REGISTRY)

WRITING = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
SAVE_SECONDS = Histogram("acgan_worker_save_seconds", "Seconds to keep a state.", buckets=WRITING, registry=REGISTRY)
SAVES_FAILED = Counter("acgan_worker_saves_failed", "States that could not be kept.", registry=REGISTRY)
PUBLISH_SECONDS = Histogram(
    "acgan_worker_publish_seconds", "Seconds to make and write a checkpoint.", buckets=WRITING, registry=REGISTRY
)

JOBS_REQUEUED = Counter("acgan_worker_jobs_requeued", "Jobs queued again by this reconciler.", registry=REGISTRY)
WORKERS_LOST = Counter("acgan_worker_workers_lost", "Lost workers found by this reconciler.", registry=REGISTRY)

for _status in (*ENDED, JobStatus.QUEUED):
    JOBS_ENDED.labels(_status.value)

_FIGURES: dict[str, Figure] = {
    figure._name: figure for figure in list(globals().values()) if isinstance(figure, Counter | Gauge | Histogram)
}


class InvalidFigure(ValueError):
    """A datagram is no figure of this worker. The message says why."""


_sender: Sender | None = None


def speak_to_parent(sender: Sender) -> None:
    """In the training process: from here on, the parent counts."""
    global _sender
    _sender = sender


def tell(figure: Figure, value: float = 1, *labels: str) -> None:
    """Add to a counter, set a gauge, or let a histogram observe; here, or in the parent."""
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
    """In the parent: count what the training process reports. Raises InvalidFigure, and then changes nothing."""
    try:
        name, value, labels = json.loads(datagram)
        figure = _FIGURES[name]
        is_valid = isinstance(labels, list) and all(isinstance(label, str) for label in labels)
        if not is_valid or len(labels) != len(figure._labelnames) or isinstance(value, bool | str):
            raise InvalidFigure(f"other labels or another value than {name} has: {datagram[:200]!r}")
        if not math.isfinite(value) and not isinstance(figure, Gauge):
            raise InvalidFigure(f"{name} cannot count {value}")
        apply(figure, float(value), labels)
    except (ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError) as error:
        raise InvalidFigure(f"{error!r}, of {datagram[:200]!r}") from error


class Meter:
    """Reads what a run tells of itself into figures. `position` is how many iterations it had behind it."""

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
