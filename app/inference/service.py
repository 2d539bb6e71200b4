"""The only module of this package that others import. It serves digits, and knows the generators that draw them."""

from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import TypeVar

import anyio.to_thread
import numpy as np
import torch
from cachetools import LRUCache

from app import metrics
from app.inference.batcher import Batcher, BufferTarget, Busy, File, NoteError, ignore
from app.inference.bounded_executor import BoundedExecutor
from app.inference.checkpoint_files import (
    CheckpointFileNotFound,
    CheckpointFiles,
    Weights,
    require_file,
    source_of,
    version_of,
)
from app.inference.dataset_models import DatasetModels
from app.inference.epoch_timeline import EpochTimeline
from app.inference.known_store import KnownStore
from app.inference.model_manager import ROLES, LoadedModel, ModelManager, NothingPublished
from app.inference.style_banks import StyleBanks
from app.inference.verified import NotVerified, Verified, draw_verified
from app.settings import AppSettings
from models.devices import processors
from models.evaluation.style_bank import Choice
from models.evaluation.verifier import Verifier, find_verifier
from models.networks.inference import FoldedGenerator
from models.registry import bundled
from models.registry.store import CheckpointStore, Manifest
from models.sampling.sampler import SampleBatch, SampleRange, Samples, fresh_seed
from worker.observability.background_loops import Supervisor

__all__ = [
    "ROLES",
    "Busy",
    "CheckpointFileNotFound",
    "InferenceService",
    "LoadedModel",
    "ModelManager",
    "NotVerified",
    "NothingPublished",
    "Weights",
    "require_file",
    "source_of",
    "version_of",
]

FILMS_WAITING = 8  # an animation takes a few hundredths of a second
SMALL = 120_000  # pixels: encoding takes half a millisecond, so it is done directly, which is faster than a thread
ENCODINGS_WAITING = 16  # for each thread: the largest sheet takes two tenths of a second

SEARCHES_WAITING = 8  # a search takes a few hundredths of a second, the first one of a data set a second

Encode = Callable[[Samples], bytes]
Found = TypeVar("Found")


