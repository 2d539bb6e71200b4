"""The generator being served: follows what is published, verifies it, swaps it in. Needs no Redis, no worker."""

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

import anyio
import anyio.to_thread
import torch

from app import metrics
from app.serving.stock import Stock
from models import bundled
from models.checkpoints import (
    CheckpointDamaged,
    CheckpointId,
    CheckpointNotFound,
    CheckpointStore,
    Manifest,
    NotServable,
)
from models.drawing import prepare
from models.folding import FoldedGenerator
from models.serving import Choice, best, pinned, read_choice, write_choice
from models.storage.shelf import Unreachable
from models.weights import InvalidWeights, generator_from_bytes

logger = logging.getLogger(__name__)

ROLES = ("latest", "best")  # what is served, and the best there is; any other generator is named by its id
FOLLOW_SECONDS = 1.0
AWAY = "object storage does not answer, or cannot just now"


class NothingPublished(Exception):
    """No generator has been published yet."""


class Exhibit(NamedTuple):
    """A verified generator in memory. It stays whole for whoever draws from it, whatever is swapped in meanwhile."""

    manifest: Manifest
    generator: FoldedGenerator

    @property
    def id(self) -> str:
        return self.manifest.id

    @property
    def checksum(self) -> str:
        """SHA-256 of the generator's file."""
        return self.manifest.files[self.manifest.draws].sha256


class Served(NamedTuple):
    """What `latest` names, with digits of it in stock: swapped as one, for no digits may go by another's name."""

    exhibit: Exhibit
    stock: Stock


