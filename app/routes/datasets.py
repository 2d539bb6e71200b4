"""Data sets on order: digits by the thousand, as the files of MNIST."""

import shutil
from pathlib import Path as File
from typing import Annotated, Any

import anyio.to_thread
from fastapi import APIRouter, Body, Path, Query, Response
from fastapi.responses import FileResponse

from app.dependencies import DatasetId, Services, ServicesDep, WithinWorkRate, checked
from app.routes.digits import IfNoneMatch
from app.routes.training import IdempotencyKey, accepted
from app.schemas import JobsQuery
from app.wire import etags
from app.wire.ordering import FILE_NAME, DatasetList, DatasetView, WantedDataset
from models.datasets import MANIFEST, read_manifest
from worker.jobs import ENDED, Job
from worker.store import JobNotFound, NotNow, Order

TRAIN_IMAGES = "train-images-idx3-ubyte.gz"

router = APIRouter(tags=["datasets"])

CONTENT: dict[str, dict[str, Any]] = {
    "application/gzip": {},
    "application/json": {
        "example": {"order": {"per_class": 6000, "seed": 1}, "files": {TRAIN_IMAGES: {"size": 9912422}}}
    },
}
EXAMPLES = {
    "as large as MNIST": {"value": {}},
    "a quick try": {"value": {"per_class": 100, "test_per_class": 10, "seed": 4}},
    "only what can be read": {"value": {"per_class": 6000, "verify": 0.99}},
}


@router.post("/datasets", status_code=202, dependencies=[WithinWorkRate])
async def order(
    services: ServicesDep,
    response: Response,
    wanted: Annotated[WantedDataset | None, Body(openapi_examples=EXAMPLES)] = None,
    idempotency_key: IdempotencyKey = None,
) -> DatasetView:
    """Order digits: so many of each class, by one seed, as the four files of MNIST. An empty body is as many as it has.

    A worker makes them, as it does runs.
    """
    await services.desk.ping()
    wanted = wanted or WantedDataset()
    exhibit = await services.gallery.find(wanted.checkpoint)
    dataset = wanted.order(exhibit.id)
    entry = Order(exhibit.manifest.config, wanted.priority, idempotency_key=idempotency_key, dataset=dataset)
    job = await services.desk.create(entry)
    await accepted(job, services, response)
    response.headers["Location"] = f"/datasets/{job.id}"
    return DatasetView.of(job)


@router.get("/datasets")
async def datasets(services: ServicesDep, query: Annotated[JobsQuery, Query()]) -> DatasetList:
    """List the data sets ordered last, newest first."""
    if query.before is not None:
        checked(query.before, "data set", "/datasets")
    found = await services.desk.newest(query.limit + 1, query.status, query.before, datasets=True)
    page = await views(services, found[: query.limit])
    return DatasetList.of(page, len(found) > query.limit, query)


@router.get("/datasets/{job_id}")
async def dataset(services: ServicesDep, job_id: DatasetId) -> DatasetView:
    """Tell where the making of a data set stands, and where its files are."""
    (view,) = await views(services, [await found(services, job_id)])
    return view


async def views(services: Services, jobs: list[Job]) -> list[DatasetView]:
    def look() -> list[DatasetView]:
        return [DatasetView.of(job, (services.store.dataset_folder(job.id) / MANIFEST).exists()) for job in jobs]

    return await anyio.to_thread.run_sync(look)


async def found(services: Services, job_id: str) -> Job:
    try:
        job = await services.desk.get(job_id)
    except JobNotFound:
        raise JobNotFound(f"there is no data set {job_id}: see GET /datasets") from None
    if job.order is None:
        raise JobNotFound(f"job {job_id} is a run and no data set: see GET /jobs/{job_id}, or GET /datasets")
    return job


@router.get(
    "/datasets/{job_id}/{file}",
    response_class=FileResponse,
    responses={
        200: {
            "content": CONTENT,
            "description": "An IDX file, packed by gzip; or as `manifest.json` what all of them are.",
        },
        304: {"description": "You have it."},
        206: {"content": CONTENT, "description": "Part of it, by `Range`."},
        416: {"content": {"text/plain": {}}, "description": "There is no such `Range` of it."},
    },
)
async def dataset_file(
    services: ServicesDep,
    job_id: DatasetId,
    file: Annotated[str, Path(pattern=FILE_NAME, examples=[TRAIN_IMAGES])],
    if_none_match: IfNoneMatch = None,
) -> Response:
    """Download a file of a data set. `Range` goes on with a download that broke off."""
    folder = services.store.dataset_folder(job_id)

    def look() -> str | None:
        """Name what is there by its bytes."""
        manifest = read_manifest(folder)
        if manifest is None or not (folder / file).is_file():
            return None
        return etags.name(manifest.model_dump_json().encode() + file.encode())

    tag = await anyio.to_thread.run_sync(look)
    if tag is None:
        raise JobNotFound(f"there is no {file} of a data set {job_id}, or not yet: see GET /datasets/{job_id}")
    headers = {"ETag": tag, "Cache-Control": "no-cache"}
    if etags.is_known(tag, if_none_match):
        return Response(status_code=304, headers=headers)
    media_type = "application/json" if file == MANIFEST else "application/gzip"
    return FileResponse(folder / file, media_type=media_type, headers=headers)


@router.delete("/datasets/{job_id}", status_code=204)
async def delete(services: ServicesDep, job_id: DatasetId) -> None:
    """Delete a data set's files. The order stays on record, and a retry of its job makes them anew."""
    job = await found(services, job_id)
    if job.status not in ENDED:
        raise NotNow(f"data set {job_id} is {job.status}: cancel it first, with POST /jobs/{job_id}/cancel")
    await anyio.to_thread.run_sync(remove, services.store.dataset_folder(job_id))


def remove(folder: File) -> None:
    """The manifest goes first: without it there is no data set."""
    (folder / MANIFEST).unlink(missing_ok=True)
    shutil.rmtree(folder, ignore_errors=True)
