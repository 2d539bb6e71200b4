"""Routes of generated data sets: thousands of digits, as the four files of MNIST."""

import hashlib
from functools import partial
from typing import Annotated

import anyio.to_thread
from fastapi import APIRouter, Body, Path, Query, Response
from fastapi.responses import StreamingResponse

from app.api import deletion
from app.api.dataset_archives import ArchiveResponse
from app.api.dependencies import (
    Caller,
    DatasetId,
    DatasetNotFound,
    MayStart,
    NoNull,
    OwnsJob,
    Services,
    ServicesDep,
    WithinWorkRate,
    check_budget,
    checked,
    job_of,
)
from app.api.downloads import ConditionsDep, Content, deliver, described, of_bytes
from app.api.guarded_route import GuardedRoute
from app.api.openapi.headers import NEW_JOB, sends
from app.api.routes.training import IdempotencyKey, accepted, checksum_of
from app.problems import conditional
from app.problems.conditional import IfNoneMatch
from app.schemas.datasets import FILE_NAME, ArchiveQuery, DatasetList, DatasetView, WantedDataset
from app.schemas.jobs import JobsQuery, UnreadableJobView
from app.security.webhook_hosts import check_webhook
from models.config import NUM_CLASSES
from models.errors import InvalidInput, NotFound
from models.registry.storage.base import Folder
from models.registry.storage.reading import parse, read_bytes
from models.registry.store import DATASET, CheckpointStore
from models.synthesis.layouts.source import DatasetSource
from models.synthesis.layouts.table import LAYOUTS
from models.synthesis.order import MANIFEST, MOST, DatasetManifest, DatasetOrder
from models.version import code_version
from worker.jobs.client import JobNotFound, Order
from worker.jobs.codec import AnyJob, UnreadableJob
from worker.jobs.model import Job, JobKind
from worker.observability import tracing

MOST_IMAGES = 2 * MOST * NUM_CLASSES  # in a data set: of digits, its fields have the limits
TRAIN_IMAGES = "train-images-idx3-ubyte.gz"


class DatasetFileNotFound(NotFound, code="dataset-file-not-found"):
    """The data set has no such file, or not yet."""


router = APIRouter(tags=["datasets"], route_class=GuardedRoute)

CONTENT = ("application/gzip", "application/json")
AS_MANY_AS_MNIST = WantedDataset()
EXAMPLES = {
    "as large as MNIST": {"value": {}},
    "a quick test": {"value": {"per_class": 100, "test_per_class": 10, "seed": 4}},
    "only digits that the judge recognizes": {"value": {"per_class": 6000, "verify": 0.99}},
}


@router.post("/datasets", status_code=202, responses=NEW_JOB, dependencies=[MayStart, WithinWorkRate, NoNull])
async def order_dataset(
    services: ServicesDep,
    response: Response,
    caller: Caller,
    wanted: Annotated[WantedDataset, Body(openapi_examples=EXAMPLES)] = AS_MANY_AS_MNIST,
    idempotency_key: IdempotencyKey = None,
) -> DatasetView:
    """Generate a data set: digits of one seed, in the four files of MNIST. With an empty body, it is as large as MNIST.

    A worker generates it as a job in the same queue as runs.
    """
    request = checksum_of(wanted)
    if known := await services.jobs.known(caller, idempotency_key, request):
        return await ordered(known, services, response)
    check_webhook(wanted.webhook, services.webhook_hosts)
    await services.jobs.check_memory()
    named = await services.inference.files.find(wanted.checkpoint)  # a generator in memory may have been deleted
    model = await services.inference.models.find(named.id)
    dataset = wanted.order(model.id)
    check_size(dataset, len(model.manifest.class_names))
    if dataset.verify is not None:
        await services.inference.find_verifier(model)
    await check_budget(services, new=dataset)
    recipe = model.manifest.config
    entry = Order(
        recipe,
        wanted.priority,
        wanted.runs_on,
        caller,
        dataset=dataset,
        idempotency_key=idempotency_key,
        webhook=wanted.webhook,
        traceparent=tracing.traceparent(),
        request=request,
    )
    return await ordered(await services.jobs.create(entry), services, response)


async def ordered(job: Job, services: Services, response: Response) -> DatasetView:
    """Notify the workers of an order, set the Location header, and return the view of the data set."""
    await accepted(job, services, response)
    response.headers["Location"] = f"/datasets/{job.id}"
    return await viewed(job, services)


def check_size(order: DatasetOrder, classes: int) -> None:
    """Raises InvalidInput if a data set of many classes would be larger than the largest one of digits."""
    if order.stride * classes > MOST_IMAGES:
        raise InvalidInput(
            f"body.per_class: the checkpoint draws {classes} classes, and a data set has at most {MOST_IMAGES:,} "
            f"images: `per_class` and `test_per_class` together should be at most {MOST_IMAGES // classes:,}"
        )


@router.get("/datasets")
async def list_datasets(services: ServicesDep, query: Annotated[JobsQuery, Query()]) -> DatasetList:
    """List the generated data sets, newest first."""
    if query.before is not None:
        checked(query.before, DatasetNotFound)
    try:
        page = await services.catalog.page(query.page_selection(JobKind.DATASET))
    except JobNotFound as error:
        raise DatasetNotFound(str(error)) from None
    return DatasetList.of(await views(services, page.jobs), page, query)


