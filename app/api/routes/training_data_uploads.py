"""The route that receives training data from users."""

from functools import partial
from typing import Annotated

from fastapi import APIRouter, Path, Query, Request, Response

from app.api.dependencies import Caller, ServicesDep, WithinWorkRate, check_room
from app.api.guarded_route import GuardedRoute
from app.api.openapi.headers import NEW_JOB
from app.api.routes.training import IdempotencyKey, accepted
from app.api.uploads.training_data import accept_upload
from app.schemas.jobs import JobView
from app.schemas.training_data_upload import UploadQuery
from models.data.reference import NAME
from models.registry.training_data import checked_name

router = APIRouter(tags=["training-data"], route_class=GuardedRoute)

OCTETS = "application/octet-stream"
FILES = (
    OCTETS,
    "application/zip",
    "application/x-zip-compressed",
    "application/x-tar",
    "application/gzip",
    "application/x-gzip",
    "application/x-bzip2",
    "application/x-xz",
    "application/vnd.apache.parquet",
    "text/csv",
)
FILE_BODY = {  # not with all media types: generators of clients know only the first
    "requestBody": {
        "required": True,
        "description": "The file itself.",
        "content": {OCTETS: {"schema": {"type": "string", "format": "binary"}}},
    }
}

ONLY_NAME = {"pattern": f"^{NAME}$"}  # in the document: the code of other names is training-data-name-invalid


@router.put(
    "/training-data/{name}",
    status_code=202,
    openapi_extra=FILE_BODY,
    responses=NEW_JOB,
    dependencies=[WithinWorkRate],
)
async def add_training_data(
    request: Request,
    response: Response,
    services: ServicesDep,
    caller: Caller,
    name: Annotated[
        str, Path(description="A name without a version.", examples=["letters"], json_schema_extra=ONLY_NAME)
    ],
    query: Annotated[UploadQuery, Query()],
    idempotency_key: IdempotencyKey = None,
) -> JobView:
    """Make training data from the labelled images in a file, the body of the request, as the next version of a name.

    The file is a zip or tar archive with one folder a class, or with IDX, npz, CSV or parquet files, or one such file.
    A worker reads it, as a job of its own: `result` of the job then names the version.
    """
    checked_name(name)
    await services.jobs.check_memory()
    async with services.uploads.receive(request, FILES, partial(check_room, services)) as received:
        job = await accept_upload(services, received, name, query, caller, idempotency_key)
    return await accepted(job, services, response)