class InferenceService:
    """Belongs to one event loop."""

    def __init__(
        self,
        store: CheckpointStore,
        device: torch.device,
        settings: AppSettings,
        supervisor: Supervisor,
        note_error: NoteError = ignore,
    ) -> None:
        """`note_error` is called with each error of drawing, in the thread that draws."""
        threads = settings.drawing_threads or (1 if device.type == "cuda" else processors())
        first = bundled.checkpoint() if settings.pretrained else None
        known = KnownStore(store, settings.home / "stores", settings.store_name)
        cached, limit = settings.cached_checkpoints, settings.store_limit
        self.models = ModelManager(store, device, cached, settings.stock, first, limit, known)
        self.datasets = DatasetModels(self.models)
        self.files = CheckpointFiles(self.models)
        self._drawn = LRUCache[str, bytes](settings.file_cache, len)  # by ETag
        self._batcher = Batcher(threads, settings.drawing_wait_seconds, self._target, supervisor, note_error)
        self._styles = StyleBanks(self._batcher, cached + 1)  # of the served generator and those in memory
        self._films = BoundedExecutor(FILMS_WAITING)
        self._encodings = BoundedExecutor(ENCODINGS_WAITING * threads, "large sheets", threads)
        self._searches = BoundedExecutor(SEARCHES_WAITING, "nearest training images")
        self._timeline = EpochTimeline(store, device)

    async def start(self, supervisor: Supervisor) -> None:
        """Load the generator to serve, then follow publications."""
        await self.models.refresh()
        supervisor.start_task("model following", self.models.follow)

    def let_go(self) -> None:
        """Answer the requests that would delay the shutdown, because they wait for long work."""
        self._styles.close()

    def close(self) -> None:
        self.let_go()
        self._batcher.close()

    # ----------------------------------------------------------------------------
    # Digits.

    async def draw(self, model: LoadedModel, series: SampleRange, encode: Encode) -> bytes:
        """Draw a series and return its file. Raises Busy."""
        return await self.draw_batch(model.generator, series, lambda digits: encode(Samples(series, digits)))

    async def draw_batch(
        self, generator: FoldedGenerator, batch: SampleBatch, encode: Callable[[np.ndarray], File]
    ) -> File:
        """Draw any digits, and encode them in a drawing thread. Raises Busy."""
        return await self._batcher.draw(generator, batch, encode)

    async def draw_any(
        self, model: LoadedModel, label: int, n: int, encode: Encode, work: int
    ) -> tuple[SampleRange, bytes]:
        """Return any n digits of a label: from the stock, or else drawn with a new seed. Raises Busy.

        `work` is that of encoding, in pixels.
        """
        served = self.models.served
        stock = served.stock if served and served.model is model else None
        taken = stock.take(label, n) if stock else None
        if taken is not None:
            metrics.STOCK_HITS.inc()
            self._batcher.look()
            return taken.series, await self.encode(partial(encode, taken), work)
        metrics.STOCK_MISSES.inc()
        if stock and stock.may_wait(n):
            return await self._batcher.take_or_wait(BufferTarget(model.generator, stock), label, n, encode)
        series = SampleRange(label, n, fresh_seed(), classes=len(model.manifest.class_names))
        return series, await self.draw(model, series, encode)

    async def find_verifier(self, model: LoadedModel) -> Verifier:
        """Return the judge for the training data of a generator. Raises NotVerified if there is none."""
        dataset = model.manifest.config.dataset
        verifier = await anyio.to_thread.run_sync(find_verifier, dataset, model.generator.device)
        if verifier is None:
            raise NotVerified(f"this package has no judge for {dataset}: omit verify")
        return verifier

    async def draw_verified(
        self, model: LoadedModel, verifier: Verifier, series: SampleRange, least: float
    ) -> Verified:
        """Draw digits of a seed whose label has at least the probability `least`. Raises Busy, NotVerified."""
        return await draw_verified(self._batcher, model, verifier, series, least)

    # ----------------------------------------------------------------------------
    # Numbers.

    async def style_version(self, model: LoadedModel) -> str:
        """Return all that determines the choice of digits by style apart from the generator."""
        return await self._styles.version(model)

    async def choose_digits(self, model: LoadedModel, labels: Sequence[int], seed: int, index: int) -> Choice:
        """Choose a digit for each label, all in the style of (seed, index). Raises StyleBankNotReady."""
        return (await self._styles.get(model)).choose(labels, seed, index)

    async def encode(self, encode: Callable[[], bytes], work: int) -> bytes:
        """Encode digits that are in memory; `work` is a number of pixels. Raises Busy."""
        return encode() if work <= SMALL else await self._encodings.make(encode)

    async def cached(self, tag: str | None, make: Callable[[], Awaitable[bytes]]) -> bytes:
        """Return the file with this ETag from memory, or the result of `make`."""
        file = None if tag is None else self._drawn.get(tag)
        if file is None:
            file = await make()
            if tag is not None and len(file) <= self._drawn.maxsize:
                self._drawn[tag] = file
        return file

    # ----------------------------------------------------------------------------
    # Animations, and the epochs of a run.

    async def render(self, work: Callable[[], bytes]) -> bytes:
        """Encode an animation in a thread of its own, one at a time. Raises Busy."""
        return await self._films.make(work)

    async def epochs(self, job: str, most: int) -> list[Manifest]:
        """Return at most `most` of a run's checkpoints. Raises CheckpointNotFound, CheckpointDamaged."""
        return await self._timeline.epochs(job, most)

    async def draw_epochs(self, epochs: Sequence[Manifest], label: int, seed: int, index: int) -> np.ndarray:
        """Draw one image with each epoch: uint8 (epochs, 28, 28). Raises Busy, CheckpointDamaged."""
        return await self._timeline.draw(epochs, label, seed, index)

    async def search(self, work: Callable[[], Found]) -> Found:
        """Search training images in a thread of its own, one search at a time. Raises Busy, and any error of `work`."""
        return await self._searches.make(work)

    # ----------------------------------------------------------------------------
    # Metrics.

    @property
    def pending(self) -> int:
        """Requested digits that wait to be drawn."""
        return self._batcher.pending

    def stock_level(self, label: int) -> int:
        """The number of pre-generated digits."""
        served = self.models.served
        return served.stock.level(label) if served else 0

    def _target(self) -> BufferTarget | None:
        served = self.models.served
        return BufferTarget(served.model.generator, served.stock) if served else None
