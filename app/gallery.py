"""The generator being served: follows the newest publication, verifies it, swaps it in. Needs no Redis, no worker."""

import asyncio
import logging
from collections import OrderedDict
from typing import NamedTuple, Protocol

import anyio
import anyio.to_thread
import torch

from models.checkpoints import GENERATOR, CheckpointDamaged, CheckpointId, CheckpointNotFound, CheckpointStore, Manifest
from models.drawing import draw_digits, prepare
from models.images import encode_png, sheet
from models.networks import Generator
from models.weights import InvalidWeights, generator_from_bytes

logger = logging.getLogger(__name__)

FOLLOW_SECONDS = 1.0


class NothingPublished(Exception):
    """No generator has been published yet."""


class Exhibit(NamedTuple):
    """A verified generator in memory. It stays whole for whoever draws from it, whatever is swapped in meanwhile."""

    manifest: Manifest
    generator: Generator

    @property
    def id(self) -> str:
        return self.manifest.id

    @property
    def checksum(self) -> str:
        """SHA-256 of the generator's file."""
        return self.manifest.files[GENERATOR].sha256


class Wanted(Protocol):
    """What a caller says of a sheet."""

    n: int
    index: int
    columns: int | None
    scale: int


class Gallery:
    """Holds the newest generator, and a few others that were asked for by id.

    Whatever is heavy runs off the event loop, one thing at a time: loading, drawing, encoding.
    """

    def __init__(self, store: CheckpointStore, device: torch.device, cached: int) -> None:
        self.store = store
        self.device = device
        self.cached = cached
        self.newest: Exhibit | None = None
        self.trouble: str | None = None
        self._others: OrderedDict[CheckpointId, Exhibit] = OrderedDict()
        self._limiter = anyio.CapacityLimiter(1)

    # ----------------------------------------------------------------------------
    # Following what is published.

    async def follow(self) -> None:
        """Look for a new publication every second, for ever."""
        while True:
            await asyncio.sleep(FOLLOW_SECONDS)
            await self.refresh()

    async def refresh(self) -> None:
        """Look once. Whatever goes wrong, what is being served stays."""
        try:
            await anyio.to_thread.run_sync(self._refresh, limiter=self._limiter)
        except Exception:
            logger.exception("looking for a new generator failed")

    def _refresh(self) -> None:
        """Serve the latest checkpoint. Where it is damaged, what is served stays, or at first the one before."""
        latest = self.store.latest()
        if latest is None or (self.newest and self.newest.manifest.checkpoint == latest):
            return
        candidates = [latest]
        if self.newest is None:
            candidates += [m.checkpoint for m in reversed(self.store.manifests()) if m.checkpoint < latest]
        trouble = None
        for checkpoint in candidates:
            try:
                self.newest = self._load(checkpoint)
            except (CheckpointDamaged, CheckpointNotFound, InvalidWeights, OSError) as error:
                trouble = trouble or str(error)
                continue
            logger.info("serving %s", checkpoint)
            break
        if trouble and trouble != self.trouble:
            logger.error("not serving %s: %s", latest, trouble)
        self.trouble = trouble

    def _load(self, checkpoint: CheckpointId) -> Exhibit:
        manifest = self.store.manifest(checkpoint)
        generator = prepare(generator_from_bytes(self.store.read(manifest, GENERATOR)), self.device)
        draw_digits(generator, label=0, n=1, seed=0)  # the first drawing is slow: let nobody wait for it
        return Exhibit(manifest, generator)

    # ----------------------------------------------------------------------------
    # Drawing.

    async def find(self, name: str) -> Exhibit:
        """Return the generator that `latest` or a checkpoint's id names.

        Raises NothingPublished, CheckpointNotFound, CheckpointDamaged or InvalidWeights.
        """
        newest = self.newest
        if name == "latest":
            if newest is None and self.trouble:
                raise NothingPublished(f"no generator can be served: {self.trouble}")
            if newest is None:
                raise NothingPublished(
                    "no generator has been published yet: start a run with POST /train and ask again after an epoch"
                )
            return newest
        checkpoint = CheckpointId.parse(name)
        if newest and newest.manifest.checkpoint == checkpoint:
            return newest
        return await anyio.to_thread.run_sync(self._recall, checkpoint, limiter=self._limiter)

    def _recall(self, checkpoint: CheckpointId) -> Exhibit:
        """Take a generator from the cache, or load it into it."""
        exhibit = self._others.pop(checkpoint, None) or self._load(checkpoint)
        self._others[checkpoint] = exhibit
        while len(self._others) > self.cached:
            self._others.popitem(last=False)
        return exhibit

    async def draw(self, exhibit: Exhibit, label: int, seed: int, wanted: Wanted) -> bytes:
        """Draw a sheet of digits, as PNG."""
        return await anyio.to_thread.run_sync(self._draw, exhibit, label, seed, wanted, limiter=self._limiter)

    def _draw(self, exhibit: Exhibit, label: int, seed: int, wanted: Wanted) -> bytes:
        digits = draw_digits(exhibit.generator, label, wanted.n, seed, wanted.index)
        return encode_png(sheet(digits, wanted.columns, wanted.scale))
