"""Runs a job from claim to end, and connects the trainer, which has no notion of jobs, to record and checkpoints."""

import logging
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from functools import partial

import redis
from structlog.contextvars import bind_contextvars, bound_contextvars

from models import torch_device
from models.data.dataset import DatasetUnavailable, load_dataset
from models.devices import DeviceOutOfMemory, DeviceUnavailable
from models.evaluation.epoch_snapshot import EpochSnapshot
from models.evaluation.quality_gate import find_quality_gate, sample_count
from models.networks.weights import InvalidWeights
from models.records import Progress, TrainingFailed
from models.registry.job_entry import fingerprint
from models.registry.retention import apply_retention
from models.registry.storage.base import StoreReplaced, Unreachable
from models.registry.storage.reading import Unreadable
from models.registry.store import (
    CheckpointDamaged,
    CheckpointId,
    CheckpointNotFound,
    CheckpointStore,
    FenceRejected,
    JobConflict,
    StateDeleted,
    StateNotUnderstood,
    TokensExhausted,
)
from models.torch_device import describe, find_device
from models.training.environment import reset_threads
from models.training.trainer import Trainer
from worker.handlers.checkpointing import CheckpointPublisher, record_of
from worker.handlers.dataset import SendShard, make_dataset
from worker.jobs.consumer import Claim, JobConsumer, LeaseLost
from worker.jobs.listing import accepted_after, not_ended
from worker.jobs.model import Job, JobStatus, kind_of, taken_by
from worker.lifecycle import shutdown
from worker.lifecycle.checkpoint_verification import find_damage
from worker.lifecycle.lease import Cancelled, Lease
from worker.lifecycle.retry import retry_until_stored
from worker.lifecycle.storage_retry import StorageRetrier
from worker.observability import metrics
from worker.settings import WorkerSettings

logger = logging.getLogger(__name__)

NEW_STORE_HINT = "To begin a new store there, delete the field of its address from the hash acgan:stores in Redis"

FAILURES = (  # their messages suffice, without a traceback
    CheckpointDamaged,
    CheckpointNotFound,
    DatasetUnavailable,
    DeviceOutOfMemory,
    DeviceUnavailable,
    TrainingFailed,
    InvalidWeights,
    JobConflict,
    OSError,
    StateDeleted,
    StateNotUnderstood,
    TokensExhausted,
)


def run_next_job(settings: WorkerSettings, send_shard: SendShard = lambda _: None) -> Job | None:
    """Claim the next job, run it and record how it ended. Returns the job if it was handed back to the queue.

    `send_shard` asks another worker to draw a part of a data set.
    Raises DeviceUnavailable, and claims no job, if this worker's device is unavailable.
    """
    device = find_device(settings.device)
    takes = taken_by(kind_of(str(device)))
    consumer, store = JobConsumer.connect(settings.redis_url), settings.open_store()
    claim: Claim | None = None
    try:
        lowest = lowest_fence(store)
        consumer.tell_waiting(takes, "")
        if (claim := consumer.claim(settings.lease_seconds, lowest, takes)) is None:
            logger.info("notified, but no job is waiting")
            return None
        metrics.tell(metrics.JOBS_TAKEN)
        with job_log_context(claim), Lease(consumer, claim, settings.lease_seconds) as lease:
            keep_within_budget(consumer, store, settings.store_limit)
            status, error = execute(consumer, lease, store, settings, send_shard)
            trouble = trouble_of(consumer, lease, store, status)
            retry_until_stored(lambda: consumer.finish(claim, status, error, trouble), lease.check_held)
        metrics.tell(metrics.JOBS_ENDED, 1, status.value)
        if status == JobStatus.SUCCEEDED:
            drop_state(store, claim)  # not earlier: if `finish` fails, the next worker resumes from it
        keep_within_budget(consumer, store, settings.store_limit)  # after the record shows that the job has ended
        return claim.job if status == JobStatus.QUEUED else None
    except Unreachable as away:
        logger.error("no job is taken: %s", away)
        with suppress(redis.RedisError):
            consumer.tell_waiting(takes, str(away))
        return None
    except (LeaseLost, FenceRejected) as lost:
        metrics.tell(metrics.LEASES_LOST)
        logger.warning("job %s now belongs to another worker; leaving it", lost)
        if claim is not None:
            clear_leftovers(store, claim.job.id)
        return None
    finally:
        metrics.tell(metrics.IMAGES_PER_SECOND, 0)
        consumer.close()
        torch_device.release(device)  # frees memory for the next job and for other workers on this device


def lowest_fence(store: CheckpointStore) -> int:
    """Return the store's highest fence token; 0 if it cannot be read.

    In that case the job is claimed nevertheless, and its `trouble` gives the reason why it waits. Raises Unreachable.
    """
    try:
        return store.highest_fence()
    except Unreadable as error:
        logger.error("the fence token of the store cannot be read: %s", error)
        return 0


