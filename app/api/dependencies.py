"""FastAPI dependencies of the routes: services, authorization, limits and ids."""

import re
from collections.abc import Mapping
from typing import Annotated, NamedTuple

import anyio.to_thread
from celery import Celery
from fastapi import Depends, Path, Request
from fastapi.exceptions import RequestValidationError
from structlog.contextvars import bind_contextvars

from app.api.dataset_archives import ArchiveLimits
from app.api.event_stream import Events
from app.api.exploration.training_images import TrainingImagesCache
from app.api.training_data_previews import Previews
from app.api.uploads.receiving import Uploads
from app.inference.service import InferenceService, ModelManager
from app.middleware.authentication import caller_of
from app.middleware.response_headers import LIMITS
from app.security.api_keys import Role
from app.security.caller import CALLER, require, require_own, role_of
from app.security.rate_limit import SharedRate
from models.config import NUM_CLASSES
from models.errors import NotFound
from models.registry.retention import BYTES_A_DIGIT
from models.registry.store import CheckpointDamaged, CheckpointId, CheckpointNotFound, CheckpointStore
from models.synthesis.order import DatasetOrder
from worker.jobs.client import JobClient, JobNotFound
from worker.jobs.listing import read_unfinished, read_unfinished_datasets
from worker.jobs.lists.catalog import JobCatalog
from worker.jobs.model import JOB_ID_PATTERN, Job, JobKind
from worker.observability.background_loops import Supervisor
from worker.webhook_url import Endpoint


class Services(NamedTuple):
    """The objects that live as long as the process."""

    jobs: JobClient
    catalog: JobCatalog
    celery: Celery
    store: CheckpointStore
    inference: InferenceService
    events: Events
    supervisor: Supervisor
    uploads: Uploads
    archives: ArchiveLimits
    previews: Previews
    training_images: TrainingImagesCache
    work_rate: SharedRate | None = None
    webhook_hosts: frozenset[Endpoint] = frozenset()
    judges_imports: bool = True


async def services(request: Request) -> Services:
    """Return the services. Asynchronous so that FastAPI does not run it in a thread."""
    found: Services = request.app.state.services
    return found


ServicesDep = Annotated[Services, Depends(services)]


async def within_work_rate(request: Request, services: ServicesDep) -> None:
    """Count the request, so that its response has the RateLimit headers. Raises TooFast, StoreUnavailable."""
    if services.work_rate is not None:
        request.scope[LIMITS].update(await services.work_rate.admit(caller_of(request.scope)))


async def check_budget(
    services: Services, uploaded: int = 0, new: DatasetOrder | None = None, resumed: Job | None = None
) -> None:
    """Refuse work that the store has no room for.

    `uploaded` are the bytes that uploads will add, `new` is a new data set, `resumed` a job that had ended.
    Space for data sets that are ordered and not finished counts as used. Raises StoreFull, StoreUnavailable.
    """
    budget, redis = services.inference.models.budget, services.jobs.redis
    if budget.limit is None:
        return
    ids, ordered = await read_unfinished(redis), await read_unfinished_datasets(redis)
    if resumed and resumed.order:
        ordered[resumed.id] = resumed.order
    orders = ordered | ({"": new} if new else {})
    sizes = await anyio.to_thread.run_sync(sizes_of, services.inference.models, orders)
    needed = uploaded + sizes.pop("", 0)
    await budget.check(ids, needed, sizes)


def sizes_of(models: ModelManager, orders: Mapping[str, DatasetOrder]) -> dict[str, int]:
    """Return the bytes that each data set will have."""
    classes = {order.checkpoint: class_count(models, order.checkpoint) for order in orders.values()}
    return {job: order.stride * classes[order.checkpoint] * BYTES_A_DIGIT for job, order in orders.items()}


