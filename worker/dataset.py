"""A data set's way from claimed to made: as a run's, but what it leaves are files of digits."""

import logging
import time
from collections.abc import Callable

import redis
import torch

from models import bundled
from models.acceleration import describe, find_device
from models.checkpoints import CheckpointId, CheckpointStore, Manifest
from models.datasets import DatasetOrder, Origin, make
from models.drawing import prepare
from models.history import Hopeless, Progress
from models.redrawing import DatasetDrawer, drawing_threads
from models.verification import Verifier, find_verifier
from models.version import code_version
from models.weights import generator_from_bytes
from worker.bench import Claim, JobBench
from worker.lease import Lease
from worker.patience import persist
from worker.settings import WorkerSettings
from worker.storing import Stubborn

logger = logging.getLogger(__name__)


def make_dataset(bench: JobBench, lease: Lease, store: CheckpointStore, settings: WorkerSettings) -> None:
    """Draw what is ordered and not drawn yet, a part at a time.

    Raises JobLost, Cancelled and Interrupted between two parts, whose digits stay; CheckpointNotFound,
    CheckpointDamaged, InvalidWeights, Hopeless, and OSError where the disk is full.
    """

    stubborn = Stubborn(bench, lease)
    check = stubborn.check
    check()
    claim, order = lease.claim, lease.claim.job.order
    assert order is not None
    if stubborn("the data set cannot be begun", lambda: store.has_dataset(claim.job.id)):
        return
    device = find_device(settings.device)
    checkpoint = CheckpointId.parse(order.checkpoint)
    shelf = bundled.STORE if checkpoint.job == bundled.JOB else store
    manifest = stubborn("the data set cannot be begun", lambda: shelf.manifest(checkpoint))
    drawing = stubborn("the data set cannot be begun", lambda: shelf.read(manifest, manifest.draws))
    generator = prepare(generator_from_bytes(drawing), device)
    verifier = verifier_for(manifest, order, device)
    persist(lambda: bench.settle(claim, claim.job.config, describe(device)), check)
    sha256 = manifest.files[manifest.draws].sha256
    origin = Origin(generator_sha256=sha256, device=describe(device), code_version=code_version())
    report = reporter(bench, claim, order)
    with drawing_threads(device) as pool:
        drawer = DatasetDrawer(generator, order, verifier, pool)
        for done in make(store.dataset_workshop(claim.job.id), order, origin, drawer):
            report(done)
            check()
    stubborn("the data set cannot be published", lambda: store.publish_dataset(claim.job.id, claim.fence))


def verifier_for(manifest: Manifest, order: DatasetOrder, device: torch.device) -> Verifier | None:
    """Raises Hopeless where there is no judge."""
    if order.verify is None:
        return None
    verifier = find_verifier(manifest.config.dataset, device)
    if verifier is None:
        raise Hopeless(f"no judge of {manifest.config.dataset} digits comes with this package: order without verify")
    return verifier


def reporter(bench: JobBench, claim: Claim, order: DatasetOrder) -> Callable[[int], None]:
    """Tell the record of each part: a data set is one epoch, whose iterations are digits."""
    began, first = time.monotonic(), 0

    def report(done: int) -> None:
        nonlocal first
        first = first or done  # what lay there, and the first part, for whose time we do not know
        rate = (done - first) / max(1e-3, time.monotonic() - began)
        left = (order.digits - done) / rate if rate else 0.0
        progress = Progress(
            epoch=1, epochs=1, batch=done, batches=order.digits, images_per_second=round(rate, 1), eta_seconds=left
        )
        try:
            bench.saved(claim, 1, done)
            bench.report(claim, progress)
        except redis.RedisError as error:  # progress is not worth a data set
            logger.warning("job %s: progress not told: %s", claim.job.id, error)

    return report
