"""Routes of the published checkpoints and of the serving policy."""

import logging
from functools import partial
from typing import Annotated, Any

import anyio.to_thread
from fastapi import APIRouter, Body, Query, Request, Response
from fastapi.openapi.models import Example

from app.api import deletion
from app.api.dependencies import Services, ServicesDep, check_room
from app.api.guarded_route import GuardedRoute
from app.api.openapi.headers import sends
from app.api.uploads.generator_import import import_generator
from app.inference.service import ROLES
from app.problems import conditional
from app.schemas.checkpoints import (
    CheckpointList,
    CheckpointView,
    ImportQuery,
    ServingOrder,
    ServingView,
    UnusableCheckpoint,
)
from models.data.catalog import DATASETS
from models.registry.serving_policy import ServingPolicy
from models.registry.store import CheckpointId

router = APIRouter(tags=["checkpoints"], route_class=GuardedRoute)
logger = logging.getLogger(__name__)

OCTETS = "application/octet-stream"
SAFETENSORS = (OCTETS, "application/vnd.safetensors")
FILE_BODY = {  # not with both media types: generators of clients know only the first
    "requestBody": {
        "required": True,
        "description": "The safetensors file itself.",
        "content": {OCTETS: {"schema": {"type": "string", "format": "binary"}}},
    }
}

POLICY: dict[int | str, dict[str, Any]] = {200: sends("ETag", "Cache-Control")}
EXAMPLES: dict[str, Example] = {
    "the newest": {"value": {"policy": "newest"}},
    "the best": {"value": {"policy": "best"}},
    "the best by its evaluation": {"value": {"policy": "best", "by": "evaluation"}},
    "the newest of a data set": {"value": {"policy": "newest", "dataset": "printed"}},
    "a given one": {"value": {"policy": "pinned", "checkpoint": "20260131-120000-00001c-e001"}},
}


@router.get("/checkpoints")
async def list_checkpoints(services: ServicesDep) -> CheckpointList:
    """List all checkpoints, newest first; the one that is served; and those that cannot be used."""
    manifests, unusable = await anyio.to_thread.run_sync(services.inference.models.survey)
    return CheckpointList(
        serving=services.inference.models.serving,
        checkpoints=[CheckpointView.of(manifest) for manifest in reversed(manifests)],
        unusable=[UnusableCheckpoint.of(found) for found in unusable],
    )


@router.post(
    "/checkpoints",
    status_code=201,
    openapi_extra=FILE_BODY,
    responses={
        200: {
            "model": CheckpointView,
            "description": "A checkpoint with the same weights, which existed.",
            **sends("Location"),
        },
        201: sends("Location"),
    },
)
async def import_checkpoint(
    request: Request, response: Response, services: ServicesDep, query: Annotated[ImportQuery, Query()]
) -> CheckpointView:
    """Import a generator from a safetensors file, which is the body. It is judged and published like a run's epoch.

    422 if the file does not hold a generator of this architecture, or if the quality gate refuses its digits. If a
    checkpoint has the same weights, nothing is published, and the response is 200 with this checkpoint.
    """
    if query.dataset not in DATASETS:  # before the first byte is read
        await anyio.to_thread.run_sync(services.store.training_data.find, query.dataset)
    async with services.uploads.receive(request, SAFETENSORS, partial(check_room, services)) as received:
        work = partial(import_generator, services.inference.models, received, query, services.judges_imports)
        manifest, is_new = await anyio.to_thread.run_sync(work)
    await services.inference.models.refresh()
    if is_new:
        logger.info("imported %s", manifest.id)
    response.status_code = 201 if is_new else 200
    response.headers["Location"] = f"/checkpoints/{manifest.id}"
    return CheckpointView.of(manifest)


@router.get("/checkpoints/{checkpoint}")
async def get_checkpoint(services: ServicesDep, checkpoint: str) -> CheckpointView:
    """Return a checkpoint, given its id, `latest` or `best`: its recipe, losses and the checksums of its files."""
    if checkpoint in ROLES:
        return CheckpointView.of((await services.inference.models.find(checkpoint)).manifest)
    manifest = await anyio.to_thread.run_sync(services.inference.models.manifest, CheckpointId.parse(checkpoint))
    return CheckpointView.of(manifest)


@router.delete("/checkpoints/{checkpoint}", status_code=204)
async def delete_checkpoint(services: ServicesDep, checkpoint: str) -> None:
    """Delete a checkpoint's files. 409 if it is served, pinned, the newest of the training data being served, or
    being read, or if a job needs it."""
    await deletion.delete_checkpoint(services.inference.models, services.jobs, CheckpointId.parse(checkpoint))


@router.get("/serving", responses=POLICY)
async def get_serving(services: ServicesDep, response: Response) -> ServingView:
    """Return the serving policy, which selects the checkpoint for `latest`, and the served checkpoint.

    The `ETag` is that of the policy, for `If-Match`: it does not change when `serving` does.
    """
    return view_of(await services.inference.models.choice(), services, response)


def view_of(policy: ServingPolicy, services: Services, response: Response) -> ServingView:
    response.headers.update({"ETag": tag_of(policy), "Cache-Control": "no-store"})
    served = services.inference.models.served
    dataset = served and served.model.manifest.config.dataset
    return ServingView(**dict(policy), serving=served and served.model.id, serving_dataset=dataset)


@router.put("/serving", responses=POLICY)
async def set_serving(
    services: ServicesDep,
    response: Response,
    order: Annotated[ServingOrder, Body(openapi_examples=EXAMPLES)],
    if_match: conditional.IfMatch = None,
) -> ServingView:
    """Serve the newest publication of a data set, the best one, or a pinned one. To roll back, pin the previous one.

    Requests in progress finish with the generator that they started with. Other processes switch within a second. With
    `If-Match`, the policy changes only if it is still the one with this `ETag`; otherwise 412.
    """
    expected = None if if_match is None else lambda policy: conditional.is_named(tag_of(policy), if_match)
    policy = ServingPolicy(**order.model_dump())
    await services.inference.models.choose(policy, expected)
    return view_of(policy, services, response)  # not what is stored now: another caller may have changed it


def tag_of(policy: ServingPolicy) -> str:
    return conditional.validators(policy.model_dump_json().encode())["ETag"]
