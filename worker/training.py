"""A job's way from claimed to ended: binds the trainer, which knows no jobs, to the record and the checkpoints."""

import logging
import time
from collections.abc import Callable
from functools import partial

import redis

from models.acceleration import DeviceUnavailable, describe, find_device
from models.checkpoints import CheckpointStore
from models.data import DatasetUnavailable, load_dataset
from models.history import Diverged, Progress
from models.retention import thin_out
from models.trainer import Trainer
from worker import interruption
from worker.jobs import EpochRecord, JobStatus
from worker.keeper import Keeper
from worker.settings import WorkerSettings
from worker.store import Claim, JobBench, JobLost

logger = logging.getLogger(__name__)

PATIENCE_SECONDS = 600.0


def run_next_job(settings: WorkerSettings) -> bool:
    """Claim the job that has waited longest, run it, and write how it ended. Says whether it was handed back."""
    bench = JobBench.connect(settings.redis_url)
    try:
        claim = bench.claim()
        if claim is None:
            logger.info("knocked, but no job waits")
            return False
        status, error = carry_out(bench, claim, settings)
        persist(lambda: bench.finish(claim, status, error))
        return status == JobStatus.QUEUED
    except JobLost as lost:
        logger.warning("job %s belongs to somebody else now; leaving it", lost)
        return False
    finally:
        bench.close()


def carry_out(bench: JobBench, claim: Claim, settings: WorkerSettings) -> tuple[JobStatus, str]:
    """Run a claimed job to its end, whichever that is, and say which and why. Raises JobLost."""
    logger.info("job %s starts", claim.job.id)
    try:
        train(bench, claim, settings)
    except interruption.Interrupted:
        logger.info("job %s goes back to the queue: this worker stops", claim.job.id)
        return JobStatus.QUEUED, ""
    except (DatasetUnavailable, DeviceUnavailable, Diverged, OSError) as error:
        logger.error("job %s failed: %s", claim.job.id, error)
        return JobStatus.FAILED, str(error)
    except JobLost:
        raise
    except Exception as error:
        logger.exception("job %s failed unexpectedly", claim.job.id)
        return JobStatus.FAILED, f"{type(error).__name__}: {error}. The worker's log has the details."
    logger.info("job %s succeeded", claim.job.id)
    return JobStatus.SUCCEEDED, ""


def train(bench: JobBench, claim: Claim, settings: WorkerSettings) -> None:
    """Train all epochs, publishing a checkpoint after each before the record tells of it."""
    interruption.check()
    device = find_device(settings.device)
    dataset = load_dataset(claim.job.config, settings.data_dir, settings.cache_dir, settings.mirrors)
    interruption.check()
    trainer = Trainer(claim.job.config, dataset, device)
    persist(lambda: bench.settle(claim, trainer.config, describe(device)), interruption.check)
    keeper = Keeper(claim, trainer, CheckpointStore(settings.store_dir))
    keeper.restore()

    def report(progress: Progress) -> None:
        keeper.save_now_and_then()
        try:
            bench.report(claim, progress)
        except redis.RedisError as error:  # progress is not worth a run
            logger.warning("job %s: progress not told: %s", claim.job.id, error)

    try:
        for result in trainer.run(report, interruption.check):
            record = EpochRecord(**dict(result), checkpoint=keeper.publish(result))
            persist(partial(bench.add_epoch, claim, record))  # uninterrupted: the state is past this epoch already
            logger.info("job %s: epoch %d\n%s", claim.job.id, result.epoch, result.losses.table())
            keep_within_budget(keeper.store, settings.store_limit)
    except interruption.Interrupted:
        keeper.save()
        raise
    keeper.store.drop_state(claim.job.id)


def persist(write: Callable[[], None], check: Callable[[], None] = lambda: None) -> None:
    """Write what must not be lost, waiting ten minutes for a Redis that does not answer."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        try:
            return write()
        except redis.RedisError as error:
            if time.monotonic() > deadline:
                raise
            logger.warning("Redis does not take what must be told, trying again: %s", error)
        check()
        time.sleep(1.0)


def keep_within_budget(store: CheckpointStore, limit: int) -> None:
    try:
        for checkpoint in thin_out(store, limit):
            logger.info("deleted %s: beyond ACGAN_STORE_LIMIT", checkpoint)
    except OSError as error:  # housekeeping is not worth a run
        logger.warning("checkpoints beyond ACGAN_STORE_LIMIT stay: %s", error)
