"""Makes a generated data set: the job's result is files of digits."""

import logging
import time
from collections.abc import Callable
from functools import partial

import redis

from models.records import Progress
from models.registry.store import CheckpointStore
from models.synthesis.builder import make
from models.synthesis.dataset_integrity import damage_in_store, discard_damaged
from models.synthesis.order import DatasetOrder, Provenance
from models.synthesis.shards import Contributions
from models.torch_device import describe, find_device
from models.version import code_version
from worker.handlers.dataset_drawing import drawing, read_generator
from worker.handlers.hosting import Host
from worker.handlers.sharing import Shared, Sharing
from worker.jobs.consumer import Claim, JobConsumer
from worker.jobs.model import RunsOn
from worker.lifecycle.lease import Lease
from worker.lifecycle.retry import retry_until_stored
from worker.lifecycle.storage_retry import StorageRetrier
from worker.settings import WorkerSettings

logger = logging.getLogger(__name__)


def make_dataset(
    consumer: JobConsumer,
    lease: Lease,
    store: CheckpointStore,
    settings: WorkerSettings,
    notify_workers: Callable[[RunsOn], None] = lambda _: None,
) -> None:
    """Draw the parts of the data set that are missing, one at a time, with the help of idle workers.

    `notify_workers` notifies an idle worker. Raises LeaseLost, Cancelled and Interrupted between two parts, and keeps
    those that are drawn; CheckpointNotFound, CheckpointDamaged, InvalidWeights, TrainingFailed, and OSError.
    """

    stubborn = StorageRetrier(consumer, lease)
    check = stubborn.check
    check()
    claim, order = lease.claim, lease.claim.job.order
    assert order is not None
    job, contributions = claim.job.id, Contributions(store, claim.job.id)
    if not stubborn("the data set cannot be started", lambda: is_made(store, claim)):
        device = find_device(settings.device)
        manifest, weights = stubborn("the data set cannot be started", lambda: read_generator(store, order))
        sha256, version = manifest.files[manifest.draws].sha256, code_version()
        origin = Provenance(generator_sha256=sha256, device=describe(device), code_version=version)
        report, workshop = reporter(consumer, claim, order), store.dataset_workshop(job)
        discard_damaged(workshop)
        with (
            drawing(order, manifest, weights, device) as draw,
            Host(
                consumer=consumer,
                sharing=Sharing(consumer.redis),
                shared=Shared.of(claim, version),
                contributions=contributions,
                workshop=workshop,
                origin=origin,
                seconds=settings.lease_seconds,
                check=check,
                notify_workers=notify_workers,
            ) as host,
        ):
            retry_until_stored(lambda: consumer.record_runtime(claim, claim.job.config, origin.device), check)

            def place(write: Callable[[], None]) -> None:
                held = partial(store.write_held, job, claim.fence, write)
                stubborn("the data set cannot be published", held)

            for done in make(workshop, order, origin, draw, share=host, place=place):
                report(done)
                check()
        stubborn("the data set cannot be published", lambda: store.publish_dataset(job, claim.fence))
    try:
        contributions.clear()
    except OSError as error:  # leftover files do not affect the data set
        logger.warning("job %s: leftover parts of helpers could not be deleted: %s", job, error)


def is_made(store: CheckpointStore, claim: Claim) -> bool:
    """Whether the data set is in the store and intact. A damaged one is deleted, so that it is made again.

    Raises FileNotUnderstood if another version wrote its manifest, FenceRejected, and other OSErrors.
    """
    job = claim.job.id
    if not store.has_dataset(job):
        return False
    damage = damage_in_store(store, job)
    if damage is None:
        return True
    logger.warning("job %s: the data set is made again: %s", job, damage)
    store.write_held(job, claim.fence, lambda: store.delete_dataset(job))
    return False


def reporter(consumer: JobConsumer, claim: Claim, order: DatasetOrder) -> Callable[[int], None]:
    """Return a function that records progress after each part: as one epoch whose iterations are digits."""
    began, first = time.monotonic(), 0

    def report(done: int) -> None:
        nonlocal first
        first = first or done  # excludes earlier parts and the first, whose drawing time is not known
        rate = (done - first) / max(1e-3, time.monotonic() - began)
        left = (order.digits - done) / rate if rate else 0.0
        progress = Progress(
            epoch=1, epochs=1, batch=done, batches=order.digits, images_per_second=round(rate, 1), eta_seconds=left
        )
        try:
            consumer.saved(claim, 1, done)
            consumer.report(claim, progress)
        except redis.RedisError as error:  # not a reason to fail the job
            logger.warning("job %s: its progress could not be recorded: %s", claim.job.id, error)

    return report