@router.get("/datasets/{job_id}")
async def get_dataset(services: ServicesDep, job_id: DatasetId) -> DatasetView:
    """Return the progress of a data set, and the URLs of its files when it is complete."""
    return await viewed(await job_of(JobKind.DATASET, services, job_id, DatasetNotFound), services)


async def viewed(job: Job, services: Services) -> DatasetView:
    return DatasetView.of(job, await anyio.to_thread.run_sync(is_made, services.store, job))


def is_made(store: CheckpointStore, job: Job) -> bool:
    return job.started_at is not None and store.has_dataset(job.id)  # a new order needs no answer of the store


async def views(services: Services, jobs: list[AnyJob]) -> list[DatasetView | UnreadableJobView]:
    def look(job: AnyJob) -> DatasetView | UnreadableJobView:
        if isinstance(job, UnreadableJob):
            return UnreadableJobView.of(job)
        return DatasetView.of(job, is_made(services.store, job))

    return await anyio.to_thread.run_sync(lambda: [look(job) for job in jobs])


@router.get(
    "/datasets/{job_id}/archive",
    response_class=StreamingResponse,
    responses={
        200: {
            "content": {"application/zip": {}},
            "description": "A zip archive, or for `keras` an npz file.",
            **sends("Content-Disposition"),
        },
        304: {"description": "Not modified."},
    },
)
async def download_dataset_archive(
    services: ServicesDep,
    job_id: DatasetId,
    query: Annotated[ArchiveQuery, Query()],
    if_none_match: IfNoneMatch = None,
) -> Response:
    """Download a data set as one file, in the layout that a library expects."""
    store, layout = services.store, LAYOUTS[query.layout]
    manifest, _ = await anyio.to_thread.run_sync(read_manifest, store, job_id, layout.file)
    libraries = await anyio.to_thread.run_sync(layout.libraries)
    about = f"{manifest.model_dump_json()} {query.layout} {code_version()} {libraries}"
    validators = conditional.validators(about.encode())
    if unchanged := conditional.not_modified(validators, if_none_match):
        return unchanged
    pieces = layout.write(DatasetSource(manifest, partial(store.read_dataset, job_id)))
    headers = {**validators, "Content-Disposition": f'attachment; filename="{layout.file}"'}
    return ArchiveResponse(services.archives, store, job_id, pieces, headers)


@router.get(
    "/datasets/{job_id}/{file}",
    response_class=StreamingResponse,
    responses=described("A gzipped IDX file, or `manifest.json`, which describes all files.", CONTENT, DatasetManifest),
)
async def download_dataset_file(
    services: ServicesDep,
    job_id: DatasetId,
    file: Annotated[str, Path(pattern=FILE_NAME, examples=[TRAIN_IMAGES])],
    asked: ConditionsDep,
) -> Response:
    """Download a file of a data set. With `Range` an interrupted download can be resumed."""
    return await deliver(await anyio.to_thread.run_sync(content_of, services.store, job_id, file), asked)


def content_of(store: CheckpointStore, job_id: str, file: str) -> Content:
    """Find a file of a data set. Raises DatasetFileNotFound, FileInvalid, Unreachable."""
    manifest, data = read_manifest(store, job_id, file)
    headers = conditional.validators(manifest.model_dump_json().encode() + file.encode())
    if file == MANIFEST:
        return of_bytes(file, data, hashlib.sha256(data).hexdigest(), "application/json", headers)
    if file not in manifest.files:
        raise no_file(job_id, file)
    return Content(
        f"{file} of data set {job_id}",
        manifest.files[file].size,
        manifest.files[file].sha256,
        partial(store.read_dataset, job_id, file),
        "application/gzip",
        headers,
        being_read=partial(store.reading, Folder(job_id, DATASET)),
    )


def read_manifest(store: CheckpointStore, job_id: str, wanted: str) -> tuple[DatasetManifest, bytes]:
    """Return the manifest of a data set, parsed and as stored. Raises DatasetFileNotFound, FileInvalid, OSError."""
    try:
        data = read_bytes(store.storage, f"{job_id}/{DATASET}/{MANIFEST}")
    except FileNotFoundError:
        raise no_file(job_id, wanted) from None
    return parse(data, DatasetManifest, f"the manifest of data set {job_id}"), data


def no_file(job_id: str, name: str) -> DatasetFileNotFound:
    return DatasetFileNotFound(f"data set {job_id} has no {name}, or not yet", job=job_id)


@router.delete("/datasets/{job_id}", status_code=204, dependencies=[OwnsJob])
async def delete_dataset(services: ServicesDep, job_id: DatasetId) -> None:
    """Delete the files of a data set. Its job stays, and a retry of the job generates the files again.

    409 while the data set is being drawn or downloaded.
    """
    await job_of(JobKind.DATASET, services, job_id, DatasetNotFound)
    await deletion.delete_dataset(services.inference.models, services.jobs, job_id)
