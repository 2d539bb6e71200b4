"""The registry of what has been published."""

import anyio.to_thread
from fastapi import APIRouter

from app.dependencies import ServicesDep
from app.schemas import CheckpointList, CheckpointView
from models.checkpoints import CheckpointId

router = APIRouter(tags=["checkpoints"])


@router.get("/checkpoints")
async def checkpoints(services: ServicesDep) -> CheckpointList:
    """List every checkpoint that stands, newest first, and say which one is being served."""
    manifests = await anyio.to_thread.run_sync(services.store.manifests)
    newest = services.gallery.newest
    return CheckpointList(
        serving=newest.id if newest else None,
        checkpoints=[CheckpointView.of(manifest) for manifest in reversed(manifests)],
    )


@router.get("/checkpoints/{checkpoint}")
async def checkpoint(services: ServicesDep, checkpoint: str) -> CheckpointView:
    """Tell what a checkpoint is: its recipe, its losses, its files and their checksums."""
    manifest = await anyio.to_thread.run_sync(services.store.manifest, CheckpointId.parse(checkpoint))
    return CheckpointView.of(manifest)