def job_log_context(claim: Claim) -> AbstractContextManager[None]:
    """Add the job, its epoch and its fence token to every line that is logged in the `with` block."""
    return bound_contextvars(job=claim.job.id, epoch=len(claim.job.epochs) + 1, fence=claim.fence)


def execute(
    consumer: JobConsumer,
    lease: Lease,
    store: CheckpointStore,
    settings: WorkerSettings,
    send_shard: SendShard,
) -> tuple[JobStatus, str]:
    """Run a claimed job. Returns its new status and the error message, if any. Raises LeaseLost, FenceRejected."""
    job_id = lease.claim.job.id
    logger.info("job %s starts, with token %d", job_id, lease.claim.fence)
    try:
        acquire_storage(consumer, lease, store, settings.store_address)
        with measured_memory(lease.claim.job, settings):
            if lease.claim.job.order:
                make_dataset(consumer, lease, store, settings, send_shard)
            else:
                train(consumer, lease, store, settings)
    except shutdown.Interrupted:
        logger.info("job %s goes back to the queue: this worker is shutting down", job_id)
        return JobStatus.QUEUED, ""
    except Cancelled:
        logger.info("job %s is cancelled", job_id)
        return JobStatus.CANCELLED, ""
    except FAILURES as error:
        logger.error("job %s failed: %s", job_id, str(error))  # not the exception: its frames hold the job's memory
        return JobStatus.FAILED, str(error)
    except (LeaseLost, FenceRejected):
        raise
    except Exception as error:
        logger.exception("job %s failed unexpectedly", job_id)
        return JobStatus.FAILED, f"{type(error).__name__}: {error}. The worker's log has the details."
    logger.info("job %s succeeded", job_id)
    return JobStatus.SUCCEEDED, ""


@contextmanager
def measured_memory(job: Job, settings: WorkerSettings) -> Iterator[None]:
    """Log a job's peak memory on a GPU, also if the job fails. Raises DeviceOutOfMemory, DeviceUnavailable."""
    device = find_device(settings.device)
    torch_device.reset_peak(device)
    try:
        with torch_device.explain_out_of_memory(device, None if job.order else job.config.batch_size):
            yield
    finally:
        if (peak := torch_device.describe_peak(device)) is not None:
            logger.info("job %s: peak memory: %s", job.id, peak)


def acquire_storage(consumer: JobConsumer, lease: Lease, store: CheckpointStore, address: str) -> None:
    """Claim the job in the store.

    Raises LeaseLost if a hanging process keeps the store locked: the lease then expires, and the job is retried.
    """
    claim = lease.claim
    later: list[str] = []
    known: list[str | None] = [None]

    def ask() -> None:
        later[:] = accepted_after(consumer.redis, claim.job.id)
        known[:] = [consumer.store_identity(address)]

    def take() -> None:
        try:
            computes = fingerprint(claim.job.config, claim.job.order)
            store.take(claim.job.id, claim.fence, computes, claim.has_results, later, known[0])
        except StoreReplaced as error:
            raise StoreReplaced(f"{error}. {NEW_STORE_HINT}" if known[0] else str(error)) from error
        except Unreachable:
            raise
        except TimeoutError as error:
            logger.error("job %s: %s", claim.job.id, error)
            raise LeaseLost(claim.job.id) from error

    retry_until_stored(ask, lease.check_held)
    StorageRetrier(consumer, lease)("the job cannot start", take)
    if (identity := store.identity) not in (None, known[0]):
        retry_until_stored(partial(consumer.note_store, address, str(identity)), lease.check_held)
    if trouble := store_trouble(store):
        logger.error("job %s: %s", claim.job.id, trouble)


def store_trouble(store: CheckpointStore) -> str:
    """Return faults of the store's identity file and pointer with which jobs can still run, or an empty string."""
    try:
        latest = store.find_latest()
        found = [store.check_identity(), latest.trouble if latest.foreign else None]
    except OSError as error:
        return f"the store could not be verified: {error}"
    return "; ".join(filter(None, found))


