"""The files of checkpoints, verified before they are sent, and their conversions to formats of other programs."""

import asyncio
import hashlib
from functools import cache
from importlib.metadata import version
from typing import Literal, NamedTuple

import anyio
import anyio.to_thread
from cachetools import LRUCache

from app.inference.batcher import Busy
from app.inference.model_manager import ROLES, ModelManager
from models.errors import NotFound
from models.interop.exports import convert
from models.interop.formats import FORMATS, Form, Network, check_libraries
from models.registry.store import AVERAGE, DISCRIMINATOR, GENERATOR, CheckpointDamaged, CheckpointId, Manifest
from models.version import code_version

Weights = Literal["average", "trained"]

VERIFIED_AT_ONCE = 2  # files, each read completely into memory
MOST_CONVERSIONS = 4  # the one that runs and those that wait
CONVERSION_SECONDS = 6  # of the slowest format
KEPT_BYTES = 64_000_000  # of converted files


class CheckpointFileNotFound(NotFound, code="checkpoint-file-not-found"):
    """The checkpoint has no such file."""


class Converted(NamedTuple):
    data: bytes
    sha256: str


class CheckpointFiles:
    """Belongs to one event loop."""

    def __init__(self, models: ModelManager) -> None:
        self.models = models
        self._verifying = anyio.CapacityLimiter(VERIFIED_AT_ONCE)
        self._converted = LRUCache[str, Converted](KEPT_BYTES, lambda converted: len(converted.data))  # by version
        self._converting = asyncio.Lock()
        self._asked = 0

    async def find(self, name: str) -> Manifest:
        """Return the manifest of `latest`, `best` or a checkpoint's id.

        Raises NothingPublished, NothingUsable, CheckpointNotFound, CheckpointDamaged, OSError.
        """
        if name in ROLES:
            return (await self.models.find(name)).manifest
        return await anyio.to_thread.run_sync(self.models.manifest, CheckpointId.parse(name))

    async def verify(self, manifest: Manifest, file: str) -> None:
        """Compare the size and SHA-256 of a file. If they differ, `trouble` says so for a minute.

        Raises CheckpointFileNotFound, CheckpointNotFound, CheckpointDamaged, OSError.
        """
        await self._read(manifest, file)

    async def _read(self, manifest: Manifest, file: str) -> bytes:
        require_file(manifest, file)
        read = self.models.store_of(manifest.checkpoint).read
        try:
            return await anyio.to_thread.run_sync(read, manifest, file, limiter=self._verifying)
        except (CheckpointDamaged, OSError) as error:
            self.models.loads.report(manifest.checkpoint, error)
            raise

    # ----------------------------------------------------------------------------
    # Conversions: one at a time, and none twice as long as it is kept.

    async def convert(self, manifest: Manifest, file: str, network: Network, form: Form) -> Converted:
        """Convert the weights in `file`.

        Raises Busy if too many requests wait, and the errors of models.interop.exports.convert and of `verify`.
        """
        tag = version_of(manifest, file, form)
        found = self._converted.get(tag)
        if found is not None:
            return found
        if self._asked >= MOST_CONVERSIONS:
            raise busy(self._asked)
        self._asked += 1
        try:
            async with self._converting:
                found = self._converted.get(tag)
                if found is None:
                    found = await self._convert(manifest, file, network, form)
                    if len(found.data) <= KEPT_BYTES:
                        self._converted[tag] = found
                return found
        finally:
            self._asked -= 1

    async def _convert(self, manifest: Manifest, file: str, network: Network, form: Form) -> Converted:
        stored = await self._read(manifest, file)
        classes = len(manifest.class_names)
        data = await anyio.to_thread.run_sync(convert, stored, network, form, manifest.id, classes)
        return Converted(data, hashlib.sha256(data).hexdigest())


def busy(asked: int) -> Busy:
    error = Busy(f"the service converts other checkpoints: {asked} conversions run or wait: retry later")
    error.retry_after = CONVERSION_SECONDS
    return error


def require_file(manifest: Manifest, file: str) -> None:
    """Raises CheckpointFileNotFound if the manifest does not list the file."""
    if file not in manifest.files:
        raise CheckpointFileNotFound(f"checkpoint {manifest.id} has no file {file[:80]!r}", checkpoint=manifest.id)


def source_of(manifest: Manifest, network: Network, weights: Weights | None) -> str:
    """Return the file of a network: by default that of the generator that is served.

    `weights` selects the trained or the averaged weights. Raises CheckpointFileNotFound.
    """
    named = {None: manifest.draws, "average": AVERAGE, "trained": GENERATOR}[weights]
    file = named if network == "generator" else DISCRIMINATOR
    if network == "discriminator" and weights == "average":
        raise CheckpointFileNotFound("only generators have averaged weights", checkpoint=manifest.id)
    require_file(manifest, file)
    return file


def version_of(manifest: Manifest, file: str, form: Form) -> str:
    """Return a text that differs whenever the converted bytes may differ. Raises ExtraMissing."""
    check_libraries(form)
    return " ".join([manifest.id, manifest.files[file].sha256, form, code_version(), *libraries_of(form)])


@cache
def libraries_of(form: Form) -> list[str]:
    return [f"{library}={version(library)}" for library in ("torch", *FORMATS[form].libraries)]
