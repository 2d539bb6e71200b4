"""Runs the next job: claims it, calls the handler of its kind, and records how it ended."""

import logging
import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from functools import partial

from structlog.contextvars import bound_contextvars

from models import torch_device
from models.errors import AcganError
from models.registry.job_entry import fingerprint
from models.registry.storage.base import StoreReplaced, Unreachable
from models.registry.storage.reading import Unreadable
from models.registry.store import CheckpointStore, FenceRejected
from models.torch_device import find_device
from worker.celery_app import SendShard
from worker.handlers.dataset import drop_shards, make_dataset
from worker.handlers.evaluation import drop_steps, evaluate_checkpoint
from worker.handlers.training import train
from worker.handlers.training_data import drop_upload, make_training_data
from worker.jobs.consumer import Claim, JobConsumer, LeaseLost
from worker.jobs.errors import StoreUnavailable
from worker.jobs.listing import accepted_after
from worker.jobs.model import Job, JobKind, JobStatus, kind_of, taken_by
from worker.lifecycle import shutdown
from worker.lifecycle.budget import keep_within_budget
from worker.lifecycle.checkpoint_verification import find_damage
from worker.lifecycle.context import JobContext
from worker.lifecycle.device_use import DeviceUse
from worker.lifecycle.job_trace import claim_span, note_end
from worker.lifecycle.lease import Cancelled, Lease
from worker.lifecycle.retry import retry_until_stored
from worker.observability import metrics, tracing
from worker.settings import WorkerSettings

logger = logging.getLogger(__name__)

NEW_STORE_HINT = "To begin a new store there, delete the field of its address from the hash acgan:stores in Redis"

Handler = Callable[[JobContext], None]
Cleanup = Callable[[JobContext, JobStatus], None]

HANDLERS: dict[JobKind, Handler] = {
    JobKind.TRAINING: train,
    JobKind.DATASET: make_dataset,
    JobKind.TRAINING_DATA: make_training_data,
    JobKind.EVALUATION: evaluate_checkpoint,
}
# Called when the record shows the end of a job, because others use the files until then.
CLEANUPS: dict[JobKind, Cleanup] = {
    JobKind.DATASET: drop_shards,
    JobKind.TRAINING_DATA: drop_upload,
    JobKind.EVALUATION: drop_steps,
}


def run_next_job(
    settings: WorkerSettings,
    send_shard: SendShard = lambda _: None,
    end_process: Callable[[int], None] = os._exit,
) -> Job | None:
    """Claim the next job, run it and record how it ended. Returns the job if it was handed back to the queue.

    `send_shard` asks another worker to draw a part of a data set. `end_process` ends this process with an exit code;
    it is called after the job if this process can no longer use its device.
    Raises DeviceUnavailable, and claims no job, if this worker's device is unavailable.
    """
    device = find_device(settings.device)
    takes = taken_by(kind_of(str(device)))
    jobs, storage = JobConsumer.connect(settings.redis_url), settings.open_store()
    use = DeviceUse(end_process)
    try:
        lowest = lowest_fence(storage)
        jobs.tell_waiting(takes, "")
        if (claim := jobs.claim(settings.lease_seconds, lowest, takes)) is None:
            logger.info("notified, but no job is waiting")
            return None
        lease = Lease(jobs, claim, settings.lease_seconds)
        return run(JobContext(jobs, lease, storage, settings, send_shard, use.note))
    except Unreachable as away:
        logger.error("no job is taken: %s", away)
        with suppress(StoreUnavailable):
            jobs.tell_waiting(takes, str(away))
        return None
    finally:
        metrics.tell(metrics.IMAGES_PER_SECOND, 0)
        jobs.close()
        use.end(partial(torch_device.release, device))  # for the next job and for other workers on this device


def run(context: JobContext) -> Job | None:
    """Run a claimed job and record how it ended. Returns the job if it was handed back to the queue."""
    metrics.tell(metrics.JOBS_TAKEN)
    try:
        with job_log_context(context.claim), claim_span(context.claim), context.lease:
            keep_within_budget(context)
            status, error = execute(context)
            note_end(status)
            with tracing.span("end"):
                trouble = trouble_of(context, status)
                recorded = record_end(context, status, error, trouble)
            if recorded != status:
                logger.info("job %s was cancelled meanwhile: it ends as %s", context.job.id, recorded.value)
                note_end(recorded)
                status = recorded
    except (LeaseLost, FenceRejected) as lost:
        metrics.tell(metrics.LEASES_LOST)
        logger.warning("job %s now belongs to another worker; leaving it", lost)
        clear_leftovers(context)
        return None
    metrics.tell(metrics.JOBS_ENDED, 1, status.value)
    if status != JobStatus.QUEUED and (clean_up := CLEANUPS.get(context.job.kind)) is not None:
        clean_up(context, status)
    if status == JobStatus.SUCCEEDED:
        drop_state(context)  # not earlier: if `finish` fails, the next worker resumes from it
    keep_within_budget(context)  # after the record shows that the job has ended
    return context.job if status == JobStatus.QUEUED else None


def record_end(context: JobContext, status: JobStatus, error: str, trouble: str) -> JobStatus:
    """End the job in its record, or hand it back. Returns its new status. Raises LeaseLost.

    If the response of Redis is lost, the job has ended and the lease with it: one more call finds out which.
    """
    end = partial(context.jobs.finish, context.claim, status, error, trouble)
    context.lease.begin_end()
    try:
        return retry_until_stored(end, context.lease.check_held)
    except LeaseLost as lost:
        try:
            return end()
        except StoreUnavailable:
            raise lost from None


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
    epoch = claim.job.epochs[-1].epoch + 1 if claim.job.epochs else 1
    return bound_contextvars(job=claim.job.id, epoch=epoch, fence=claim.fence)


