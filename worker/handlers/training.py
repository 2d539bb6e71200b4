"""Runs a training: connects the trainer, which has no notion of jobs, to the job's record and its checkpoints."""

import logging
from contextlib import suppress
from functools import partial

import torch
from structlog.contextvars import bind_contextvars

from models.config import TrainingConfig
from models.data.building.built import Arrays
from models.data.dataset import Dataset, load_dataset
from models.evaluation.epoch_snapshot import EpochSnapshot
from models.evaluation.quality_gate import find_quality_gate, sample_count
from models.networks.precision import multiplies_bf16
from models.records import Progress
from models.registry.manifest import FenceRejected
from models.torch_device import describe, find_device
from models.training.environment import reset_threads
from models.training.trainer import Trainer
from worker.handlers.checkpointing import CheckpointPublisher, record_of
from worker.handlers.live_report import LiveReport
from worker.handlers.traced_trainer import TracedTrainer
from worker.jobs.consumer import LeaseLost
from worker.jobs.errors import StoreUnavailable
from worker.jobs.model import Job
from worker.lifecycle import shutdown
from worker.lifecycle.budget import keep_within_budget
from worker.lifecycle.context import JobContext
from worker.lifecycle.lease import Cancelled
from worker.lifecycle.retry import retry_until_stored
from worker.observability import metrics, tracing
from worker.tracking.sender import Shortfall
from worker.tracking.session import TrackingSession
from worker.tracking.tracker import Outcome, TrackingTarget

logger = logging.getLogger(__name__)

OUTCOMES: dict[type[BaseException], Outcome] = {
    shutdown.Interrupted: "stopped",
    Cancelled: "cancelled",
    LeaseLost: "unknown",
    FenceRejected: "unknown",
}


def train(context: JobContext) -> None:
    """Train all epochs. After each, a writer thread publishes a checkpoint and then records the epoch, while the next
    epoch trains. When this function returns or raises, no write is in progress."""
    jobs, claim, settings, check = context.jobs, context.claim, context.settings, context.check
    check()
    device = find_device(settings.device)
    reset_threads()
    report_loading(context)
    with tracing.span("load data"):
        dataset = load_data(context, context.job.config)
    check()
    trainer = TracedTrainer(config_on(device, context.job), dataset, device)
    context.record(lambda: jobs.record_runtime(claim, trainer.config, describe(device)))
    gate = None
    if settings.judge:
        digits = sample_count(trainer.batches)
        with tracing.span("load judge"):
            latent_size = trainer.config.latent_size
            gate = find_quality_gate(dataset, latent_size, device, settings.judges_dir, digits, check)
    check()
    publisher = CheckpointPublisher(context, trainer, gate)
    with tracing.span("load state"):
        restored = context.retry_storage("the run cannot continue", publisher.restore)
    for lost in restored:
        context.record(partial(jobs.add_epoch, claim, lost))
    for warning in trainer.warnings:
        context.record(partial(jobs.add_warning, claim, warning))
    context.record(lambda: jobs.record_runtime(claim, trainer.config, describe(device)))  # restoring may change threads
    meter = metrics.Meter((trainer.epoch - 1) * trainer.batches + trainer.iteration)
    live = LiveReport(context, trainer)
    trainer.on_phase = live.enter

    def report(progress: Progress) -> None:
        meter.progressed(progress)
        bind_contextvars(epoch=progress.epoch)
        if publisher.is_save_due():
            with live.during("saving"):
                publisher.save()
        live.report(progress)

    def check_both() -> None:
        check()
        publisher.writer.check()

    tracking = track(context, trainer)
    publish = partial(publish_and_record, context, publisher, meter, tracking)
    with tracking, publisher, publisher.writer:
        try:
            results = trainer.run(report, check_both)
            while trainer.epoch <= trainer.config.epochs:
                with tracing.span("epoch", {tracing.EPOCH: trainer.epoch}):
                    result = next(results)
                    with live.during("judging"):
                        publisher.start_to_publish(result, publish)
            next(results, None)  # reports the end of the last epoch
            live.enter("saving")
        except (shutdown.Interrupted, Cancelled):
            publisher.save()
            raise


def config_on(device: torch.device, job: Job) -> TrainingConfig:
    """Return the configuration with which this device trains a job.

    If the job has begun on another worker in bf16, which this device would emulate, it continues in float32.
    """
    config = job.config
    if job.device is None or config.precision != "bf16" or multiplies_bf16(device):
        return config
    logger.warning("job %s began in bf16, which %s does not compute natively: it continues in fp32", job.id, device)
    return config.model_copy(update={"precision": "auto"})


def report_loading(context: JobContext) -> None:
    """Set the phase of a run whose record has the progress of an earlier worker."""
    if (progress := context.job.progress) is not None:
        loading = progress.model_copy(update={"phase": "loading", "live": None})
        context.record(lambda: context.jobs.report(context.claim, loading))


def load_data(context: JobContext, config: TrainingConfig) -> Dataset:
    """Load the training data of a run, or download them, which may take an hour.

    Raises LeaseLost, Cancelled and Interrupted, also during a download; DatasetUnavailable, TrainingDataNotFound,
    OSError.
    """
    settings, check = context.settings, context.check
    read_stored = partial(read_stored_data, context)
    return load_dataset(config, settings.data_dir, settings.cache_dir, settings.mirrors, read_stored, check=check)


def read_stored_data(context: JobContext, dataset: str) -> tuple[Arrays, tuple[str, ...]]:
    """Read training data from the store, and wait while the store does not respond."""
    read = partial(context.storage.training_data.read_stored, dataset)
    return context.retry_storage("its training data cannot be read", read)


def track(context: JobContext, trainer: Trainer) -> TrackingSession:
    """Report the run to the configured trackers. What they do not receive becomes a warning in the job's record."""
    settings, claim = context.settings, context.claim

    def warn(missing: Shortfall) -> None:
        logger.warning("job %s: %s: %s", claim.job.id, *missing)
        with suppress(StoreUnavailable, LeaseLost):  # the run itself is complete
            context.jobs.add_warning(claim, f"{missing.what}: the worker's log has the reason")

    target = TrackingTarget(settings.home, settings.mlflow_address)
    return TrackingSession(settings.trackers, claim.job.id, trainer, target, warn, OUTCOMES)


def publish_and_record(
    context: JobContext,
    publisher: CheckpointPublisher,
    meter: metrics.Meter,
    tracking: TrackingSession,
    snapshot: EpochSnapshot,
) -> None:
    """Publish an epoch's checkpoint, add the epoch to the record, and report it. Runs on the writer thread.

    Raises LeaseLost, FenceRejected, Cancelled, Interrupted, OSError; the epoch is then not recorded.
    """
    claim, result = context.claim, snapshot.result
    write = partial(publisher.publish, snapshot)
    with tracing.span("write checkpoint"):
        published = context.retry_storage(f"epoch {result.epoch} cannot be published", write)
    record = record_of(published)
    with tracing.span("record epoch"):
        retry_until_stored(partial(context.jobs.add_epoch, claim, record), context.lease.check_held)
    tracing.note({"acgan.checkpoint": record.checkpoint, "acgan.refused": record.refused is not None})
    meter.epoch_ended(record)
    tracking.report(result, record.metrics, snapshot.plot)
    if record.refused:
        logger.warning("job %s: epoch %d is not served: %s", claim.job.id, result.epoch, record.refused)
    logger.info("job %s: epoch %d\n%s", claim.job.id, result.epoch, result.losses.table())
    keep_within_budget(context)
