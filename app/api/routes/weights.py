"""Routes of the files of checkpoints: as they are stored, and converted to formats of other programs."""

import hashlib
from functools import partial
from typing import Annotated

import anyio.to_thread
from fastapi import APIRouter, Path, Query, Response
from fastapi.responses import StreamingResponse

from app.api.dependencies import ServicesDep
from app.api.downloads import ConditionsDep, Content, deliver, described, of_bytes
from app.api.guarded_route import GuardedRoute
from app.inference.service import ROLES, CheckpointFileNotFound, Weights, require_file, source_of, version_of
from app.problems.conditional import FOR_EVER, not_modified, validators
from models.interop.formats import EXPORTS, FORMATS, HDF5
from models.registry.storage.reading import read_bytes
from models.registry.store import GENERATOR, MANIFEST, CheckpointDamaged, CheckpointStore, Manifest

router = APIRouter(tags=["checkpoints"], route_class=GuardedRoute)

MEDIA_TYPES = {".json": "application/json", ".png": "image/png"}
BINARY = "application/octet-stream"
STORED = (BINARY, "image/png", "application/json")
HEADERS = ("Content-Disposition", "X-Checkpoint")


@router.get(
    "/checkpoints/{checkpoint}/{file}",
    response_class=StreamingResponse,
    responses=described("The file, as it is stored.", STORED, Manifest, HEADERS),
)
async def download_checkpoint_file(
    services: ServicesDep,
    checkpoint: str,
    file: Annotated[str, Path(examples=[GENERATOR])],
    asked: ConditionsDep,
) -> Response:
    """Download a file of a checkpoint: its manifest, or a file that the manifest lists.

    The `ETag` is the file's SHA-256. With `Range` an interrupted download can be resumed.
    """
    files = services.inference.files
    manifest = await files.find(checkpoint)
    cache_control = "no-cache" if checkpoint in ROLES else FOR_EVER
    store = services.inference.models.store_of(manifest.checkpoint)
    if file == MANIFEST:
        content = await anyio.to_thread.run_sync(manifest_of, store, manifest, cache_control)
        return await deliver(content, asked)
    content = content_of(store, manifest, file, cache_control)
    return await deliver(content, asked, partial(files.verify, manifest, file))


def content_of(store: CheckpointStore, manifest: Manifest, file: str, cache_control: str) -> Content:
    """Describe a file that the manifest lists. Raises CheckpointFileNotFound."""
    require_file(manifest, file)
    size, sha256 = manifest.files[file].size, manifest.files[file].sha256
    return Content(
        f"{file} of {manifest.id}",
        size,
        sha256,
        partial(store.read_part, manifest, file),
        MEDIA_TYPES.get(f".{file.rpartition('.')[2]}", BINARY),
        headers_of(manifest, file, f'"{sha256}"', cache_control),
        fault=CheckpointDamaged,
        being_read=partial(store.reading, manifest.checkpoint.folder),
    )


def manifest_of(store: CheckpointStore, manifest: Manifest, cache_control: str) -> Content:
    data = read_bytes(store.storage, f"{manifest.checkpoint.folder}/{MANIFEST}")
    sha256 = hashlib.sha256(data).hexdigest()
    headers = headers_of(manifest, MANIFEST, f'"{sha256}"', cache_control)
    return of_bytes(MANIFEST, data, sha256, MEDIA_TYPES[".json"], headers)


def headers_of(manifest: Manifest, file: str, tag: str, cache_control: str) -> dict[str, str]:
    return {
        "ETag": tag,
        "Cache-Control": cache_control,
        "Content-Disposition": f'attachment; filename="{manifest.id}-{file}"',
        "X-Checkpoint": manifest.id,
    }


@router.get(
    "/checkpoints/{checkpoint}/exports/{file}",
    response_class=StreamingResponse,
    responses=described("The converted network.", (BINARY, HDF5), headers=HEADERS),
)
async def export_checkpoint(
    services: ServicesDep,
    checkpoint: str,
    file: Annotated[str, Path(description=f"One of {', '.join(EXPORTS)}.", examples=["generator.hdf5"])],
    asked: ConditionsDep,
    weights: Annotated[
        Weights | None,
        Query(description="The trained or the averaged weights of the generator; by default those that are served."),
    ] = None,
) -> Response:
    """Download a network for ONNX (`generator.onnx`), for Keras 2 (`.hdf5`) or for Keras 3 (`.weights.h5`).

    The file is converted when it is first requested. The same checkpoint and versions give the same bytes.
    """
    files = services.inference.files
    manifest = await files.find(checkpoint)
    if file not in EXPORTS:
        found = f"checkpoint {manifest.id} is not exported as {file[:80]!r}: there are {', '.join(EXPORTS)}"
        raise CheckpointFileNotFound(found, checkpoint=manifest.id)
    network, form = EXPORTS[file]
    source = source_of(manifest, network, weights)
    tag = validators(version_of(manifest, source, form).encode())["ETag"]
    headers = headers_of(manifest, file, tag, "no-cache")
    if unchanged := not_modified(headers, asked.if_none_match):
        return unchanged
    converted = await files.convert(manifest, source, network, form)
    return await deliver(of_bytes(file, *converted, FORMATS[form].media_type, headers), asked)