class Gallery:
    """Holds the generator being served, and a few others that were asked for by id. Loading has a thread of its own."""

    def __init__(
        self,
        store: CheckpointStore,
        device: torch.device,
        cached: int = 4,
        stock: int = 0,
        first: CheckpointId | None = None,
    ) -> None:
        """`first` is a generator of the package's, to be served until something is published."""
        self.store = store
        self.first = first
        self.device = device
        self.cached = cached
        self.stock_limit = stock
        self.served: Served | None = None
        self.trouble: str | None = None
        self._others: OrderedDict[CheckpointId, Exhibit] = OrderedDict()
        self._latest: CheckpointId | None = None
        self._best: CheckpointId | None = None
        self._limiter = anyio.CapacityLimiter(1)

    @property
    def serving(self) -> str | None:
        """The id of the checkpoint being served."""
        return self.served.exhibit.id if self.served else None

    # ----------------------------------------------------------------------------
    # Following what is published and chosen.

    async def follow(self, beat: Callable[[], None] = lambda: None) -> None:
        """Check for a new publication every second, for ever. Calls `beat` after each check."""
        while True:
            await asyncio.sleep(FOLLOW_SECONDS)
            await self.refresh()
            beat()

    async def refresh(self) -> None:
        """Look once. Whatever goes wrong, what is being served stays."""
        try:
            await anyio.to_thread.run_sync(self._refresh, limiter=self._limiter)
        except Unreachable as error:
            if self.trouble != AWAY:
                logger.error("%s: %s", AWAY, error)
            self.trouble = AWAY
        except Exception:
            logger.exception("looking for a new generator failed")

    def _refresh(self) -> None:
        """Serve what is chosen; the newest, where that is gone.

        Where it is damaged, what is served stays, or at first the one before.
        """
        latest, served = self.store.latest(), self.served
        if latest != self._latest:
            self._best, self._latest = best(self.store), latest
        choice = read_choice(self.store)
        wanted = (self._best if choice.policy == "best" else self._pinned(choice)) or latest or self.first
        if wanted is None:
            return
        if served and served.exhibit.manifest.checkpoint == wanted:
            self.trouble = None
            return
        candidates = [wanted]
        if served is None:
            earlier = [each for each in reversed(self.store.manifests()) if each.checkpoint < wanted]
            candidates += [each.checkpoint for each in earlier if each.refused is None]
            candidates += [self.first] if self.first else []
        trouble = None
        for checkpoint in candidates:
            try:
                exhibit = self._recall(checkpoint)
            except (CheckpointDamaged, CheckpointNotFound, InvalidWeights, NotServable, OSError) as error:
                trouble = trouble or str(error)
                continue
            self.served = Served(exhibit, Stock(self.stock_limit, served.stock if served else None))
            logger.info("serving %s", checkpoint)
            break
        if trouble and trouble != self.trouble:
            logger.error("not serving %s: %s", wanted, trouble)
        self.trouble = trouble

    async def choose(self, choice: Choice) -> None:
        """Serve something else from now on, here and in every process over the same store.

        Raises CheckpointNotFound, CheckpointDamaged, InvalidWeights or NotServable where what is pinned cannot be, and
        OSError.
        """
        if choice.checkpoint:
            await self.find(choice.checkpoint)
        await anyio.to_thread.run_sync(write_choice, self.store, choice)
        await self.refresh()

    async def choice(self) -> Choice:
        return await anyio.to_thread.run_sync(read_choice, self.store)

    # ----------------------------------------------------------------------------
    # Finding generators.

    async def find(self, name: str) -> Exhibit:
        """Return the generator that `latest`, `best` or a checkpoint's id names.

        Raises NothingPublished, CheckpointNotFound, CheckpointDamaged, InvalidWeights or NotServable.
        """
        served = self._served() if name in ROLES else self.served
        checkpoint = self._best if name in ROLES else CheckpointId.parse(name)
        if served and (name == "latest" or served.exhibit.manifest.checkpoint == checkpoint):
            return served.exhibit
        if checkpoint is None:  # nothing is published: the best there is is what is served
            return self._served().exhibit
        return await anyio.to_thread.run_sync(self._recall, checkpoint, limiter=self._limiter)

    def _served(self) -> Served:
        if self.served is None and self.trouble:
            raise NothingPublished(f"no generator can be served: {self.trouble}")
        if self.served is None:
            raise NothingPublished(
                "no generator has been published yet: start a run with POST /train and ask again after an epoch"
            )
        return self.served

    def _recall(self, checkpoint: CheckpointId) -> Exhibit:
        """Take a generator from the cache, or load it into it."""
        exhibit = self._others.pop(checkpoint, None)
        if exhibit is None:
            with counted():
                exhibit = self._load(checkpoint)
        self._others[checkpoint] = exhibit
        while len(self._others) > self.cached:
            self._others.popitem(last=False)
        return exhibit

    def _load(self, checkpoint: CheckpointId) -> Exhibit:
        torch.set_num_threads(1)  # the drawing threads keep theirs
        store = self._store_of(checkpoint)
        manifest = store.manifest(checkpoint)
        if manifest.refused is not None:
            raise NotServable(f"{checkpoint} is not served: {manifest.refused}")
        generator = generator_from_bytes(store.read(manifest, manifest.draws))
        return Exhibit(manifest, prepare(generator, self.device))

    def _store_of(self, checkpoint: CheckpointId) -> CheckpointStore:
        return bundled.STORE if checkpoint == self.first else self.store

    def _pinned(self, choice: Choice) -> CheckpointId | None:
        if self.first and choice.policy == "pinned" and choice.checkpoint == str(self.first):
            return self.first
        return pinned(self.store, choice)

    def manifest(self, checkpoint: CheckpointId) -> Manifest:
        """Raises CheckpointNotFound or CheckpointDamaged."""
        return self._store_of(checkpoint).manifest(checkpoint)

    def manifests(self) -> list[Manifest]:
        """Every checkpoint that can be asked for, oldest first; the package's own is the oldest."""
        with_first = [bundled.STORE.manifest(self.first)] if self.first else []
        return with_first + self.store.manifests()


OUTCOMES: dict[type[Exception], str] = {
    CheckpointDamaged: "damaged",
    CheckpointNotFound: "missing",
    InvalidWeights: "invalid",
    NotServable: "refused",
    OSError: "unreadable",
}


@contextmanager
def counted() -> Iterator[None]:
    """Count the outcome of a load."""
    try:
        yield
    except tuple(OUTCOMES) as error:
        metrics.LOADS[next(OUTCOMES[kind] for kind in type(error).__mro__ if kind in OUTCOMES)].inc()
        raise
    metrics.LOADS["ok"].inc()
