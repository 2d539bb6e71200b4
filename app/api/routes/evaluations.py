"""Routes of evaluations: the quality figures of a checkpoint, computed by a worker."""

import logging
from contextlib import suppress
from functools import partial
from typing import Annotated

import anyio.to_thread
from fastapi import APIRouter, Body, Query, Response

from app.api.dependencies import (
    Caller,
    EvaluationId,
    EvaluationNotFound,
    MayStart,
    NoNull,
    Services,
    ServicesDep,
    WithinWorkRate,
    check_budget,
    checked,
    job_of,
)
from app.api.guarded_route import GuardedRoute
from app.api.openapi.headers import NEW_JOB
from app.api.routes.training import IdempotencyKey, accepted, checksum_of
from app.problems import conditional
from app.problems.conditional import IfNoneMatch
from app.schemas.evaluations import EvaluationList, EvaluationsQuery, EvaluationView, WantedEvaluation
from app.schemas.jobs import UnreadableJobView
from app.security.webhook_hosts import check_webhook
from models.config import TrainingConfig
from models.errors import AcganError
from models.evaluation.evaluation_records import Evaluation
from models.registry.evaluations import PICTURE, RESULT, read_evaluation, read_evaluation_file
from models.registry.store import CheckpointStore
from worker.jobs.client import JobNotFound, Order
from worker.jobs.codec import AnyJob, UnreadableJob
from worker.jobs.model import Job, JobKind, JobStatus
from worker.observability import tracing

logger = logging.getLogger(__name__)
router = APIRouter(tags=["evaluations"], route_class=GuardedRoute)

OF_LATEST = WantedEvaluation()
EXAMPLES = {
    "the served checkpoint": {"value": {}},
    "a checkpoint, in a minute or two": {"value": {"checkpoint": "20260131-120000-00001c-e001", "effort": "quick"}},
}


@router.post("/evaluations", status_code=202, responses=NEW_JOB, dependencies=[MayStart, WithinWorkRate, NoNull])
async def evaluate_checkpoint(
    services: ServicesDep,
    response: Response,
    caller: Caller,
    wanted: Annotated[WantedEvaluation, Body(openapi_examples=EXAMPLES)] = OF_LATEST,
    idempotency_key: IdempotencyKey = None,
) -> EvaluationView:
    """Evaluate a checkpoint as `acgan evaluate` does: each figure with its interval, beside that of real digits.

    A worker computes it as a job, which takes minutes, and waits behind runs and data sets of the same priority.
    """
    request = checksum_of(wanted)
    if known := await services.jobs.known(caller, idempotency_key, request):
        return await ordered(known, services, response)
    await check_budget(services)
    check_webhook(wanted.webhook, services.webhook_hosts)
    await services.jobs.check_memory()
    manifest = await services.inference.files.find(wanted.checkpoint)
    dataset = manifest.config.dataset
    entry = Order(
        await anyio.to_thread.run_sync(services.store.training_data.settled, TrainingConfig(dataset=dataset)),
        wanted.priority,
        wanted.runs_on,
        caller,
        dataset=wanted.order(manifest.id),
        idempotency_key=idempotency_key,
        webhook=wanted.webhook,
        traceparent=tracing.traceparent(),
        request=request,
    )
    return await ordered(await services.jobs.create(entry), services, response)


async def ordered(job: Job, services: Services, response: Response) -> EvaluationView:
    """Notify the workers of an order, set the Location header, and return the view of the evaluation."""
    await accepted(job, services, response)
    response.headers["Location"] = f"/evaluations/{job.id}"
    return await viewed(job, services)


@router.get("/evaluations")
async def list_evaluations(services: ServicesDep, query: Annotated[EvaluationsQuery, Query()]) -> EvaluationList:
    """List the evaluations, newest first, or those of one checkpoint."""
    if query.before is not None:
        checked(query.before, EvaluationNotFound)
    try:
        page = await services.catalog.page(query.selection)
    except JobNotFound as error:
        raise EvaluationNotFound(str(error)) from None
    found = await anyio.to_thread.run_sync(partial(views, services.store, page.jobs))
    return EvaluationList.of(found, page, query)


def views(store: CheckpointStore, jobs: list[AnyJob]) -> list[EvaluationView | UnreadableJobView]:
    return [
        UnreadableJobView.of(job) if isinstance(job, UnreadableJob) else EvaluationView.of(job, result_of(store, job))
        for job in jobs
    ]


def result_of(store: CheckpointStore, job: Job) -> Evaluation | None:
    """Return the figures of an evaluation that has succeeded; None if they are missing or cannot be read."""
    if job.status != JobStatus.SUCCEEDED:
        return None
    with suppress(FileNotFoundError):
        try:
            return read_evaluation(store.storage, job.id)
        except (AcganError, OSError) as error:
            logger.warning("evaluation %s: %s", job.id, error)
    return None


@router.get("/evaluations/{job_id}")
async def get_evaluation(services: ServicesDep, job_id: EvaluationId) -> EvaluationView:
    """Return the progress of an evaluation, and its figures when they are computed."""
    return await viewed(await job_of(JobKind.EVALUATION, services, job_id, EvaluationNotFound), services)


async def viewed(job: Job, services: Services) -> EvaluationView:
    return EvaluationView.of(job, await anyio.to_thread.run_sync(result_of, services.store, job))


@router.get(
    "/evaluations/{job_id}/result.json",
    response_model=Evaluation,
    responses={304: {"description": "Not modified."}},
)
async def get_evaluation_result(
    services: ServicesDep, job_id: EvaluationId, if_none_match: IfNoneMatch = None
) -> Response:
    """Return the figures of an evaluation, as `acgan evaluate --json` prints them."""
    return await send(services, job_id, RESULT, "application/json", if_none_match)


@router.get(
    "/evaluations/{job_id}/picture.png",
    response_class=Response,
    responses={
        200: {"content": {"image/png": {}}, "description": "Charts of the result."},
        304: {"description": "Not modified."},
    },
)
async def get_evaluation_picture(
    services: ServicesDep, job_id: EvaluationId, if_none_match: IfNoneMatch = None
) -> Response:
    """Return charts: digits beside their nearest training digits, the confusion of classes, the variety of each."""
    return await send(services, job_id, PICTURE, "image/png", if_none_match)


async def send(services: Services, job_id: str, name: str, media_type: str, if_none_match: str | None) -> Response:
    try:
        data = await anyio.to_thread.run_sync(read_evaluation_file, services.store.storage, job_id, name)
    except FileNotFoundError:
        raise EvaluationNotFound(f"there is no {name} of an evaluation {job_id}, or not yet", job=job_id) from None
    headers = conditional.validators(data)
    return conditional.not_modified(headers, if_none_match) or Response(data, media_type=media_type, headers=headers)
