"""The generator being served: follows what is published, verifies it, swaps it in. Needs no Redis, no worker."""

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from threading import Lock
from typing import NamedTuple

import anyio
import anyio.to_thread
import torch

from app import metrics
from app.serving.budget import Budget
from app.serving.loads import Loads
from app.serving.stock import Stock
from app.serving.target import TargetFinder
from models import bundled
from models.checkpoints import (
    CheckpointDamaged,
    CheckpointId,
    CheckpointNotFound,
    CheckpointStore,
    Manifest,
    NotServable,
    Unusable,
)
from models.drawing import prepare
from models.folding import FoldedGenerator
from models.serving import Choice, write_choice
from models.storage.reading import Unreadable
from models.storage.shelf import StoreReplaced, Unreachable
from models.weights import InvalidWeights, generator_from_bytes

logger = logging.getLogger(__name__)

ROLES = ("latest", "best")  # what is served, and the best there is; any other generator is named by its id
FOLLOW_SECONDS = 1.0
MOST_HANGING = 2  # candidates that do not answer, before a start gives up
AWAY = "the store does not answer"


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
    """Holds the generator being served, and a few others that were asked for by id.

    Following what is published has a thread of its own, and so has each load: a file that hangs delays no other.
    """

    def __init__(
        self,
        store: CheckpointStore,
        device: torch.device,
        cached: int = 4,
        stock: int = 0,
        first: CheckpointId | None = None,
        store_limit: int | None = None,
    ) -> None:
        """`first` is a generator of the package's, to be served until something is published.

        `store_limit` is the budget of the store in bytes; None for no limit.
        """
        self.budget = Budget(store, store_limit)
        self.store = store
        self.first = first
        self.device = device
        self.cached = cached
        self.stock_limit = stock
        self.served: Served | None = None
        self.target = TargetFinder(store, first)
        self.loads: Loads[CheckpointId, Exhibit] = Loads(self._recall)
        self._trouble: str | None = None
        self._others: OrderedDict[CheckpointId, Exhibit] = OrderedDict()
        self._lock = Lock()
        self._limiter = anyio.CapacityLimiter(1)

    @property
    def serving(self) -> str | None:
        """The id of the checkpoint being served."""
        return self.served.exhibit.id if self.served else None

    @property
    def trouble(self) -> str | None:
        """Everything that is not as it should be with what is served, and with loads that failed lately."""
        following = [self._trouble] if self._trouble else []
        return "; ".join(following + self.loads.problems()) or None

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
        except (Unreadable, StoreReplaced) as error:
            self._report(str(error))
        except Unreachable as error:
            self._report(AWAY, f": {error}")
        except Exception as error:
            if self._report(f"looking for a new generator failed: {type(error).__name__}: {error}"):
                logger.exception("looking for a new generator failed")

    def _report(self, trouble: str | None, details: str = "") -> bool:
        """Set the trouble; log it once. Returns whether it is new."""
        is_new = trouble != self._trouble
        if is_new and trouble:
            logger.error("%s%s", trouble, details)
        self._trouble = trouble
        return is_new

    def _refresh(self) -> None:
        """Serve what is chosen; the newest, where that is gone.

        Where it is damaged, what is served stays, or at first the one before.
        """
        served = self.served
        wanted, problems = self.target.find(served.exhibit.manifest if served else None)
        if wanted is not None and not (served and served.exhibit.manifest.checkpoint == wanted):
            exhibit = self._first_good([wanted] if served else self._candidates(wanted), problems)
            if exhibit is not None:
                self.served = Served(exhibit, Stock(self.stock_limit, served.stock if served else None))
                logger.info("serving %s", exhibit.id)
        self._report("; ".join(problems + self.budget.problems()) or None)

    def _candidates(self, wanted: CheckpointId) -> Iterator[CheckpointId]:
        """What to try at the start: what is wanted, then the newest that may be served, then the package's own."""
        yield wanted
        for manifest in reversed(self.store.manifests()):
            if manifest.refused is None and manifest.checkpoint != wanted:
                yield manifest.checkpoint
        if self.first:
            yield self.first

    def _first_good(self, candidates: Iterable[CheckpointId], problems: list[str]) -> Exhibit | None:
        """Load the first candidate that can be; `problems` gets the reason why not the first one."""
        exhibit, hanging = None, 0
        reasons: list[str] = []
        for checkpoint in candidates:
            try:
                exhibit = self._recall(checkpoint)
                break
            except (CheckpointDamaged, CheckpointNotFound, InvalidWeights, NotServable, OSError) as error:
                reasons.append(f"not serving {checkpoint}: {error}")
                hanging += isinstance(error, Unreachable) and not isinstance(error, Unreadable)
                if hanging == MOST_HANGING:
                    break
        problems += reasons[:1]
        return exhibit

    async def choose(self, choice: Choice) -> None:
        """Serve something else from now on, here and in every process over the same store.

        Raises CheckpointNotFound, CheckpointDamaged, InvalidWeights or NotServable where what is pinned cannot be, and
        OSError.
        """
        if choice.checkpoint:
            await self.find(choice.checkpoint)
        in_package = self.first is not None and choice.checkpoint == str(self.first)
        await anyio.to_thread.run_sync(write_choice, self.store, choice, not in_package)
        await self.refresh()

    async def choice(self) -> Choice:
        """What was chosen; if that cannot be read, the choice that is in force."""
        return await anyio.to_thread.run_sync(self.target.read_choice, [])

    # ----------------------------------------------------------------------------
    # Finding generators.

    async def find(self, name: str) -> Exhibit:
        """Return the generator that `latest`, `best` or a checkpoint's id names.

        Raises NothingPublished, CheckpointNotFound, CheckpointDamaged, InvalidWeights, NotServable or OSError.
        """
        served = self._served() if name in ROLES else self.served
        checkpoint = self.target.best if name in ROLES else CheckpointId.parse(name)
        if served and (name == "latest" or served.exhibit.manifest.checkpoint == checkpoint):
            return served.exhibit
        if checkpoint is None:  # nothing is published: the best there is is what is served
            return self._served().exhibit
        return await self.loads.get(checkpoint)

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
        with self._lock:
            exhibit = self._others.get(checkpoint)
        if exhibit is None:
            with counted():
                exhibit = self._load(checkpoint)
        with self._lock:
            self._others[checkpoint] = exhibit
            self._others.move_to_end(checkpoint)
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

    def forget(self, job: str, epoch: int | None = None) -> None:
        """Drop the generator of a checkpoint that was deleted, or those of all of a job's."""
        with self._lock:
            for checkpoint in [each for each in self._others if each.job == job and epoch in (None, each.epoch)]:
                del self._others[checkpoint]

    def manifest(self, checkpoint: CheckpointId) -> Manifest:
        """Raises CheckpointNotFound or CheckpointDamaged."""
        return self._store_of(checkpoint).manifest(checkpoint)

    def survey(self) -> tuple[list[Manifest], list[Unusable]]:
        """Every checkpoint that can be asked for, oldest first, the package's own as the oldest; and the others."""
        with_first = [bundled.STORE.manifest(self.first)] if self.first else []
        usable, others = self.store.survey()
        return with_first + usable, others


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
