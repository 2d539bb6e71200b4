"""Routes to start, cancel, resume, retry, reorder, label and delete jobs."""

import hashlib
import logging
from contextlib import suppress
from typing import Annotated

import anyio.to_thread
from fastapi import APIRouter, Body, Header, Response
from fastapi.exceptions import RequestValidationError
from kombu.exceptions import OperationalError
from pydantic import BaseModel
from structlog.contextvars import bind_contextvars

from app.api import deletion
from app.api.dependencies import (
    Caller,
    JobId,
    MayStart,
    NoNull,
    OwnsJob,
    Services,
    ServicesDep,
    WithinWorkRate,
    check_budget,
)
from app.api.guarded_route import GuardedRoute
from app.api.openapi.headers import NEW_JOB
from app.schemas.jobs import AnyJobView, JobLabels, JobView, TrainingOrder, view_of
from app.security.webhook_hosts import check_webhook
from models.config import TrainingConfig
from models.records import TooFewImages
from models.registry.storage.uploads import has_upload
from models.registry.store import CheckpointDamaged, CheckpointId, CheckpointNotFound, CheckpointStore
from models.registry.training_data import TrainingDataNotFound
from worker.celery_app import notify_workers
from worker.jobs.client import InvalidTransition, Order
from worker.jobs.errors import StoreUnavailable
from worker.jobs.model import Job, JobKind
from worker.observability import tracing

router = APIRouter(tags=["training"], route_class=GuardedRoute)
logger = logging.getLogger(__name__)

SEEDS_RECIPE = TrainingOrder()
EXAMPLES = {
    "the original recipe": {"value": {}},
    "good digits soonest": {"value": {"recipe": "sharp", "epochs": 5}},
    "digits that vary like real ones": {"value": {"recipe": "sharp", "epochs": 15}},
    "the best digits": {"value": {"recipe": "thorough", "epochs": 30}},
    "a quick test": {"value": {"epochs": 2, "train_examples": 6000, "test_examples": 1000, "name": "first try"}},
    "without downloading MNIST": {"value": {"epochs": 2, "dataset": "printed", "train_examples": 6000}},
}

LABELS = {
    "name and tags": {"value": {"name": "wide batch", "tags": ["keep"]}},
    "archive": {"value": {"archived": True}},
}

VISIBLE_ASCII = r"^[\x21-\x7e]+$"
IdempotencyKey = Annotated[
    str | None,
    Header(
        min_length=1,
        max_length=200,
        pattern=VISIBLE_ASCII,
        description="A repeated request with the same key and body within a day returns the same job.",
    ),
]


def checksum_of(wanted: BaseModel) -> str:
    """Return the checksum of a request as it was sent: `latest` is not resolved, and defaults do not count."""
    text = f"{type(wanted).__name__} {wanted.model_dump_json(exclude_defaults=True)}"
    return hashlib.sha256(text.encode()).hexdigest()


@router.post("/train", status_code=202, responses=NEW_JOB, dependencies=[MayStart, WithinWorkRate, NoNull])
async def start_run(
    services: ServicesDep,
    response: Response,
    caller: Caller,
    wanted: Annotated[TrainingOrder, Body(openapi_examples=EXAMPLES)] = SEEDS_RECIPE,
    idempotency_key: IdempotencyKey = None,
) -> JobView:
    """Start a run. An empty body starts the original recipe: 100 epochs on MNIST."""
    request = checksum_of(wanted)
    if known := await services.jobs.known(caller, idempotency_key, request):
        return await accepted(known, services, response)
    await check_budget(services)
    check_webhook(wanted.webhook, services.webhook_hosts)
    await services.jobs.check_memory()  # if Redis may lose jobs, no worker would run it
    order = Order(
        await anyio.to_thread.run_sync(settle, services.store, wanted.config),
        wanted.priority,
        wanted.runs_on,
        caller,
        idempotency_key=idempotency_key,
        webhook=wanted.webhook,
        traceparent=tracing.traceparent(),
        asked=wanted.config,
        request=request,
    )
    return await accepted(await services.jobs.create(order), services, response)


def settle(store: CheckpointStore, config: TrainingConfig) -> TrainingConfig:
    """Return the config of a run with the version of its training data. Raises RequestValidationError too if these do
    not fill a batch.
    """
    try:
        return store.training_data.settled_for_run(config)
    except TooFewImages as error:
        message = f"should be at most {error.data['images']}: {error.data['dataset']} has no more training images"
        mistake = {"type": "value_error", "loc": ("body", "batch_size"), "msg": message}
        raise RequestValidationError([mistake]) from None


@router.post("/jobs/{job_id}/cancel", status_code=202, dependencies=[OwnsJob])
async def cancel_job(services: ServicesDep, job_id: JobId) -> AnyJobView:
    """Stop a run. This takes a second, or one iteration if that takes longer. The checkpoints of the run stay, and
    `resume` continues the run from that point.
    """
    return view_of(await services.jobs.cancel(job_id))


