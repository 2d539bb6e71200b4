"""Routes of training data: the built-in sets, and those that users brought."""

from typing import Annotated, Any

import anyio.to_thread
from fastapi import APIRouter, Path, Response
from pydantic import BaseModel

from app.api import deletion
from app.api.dependencies import Services, ServicesDep
from app.api.guarded_route import GuardedRoute
from app.problems import conditional
from app.problems.conditional import IfNoneMatch
from app.schemas.training_data import TrainingDataList, TrainingDataView
from models.data.catalog import DATASETS
from models.data.reference import REFERENCE, Reference
from models.registry.store import Manifest
from models.registry.training_data import PREVIEW, TrainingDataStore

router = APIRouter(tags=["training-data"], route_class=GuardedRoute)

MOST_CHARACTERS = 100
DatasetInPath = Annotated[
    str,
    Path(
        max_length=MOST_CHARACTERS,
        description="A name, such as `letters`, or a name with a version, such as `letters@2`.",
        examples=["mnist"],
        json_schema_extra={"pattern": REFERENCE},
    ),
]
NOT_MODIFIED: dict[int | str, dict[str, Any]] = {304: {"description": "Not modified."}}


@router.get("/training-data", response_model=TrainingDataList, responses=NOT_MODIFIED)
async def list_training_data(services: ServicesDep, if_none_match: IfNoneMatch = None) -> Response:
    """List the training data that a run can name: the built-in sets, and the newest version of each that users brought.

    Each has the names of its classes, the numbers of its images, and the newest checkpoint that was trained on it.
    """
    return as_json(await anyio.to_thread.run_sync(list_all, services), if_none_match)


def list_all(services: Services) -> TrainingDataList:
    """Read the manifests of training data and checkpoints. Raises OSError."""
    trained = checkpoints(services)
    data = services.store.training_data
    built_in = [TrainingDataView.of_built_in(name, trained) for name in DATASETS]
    known = data.references()
    newest = {each.name: each for each in known}  # sorted: the last of a name is its newest version
    found = {manifest.reference: manifest for manifest in data.manifests() if manifest.reference in newest.values()}
    return TrainingDataList(
        training_data=built_in
        + [
            TrainingDataView.of_brought(Reference(name), found[reference], numbers(known, name), trained)
            for name, reference in newest.items()
            if reference in found
        ]
    )


def checkpoints(services: Services) -> list[Manifest]:
    return services.inference.models.survey()[0]


def numbers(known: list[Reference], name: str) -> list[int]:
    return [each.version for each in known if each.name == name and each.version is not None]


@router.get("/training-data/{name}", response_model=TrainingDataView, responses=NOT_MODIFIED)
async def get_training_data(services: ServicesDep, name: DatasetInPath, if_none_match: IfNoneMatch = None) -> Response:
    """Return one data set: its classes, its numbers of images, its source, and its checkpoints."""
    return as_json(await anyio.to_thread.run_sync(describe, services, name), if_none_match)


def describe(services: Services, name: str) -> TrainingDataView:
    """Raises TrainingDataNotFound, FileInvalid, OSError."""
    if name in DATASETS:
        return TrainingDataView.of_built_in(name, checkpoints(services))
    data = services.store.training_data
    reference = data.find(name)
    versions = numbers(data.references(), reference.name)
    return TrainingDataView.of_brought(Reference.parse(name), data.manifest(reference), versions, checkpoints(services))


def as_json(view: BaseModel, if_none_match: str | None) -> Response:
    """Return the view with an ETag, or 304 if the client has it."""
    body = view.model_dump_json().encode()
    headers = conditional.validators(body)
    return conditional.not_modified(headers, if_none_match) or Response(
        body, media_type="application/json", headers=headers
    )


@router.get(
    "/training-data/{name}/preview.png",
    response_class=Response,
    responses={200: {"content": {"image/png": {}}, "description": "Some images of each class."}, **NOT_MODIFIED},
)
async def get_training_data_preview(
    services: ServicesDep, name: DatasetInPath, if_none_match: IfNoneMatch = None
) -> Response:
    """Return a picture of some images. 404 for a built-in set whose files are not on the machine of the service yet."""
    is_version = "@" in name  # a version never changes
    if name in DATASETS:
        picture = await services.previews.find(name)
    else:
        picture = await anyio.to_thread.run_sync(read_preview, services.store.training_data, name)
    headers = conditional.validators(picture, is_version)
    return conditional.not_modified(headers, if_none_match) or Response(
        picture, media_type="image/png", headers=headers
    )


def read_preview(data: TrainingDataStore, name: str) -> bytes:
    """Raises TrainingDataNotFound, FileInvalid, OSError."""
    return data.read(data.manifest(data.find(name)), PREVIEW)


@router.delete("/training-data/{name}", status_code=204)
async def delete_training_data(services: ServicesDep, name: DatasetInPath) -> None:
    """Remove training data that a user brought: one version, as `letters@2`; or all versions, as `letters`.

    Checkpoints that were trained on it stay, and can be served. 409 while a job that has not ended needs it, and for
    the built-in sets.
    """
    await deletion.delete_training_data(services.store.training_data, services.jobs, name)
