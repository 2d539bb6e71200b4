"""Stores a file that is to become training data, and accepts the job that reads it. The API never unpacks the file."""

import logging

import anyio.to_thread

from app.api.dependencies import Services
from app.api.uploads.receiving import ReceivedFile, space_needed
from app.schemas.training_data_upload import UploadQuery
from models.config import TrainingConfig
from models.data.building.order import TrainingDataOrder
from models.registry.storage.uploads import checksum_of, forget_upload, store_upload
from worker.jobs.client import Order
from worker.jobs.errors import StoreUnavailable
from worker.jobs.model import Job
from worker.observability import tracing

logger = logging.getLogger(__name__)


async def accept_upload(
    services: Services, received: ReceivedFile, name: str, query: UploadQuery, caller: str | None, key: str | None
) -> Job:
    """Copy a received file into the store, and accept a job for it; for a known idempotency key return the known job.

    Raises DiskFull, QueueFull, IdempotencyConflict, OSError: then no file is left. After StoreUnavailable the job may
    have been accepted, so its file stays: a worker deletes it after an hour if there is no such job.
    """
    new = await services.jobs.new_id()
    made = await anyio.to_thread.run_sync(store, services, new[0], received, name, query)
    order = Order(
        TrainingConfig(epochs=1), caller=caller, dataset=made, idempotency_key=key, traceparent=tracing.traceparent()
    )
    is_accepted = True
    try:
        job = await services.jobs.create(order, new)
        is_accepted = job.id == new[0]
    except StoreUnavailable:
        raise
    except Exception:
        is_accepted = False
        raise
    finally:
        if not is_accepted:
            await anyio.to_thread.run_sync(forget, services, new[0])
    return job


def store(services: Services, job: str, received: ReceivedFile, name: str, query: UploadQuery) -> TrainingDataOrder:
    """Raises DiskFull, OSError."""
    order = query.order(name, *checksum_of(received.path))
    with space_needed():
        store_upload(services.store.storage, job, order, received.path)
    return order


def forget(services: Services, job: str) -> None:
    """Delete the file of a job that was not accepted."""
    try:
        forget_upload(services.store.storage, job)
    except OSError as error:
        logger.warning("the file sent for %s, which was not accepted, could not be deleted: %s", job, error)