@router.post("/jobs/{job_id}/resume", status_code=202, responses=NEW_JOB, dependencies=[OwnsJob, WithinWorkRate])
async def resume_job(services: ServicesDep, response: Response, job_id: JobId) -> JobView:
    """Resume a run that failed or was cancelled. It continues as if it had not been interrupted."""
    await services.jobs.check_memory()
    await anyio.to_thread.run_sync(check_state, services.store, job_id)
    job = await services.jobs.get(job_id)
    await check_budget(services, resumed=job)
    await check_drawing(services, job)
    await check_training_data(services, job)
    await check_uploaded(services, job)
    tracing.link(job.traceparent)
    return await accepted(await services.jobs.resume(job_id, tracing.traceparent()), services, response)


def check_state(store: CheckpointStore, job_id: str) -> None:
    """Raises StateDeleted and StateNotUnderstood. The worker reports an unreadable state."""
    with suppress(OSError, CheckpointDamaged):
        store.check_state(job_id)


async def check_drawing(services: Services, job: Job) -> None:
    """Raises InvalidTransition if the checkpoint that a job needs was deleted. The worker reports a damaged one."""
    order = job.order or job.evaluation
    if order is None:
        return
    checkpoint = CheckpointId.parse(order.checkpoint)
    try:
        await anyio.to_thread.run_sync(services.inference.models.manifest, checkpoint)
    except CheckpointNotFound:
        what = f"data set {job.id} cannot be drawn" if job.order else f"job {job.id} cannot run again"
        raise InvalidTransition(f"{what}: its checkpoint {checkpoint} was deleted. Order it with another one") from None
    except (OSError, CheckpointDamaged) as error:
        logger.warning("job %s: %s", job.id, error)


async def check_training_data(services: Services, job: Job) -> None:
    """Raises InvalidTransition if the training data of a run or an evaluation was removed."""
    if job.kind in (JobKind.TRAINING, JobKind.EVALUATION):
        try:
            await anyio.to_thread.run_sync(services.store.training_data.settled, job.config)
        except TrainingDataNotFound as error:
            raise InvalidTransition(f"job {job.id} cannot run again: {error}") from None


async def check_uploaded(services: Services, job: Job) -> None:
    """Raises InvalidTransition if the file that was sent for a job was deleted to stay within the storage limit."""
    if job.training_data is not None and not await anyio.to_thread.run_sync(has_upload, services.store.storage, job.id):
        raise InvalidTransition(
            f"job {job.id} cannot run again: the file {job.training_data.file} was deleted. Send it again"
        )


@router.post("/jobs/{job_id}/retry", status_code=202, responses=NEW_JOB, dependencies=[OwnsJob, WithinWorkRate])
async def retry_job(services: ServicesDep, response: Response, caller: Caller, job_id: JobId) -> JobView:
    """Start a new job with the recipe of an earlier one. `retry_of` of the new job is the id of the earlier one."""
    await services.jobs.check_memory()
    job = await services.jobs.get(job_id)
    if job.training_data is not None:
        raise InvalidTransition(f"the file of job {job_id} belongs to it alone: resume the job, or send the file again")
    await check_budget(services, new=job.order)
    await check_drawing(services, job)
    await check_training_data(services, job)
    again = Order(job.config, job.priority, job.runs_on, caller, job.id, job.ordered, given_kind=job.kind)
    again = again._replace(traceparent=tracing.traceparent())
    tracing.link(job.traceparent)
    return await accepted(await services.jobs.create(again), services, response)


@router.post("/jobs/{job_id}/front", status_code=202, dependencies=[OwnsJob])
async def move_job_to_front(services: ServicesDep, job_id: JobId) -> AnyJobView:
    """Move a waiting job to the front of the queue, regardless of priority."""
    (job,) = await services.catalog.with_places([await services.jobs.move_to_front(job_id)])
    return view_of(job)


@router.patch("/jobs/{job_id}", dependencies=[OwnsJob, NoNull])
async def update_job(
    services: ServicesDep, job_id: JobId, labels: Annotated[JobLabels, Body(openapi_examples=LABELS)]
) -> AnyJobView:
    """Change the name, notes or tags of a job, or archive it. The configuration of a run, and its files, stay as they
    are: they have the name that it was started with.
    """
    await services.jobs.check_memory()
    (job,) = await services.catalog.with_places([await services.catalog.label(job_id, labels.labels)])
    return view_of(job)


@router.delete("/jobs/{job_id}", status_code=204, dependencies=[OwnsJob])
async def delete_job(services: ServicesDep, job_id: JobId) -> None:
    """Delete a job that has ended, with its checkpoints and its resume state. This cannot be undone.

    409 if one of its checkpoints is served, pinned, the newest publication or being read, or if a job that has not
    ended needs one. If a deletion was interrupted, repeat it.
    """
    count = await deletion.delete_job(services.inference.models, services.jobs, job_id)
    logger.info("deleted job %s with %d checkpoints", job_id, count)


async def accepted(job: Job, services: Services, response: Response) -> JobView:
    """Notify the workers of a queued job, set the Location header, and return the view of the job."""
    bind_contextvars(job=job.id)
    tracing.note({tracing.JOB: job.id})
    try:
        await anyio.to_thread.run_sync(notify_workers, services.celery, job.runs_on)
    except OperationalError as error:  # the job is stored: the next notification, or a worker's next poll, finds it
        logger.warning("job %s is queued, but no worker could be notified: %s", job.id, error)
    response.headers["Location"] = f"/jobs/{job.id}"
    with suppress(StoreUnavailable):  # the job is accepted even if its place in the queue is unknown
        (job,) = await services.catalog.with_places([job])
    return JobView.of(job)
