"""Routes of the published checkpoints and of the serving policy."""

from typing import Annotated

import anyio.to_thread
from fastapi import APIRouter, Body
from fastapi.openapi.models import Example

from app.api.deletion import delete_checkpoint
from app.api.dependencies import ServicesDep
from app.api.guarded_route import GuardedRoute
from app.inference.service import ROLES
from app.schemas.checkpoints import CheckpointList, CheckpointView, Serving, ServingOrder, UnusableCheckpoint
from models.registry.serving_policy import ServingPolicy
from models.registry.store import CheckpointId

router = APIRouter(tags=["checkpoints"], route_class=GuardedRoute)

EXAMPLES: dict[str, Example] = {
    "the newest": {"value": {"policy": "newest"}},
    "the best": {"value": {"policy": "best"}},
    "a given one": {"value": {"policy": "pinned", "checkpoint": "20260131-120000-00001c-e001"}},
}


@router.get("/checkpoints")
async def checkpoints(services: ServicesDep) -> CheckpointList:
    """List all checkpoints, newest first, which one is served, and the unusable ones."""
    manifests, unusable = await anyio.to_thread.run_sync(services.inference.models.survey)
    return CheckpointList(
        serving=services.inference.models.serving,
        checkpoints=[CheckpointView.of(manifest) for manifest in reversed(manifests)],
        unusable=[UnusableCheckpoint.of(found) for found in unusable],
    )


@router.get("/checkpoints/{checkpoint}")
async def checkpoint(services: ServicesDep, checkpoint: str) -> CheckpointView:
    """Return a checkpoint, given its id, `latest` or `best`: its recipe, losses and the checksums of its files."""
    if checkpoint in ROLES:
        return CheckpointView.of((await services.inference.models.find(checkpoint)).manifest)
    manifest = await anyio.to_thread.run_sync(services.inference.models.manifest, CheckpointId.parse(checkpoint))
    return CheckpointView.of(manifest)


@router.delete("/checkpoints/{checkpoint}", status_code=204)
async def delete(services: ServicesDep, checkpoint: str) -> None:
    """Delete a checkpoint's files. 409 if it is served, pinned, the newest or being read, or if a job needs it."""
    await delete_checkpoint(services.inference.models, services.jobs, CheckpointId.parse(checkpoint))


@router.get("/serving")
async def serving(services: ServicesDep) -> Serving:
    """Return the serving policy, which decides what `latest` is, and the served checkpoint."""
    choice = await services.inference.models.choice()
    return Serving(**dict(choice), serving=services.inference.models.serving)


@router.put("/serving")
async def serve(services: ServicesDep, order: Annotated[ServingOrder, Body(openapi_examples=EXAMPLES)]) -> Serving:
    """Serve the newest publication, the best one, or a pinned one. To roll back, pin the previous one.

    Requests in progress finish with the generator that they started with. Other processes switch within a second.
    """
    await services.inference.models.choose(ServingPolicy(**order.model_dump()))
    return await serving(services)