def train(consumer: JobConsumer, lease: Lease, store: CheckpointStore, settings: WorkerSettings) -> None:
    """Train all epochs. After each, a writer thread publishes a checkpoint and then records the epoch, while the next
    epoch trains. When this function returns or raises, no write is in progress."""

    stubborn = StorageRetrier(consumer, lease)
    check = stubborn.check
    check()
    claim = lease.claim
    device = find_device(settings.device)
    reset_threads()
    dataset = load_dataset(claim.job.config, settings.data_dir, settings.cache_dir, settings.mirrors)
    check()
    trainer = Trainer(claim.job.config, dataset, device)
    retry_until_stored(lambda: consumer.record_runtime(claim, trainer.config, describe(device)), check)
    assessor = None
    if settings.judge:
        digits = sample_count(trainer.batches)
        assessor = find_quality_gate(dataset, trainer.config.latent_size, device, settings.judges_dir, digits)
    check()
    publisher = CheckpointPublisher(consumer, lease, trainer, store, settings.save_seconds, assessor)
    for lost in stubborn("the run cannot continue", publisher.restore):
        retry_until_stored(partial(consumer.add_epoch, claim, lost), check)
    for warning in trainer.warnings:
        retry_until_stored(partial(consumer.add_warning, claim, warning), check)
    retry_until_stored(
        lambda: consumer.record_runtime(claim, trainer.config, describe(device)), check
    )  # restoring may change the threads
    meter = metrics.Meter((trainer.epoch - 1) * trainer.batches + trainer.iteration)

    def report(progress: Progress) -> None:
        meter.progressed(progress)
        bind_contextvars(epoch=progress.epoch)
        publisher.save_now_and_then()
        try:
            consumer.report(claim, progress)
        except redis.RedisError as error:  # not a reason to fail the run
            logger.warning("job %s: its progress could not be recorded: %s", claim.job.id, error)

    def check_both() -> None:
        check()
        publisher.writer.check()

    publish = partial(publish_and_record, consumer, publisher, stubborn, meter, settings.store_limit)
    with publisher, publisher.writer:
        try:
            for result in trainer.run(report, check_both):
                publisher.start_to_publish(result, publish)
        except (shutdown.Interrupted, Cancelled):
            publisher.save()
            raise


def publish_and_record(
    consumer: JobConsumer,
    publisher: CheckpointPublisher,
    stubborn: StorageRetrier,
    meter: metrics.Meter,
    limit: int,
    snapshot: EpochSnapshot,
) -> None:
    """Publish an epoch's checkpoint, then add the epoch to the record. Runs on the writer thread.

    Raises LeaseLost, FenceRejected, Cancelled, Interrupted, OSError; the epoch is then not recorded.
    """
    claim, result = stubborn.lease.claim, snapshot.result
    published = stubborn(f"epoch {result.epoch} cannot be published", partial(publisher.publish, snapshot))
    record = record_of(published)
    retry_until_stored(partial(consumer.add_epoch, claim, record), stubborn.lease.check_held)
    meter.epoch_ended(record)
    if record.refused:
        logger.warning("job %s: epoch %d is not served: %s", claim.job.id, result.epoch, record.refused)
    logger.info("job %s: epoch %d\n%s", claim.job.id, result.epoch, result.losses.table())
    keep_within_budget(consumer, publisher.store, limit)


def drop_state(store: CheckpointStore, claim: Claim) -> None:
    """Delete the saved state of the run, and late writes of workers that lost it."""
    try:
        store.drop_state(claim.job.id)
        store.shelf.sweep(claim.job.id)
    except OSError as error:  # leftover files do not affect the run, which has succeeded
        logger.warning("job %s: its saved state could not be deleted: %s", claim.job.id, error)


def clear_leftovers(store: CheckpointStore, job: str) -> None:
    """Delete files that this worker wrote for a job after the job was deleted."""
    try:
        store.clear_unknown(job)
    except OSError as error:
        logger.warning("files written for job %s after its deletion could not be deleted: %s", job, error)


def trouble_of(consumer: JobConsumer, lease: Lease, store: CheckpointStore, status: JobStatus) -> str:
    """Verify the checkpoints in the record of an ended job. Returns a description of the faults. Raises LeaseLost."""
    if status == JobStatus.QUEUED:
        return ""
    claim, thinned = lease.claim, set[int]()
    retry_until_stored(lambda: thinned.update(consumer.thinned(claim.job.id)), lease.check_held)
    damage = find_damage(store, claim.job.id, claim.told.keys() - thinned, lease.check_held)
    return "; ".join(filter(None, (damage, store_trouble(store))))


def checkpoints_among(deleted: list[str]) -> list[CheckpointId]:
    """Return the texts that are checkpoint ids. The others describe resume states."""
    found = []
    for text in deleted:
        with suppress(CheckpointNotFound):
            found.append(CheckpointId.parse(text))
    return found


def keep_within_budget(consumer: JobConsumer, store: CheckpointStore, limit: int) -> None:
    try:
        deleted = apply_retention(store, limit, not_ended(consumer.redis))
        for name in deleted:
            logger.info("deleted %s to stay within ACGAN_STORE_LIMIT", name)
        consumer.note_thinned(checkpoints_among(deleted))
    except (OSError, redis.RedisError) as error:  # not a reason to fail the run
        logger.warning("checkpoints beyond ACGAN_STORE_LIMIT could not be deleted: %s", error)