def class_count(models: ModelManager, checkpoint: str) -> int:
    """Return the number of classes that a checkpoint draws; that of digits if it was deleted or cannot be read."""
    try:
        return len(models.manifest(CheckpointId.parse(checkpoint)).class_names)
    except (CheckpointNotFound, CheckpointDamaged, OSError):  # without an answer of the store, work is accepted
        return NUM_CLASSES


async def caller(request: Request) -> str | None:
    name: str | None = request.scope.get(CALLER)
    return name


async def may_start(request: Request) -> None:
    """Raises NotAllowed if the key of this request may not start work."""
    require(request.scope, Role.TRAIN)


async def owns_job(request: Request, services: ServicesDep) -> None:
    """Raises NotAllowed if the job in the path was started with another key, JobNotFound, StoreUnavailable."""
    if role_of(request.scope) is not Role.ADMIN:
        job = await services.jobs.get(checked(request.path_params["job_id"]))
        require_own(request.scope, job.id, job.caller)


MayStart, OwnsJob = Depends(may_start), Depends(owns_job)
Caller = Annotated[str | None, Depends(caller)]  # the name of the request's key
WithinWorkRate = Depends(within_work_rate)


async def no_null(request: Request) -> None:
    """Raises RequestValidationError if the body is `null`, which FastAPI treats like a missing body.

    A faulty program may send `null`; without this check, hours of training with default values would follow.
    """
    if (await request.body()).strip() == b"null":
        text = "should be a JSON object or omitted, not null"
        raise RequestValidationError([{"type": "null", "loc": ("body",), "msg": text}])


NoNull = Depends(no_null)


async def check_room(services: Services, size: int) -> None:
    """Raises StoreReplaced if the store is missing, StoreFull if it has no room for an upload, StoreUnavailable."""
    await anyio.to_thread.run_sync(services.inference.models.check_store)
    await check_budget(services, uploaded=size)


EXAMPLE_ID = "20260131-120000123-00001c-9f3a61c2d4e58b07"


class DatasetNotFound(NotFound, code="dataset-not-found"):
    """No generated data set has this id."""


class EvaluationNotFound(NotFound, code="evaluation-not-found"):
    """No evaluation has this id, or it has no result yet."""


WHAT: dict[type[NotFound], str] = {
    JobNotFound: "job",
    DatasetNotFound: "data set",
    EvaluationNotFound: "evaluation",
}


def checked(job_id: str, missing: type[NotFound] = JobNotFound) -> str:
    """Raises `missing` if this does not have the form of an id."""
    if not re.match(JOB_ID_PATTERN, job_id):
        raise missing(f"there is no {WHAT[missing]} {job_id[:80]!r} (ids look like {EXAMPLE_ID})")
    return job_id


async def job_of(kind: JobKind, services: Services, job_id: str, missing: type[NotFound]) -> Job:
    """Return a job of this kind. Raises `missing` if there is none, StoreUnavailable."""
    try:
        job = await services.jobs.get(job_id)
    except JobNotFound:
        raise missing(f"there is no {WHAT[missing]} {job_id}") from None
    if job.kind != kind:
        raise missing(f"job {job_id} is of another kind: it is no {WHAT[missing]}")
    return job


IdInPath = Annotated[str, Path(examples=[EXAMPLE_ID])]


async def job_id(job_id: IdInPath) -> str:
    bind_contextvars(job=checked(job_id))  # added to all later log lines of this request
    return job_id


async def dataset_id(job_id: IdInPath) -> str:
    """Return the id of a generated data set, which is the id of its job."""
    bind_contextvars(job=checked(job_id, DatasetNotFound))
    return job_id


async def evaluation_id(job_id: IdInPath) -> str:
    """Return the id of an evaluation, which is the id of its job."""
    bind_contextvars(job=checked(job_id, EvaluationNotFound))
    return job_id


JobId = Annotated[str, Depends(job_id)]
DatasetId = Annotated[str, Depends(dataset_id)]
EvaluationId = Annotated[str, Depends(evaluation_id)]