def execute(context: JobContext) -> tuple[JobStatus, str]:
    """Call the handler of a job. Returns its new status and the error message, if any.

    Raises LeaseLost, FenceRejected.
    """
    job_id = context.job.id
    logger.info("job %s starts, with token %d", job_id, context.claim.fence)
    try:
        with tracing.span("claim storage"):
            acquire_storage(context)
        with measured_memory(context):
            HANDLERS[context.job.kind](context)
    except shutdown.Interrupted:
        logger.info("job %s goes back to the queue: this worker is shutting down", job_id)
        return JobStatus.QUEUED, ""
    except Cancelled:
        logger.info("job %s is cancelled", job_id)
        return JobStatus.CANCELLED, ""
    except StoreUnavailable as error:
        logger.exception("job %s failed: Redis did not accept its record", job_id)
        reason = "is full" if error.is_memory_full else "refused it" if error.refuses else "did not respond"
        return JobStatus.FAILED, f"the record of the job could not be written for ten minutes, because Redis {reason}"
    except (AcganError, OSError) as error:  # the message suffices, without a traceback
        context.note_error(error)
        logger.error("job %s failed: %s", job_id, str(error))  # not the exception: its frames hold the job's memory
        return JobStatus.FAILED, reason_of_failure(error)
    except (LeaseLost, FenceRejected):
        raise
    except Exception as error:
        context.note_error(error)
        logger.exception("job %s failed unexpectedly", job_id)
        return JobStatus.FAILED, f"{type(error).__name__}: {error}. The worker's log has the details."
    logger.info("job %s succeeded", job_id)
    return JobStatus.SUCCEEDED, ""


def reason_of_failure(error: AcganError | OSError) -> str:
    """Return the sentence of an error, without the number and the path of the worker that the system's errors have."""
    if not (isinstance(error, OSError) and error.strerror):
        return str(error)
    return f"the worker cannot use a file or a connection: {error.strerror}. The worker's log has the details."


@contextmanager
def measured_memory(context: JobContext) -> Iterator[None]:
    """Log a job's peak memory on a GPU, also if the job fails. Raises DeviceOutOfMemory, DeviceUnavailable."""
    device, job = find_device(context.settings.device), context.job
    torch_device.reset_peak(device)
    batch = job.config.batch_size if job.kind == JobKind.TRAINING else None
    try:
        with torch_device.explain_out_of_memory(device, batch):
            yield
    finally:
        if (peak := torch_device.describe_peak(device)) is not None:
            logger.info("job %s: peak memory: %s", job.id, peak)


def acquire_storage(context: JobContext) -> None:
    """Claim the job in the store.

    Raises LeaseLost if a hanging process keeps the store locked: the lease then expires, and the job is retried.
    """
    claim, jobs, storage, address = context.claim, context.jobs, context.storage, context.settings.store_address
    later: list[str] = []
    known: list[str | None] = [None]

    def ask() -> None:
        later[:] = accepted_after(jobs.redis, claim.job.id)
        known[:] = [jobs.store_identity(address)]

    def take() -> None:
        try:
            computes = fingerprint(claim.job.config, claim.job.ordered)
            storage.take(claim.job.id, claim.fence, computes, claim.has_results, later, known[0])
        except StoreReplaced as error:
            raise StoreReplaced(f"{error}. {NEW_STORE_HINT}" if known[0] else str(error)) from error
        except Unreachable:
            raise
        except TimeoutError as error:
            logger.error("job %s: %s", claim.job.id, error)
            raise LeaseLost(claim.job.id) from error

    retry_until_stored(ask, context.lease.check_held)
    context.retry_storage("the job cannot start", take)
    if (identity := storage.identity) not in (None, known[0]):
        retry_until_stored(partial(jobs.note_store, address, str(identity)), context.lease.check_held)
    if trouble := store_trouble(storage):
        logger.error("job %s: %s", claim.job.id, trouble)


def store_trouble(store: CheckpointStore) -> str:
    """Return faults of the store's identity file and pointer with which jobs can still run, or an empty string."""
    try:
        latest = store.find_latest()
        found = [store.check_identity(), latest.trouble if latest.foreign else None]
    except OSError as error:
        return f"the store could not be verified: {error}"
    return "; ".join(filter(None, found))


def drop_state(context: JobContext) -> None:
    """Delete the saved state of the run, and late writes of workers that lost it."""
    try:
        context.storage.drop_state(context.job.id)
        context.storage.storage.sweep(context.job.id)
    except OSError as error:  # leftover files do not affect the run, which has succeeded
        logger.warning("job %s: its saved state could not be deleted: %s", context.job.id, error)


def clear_leftovers(context: JobContext) -> None:
    """Delete files that this worker wrote for a job after the job was deleted."""
    try:
        context.storage.clear_unknown(context.job.id)
    except OSError as error:
        logger.warning("files written for job %s after its deletion could not be deleted: %s", context.job.id, error)


def trouble_of(context: JobContext, status: JobStatus) -> str:
    """Verify the checkpoints in the record of an ended job. Returns a description of the faults. Raises LeaseLost."""
    if status == JobStatus.QUEUED:
        return ""
    job_id, thinned, check = context.job.id, set[int](), context.lease.check_held
    retry_until_stored(lambda: thinned.update(context.jobs.thinned(job_id)), check)
    epochs = context.claim.reported.keys() - thinned
    damage = find_damage(context.storage, job_id, epochs, check, is_urgent=shutdown.is_requested)
    return "; ".join(filter(None, (damage, store_trouble(context.storage))))
