"""The generator being served: follows publications, verifies and loads them. Needs no Redis and no worker."""

import asyncio
import logging
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from threading import Lock
from typing import NamedTuple

import anyio
import anyio.to_thread
import torch
from cachetools import LRUCache

from app import metrics
from app.inference.known_store import KnownStore
from app.inference.loads import Loads
from app.inference.sample_buffer import SampleBuffer
from app.inference.serving_target import TargetFinder, require_digits
from app.inference.store_budget import Budget
from models.data.catalog import DEFAULT, DIGITS
from models.errors import AcganError, Unavailable
from models.networks.inference import FoldedGenerator
from models.networks.weights import InvalidWeights, generator_from_bytes
from models.registry import bundled
from models.registry.serving_policy import Expected, ServingPolicy, none_passed, write_choice
from models.registry.storage.base import StoreReplaced, Unreachable
from models.registry.storage.reading import Unreadable
from models.registry.store import (
    CheckpointDamaged,
    CheckpointId,
    CheckpointNotFound,
    CheckpointStore,
    Manifest,
    NotServable,
    Unusable,
)
from models.sampling.sampler import prepare

logger = logging.getLogger(__name__)

ROLES = ("latest", "best")  # the served and the best generator; requests name any other one by its id
FOLLOW_SECONDS = 1.0
MOST_HANGING = 2  # candidates that may fail because the store does not respond, before the start gives up
AWAY = "the store does not answer"


class NothingPublished(Unavailable, code="nothing-published"):
    """No generator has been published yet."""


class NothingUsable(Unavailable, code="nothing-usable"):
    """No published generator can be loaded. The message gives the reason."""


class LoadedModel(NamedTuple):
    """A verified generator in memory.

    It is immutable: a request can use it while another generator becomes the served one.
    """

    manifest: Manifest
    generator: FoldedGenerator

    @property
    def id(self) -> str:
        return self.manifest.id

    @property
    def checksum(self) -> str:
        """SHA-256 of the generator's file."""
        return self.manifest.files[self.manifest.draws].sha256


class ActiveModel(NamedTuple):
    """The generator that `latest` refers to and its stock. Replaced together, so that digits match the checkpoint."""

    model: LoadedModel
    stock: SampleBuffer


class ModelManager:
    """Holds the generator being served, and a few others that were requested by id.

    Following publications and each load run in separate threads, so a file that hangs does not delay other loads.
    """

    def __init__(
        self,
        store: CheckpointStore,
        device: torch.device,
        cached: int = 4,
        stock: int = 0,
        first: CheckpointId | None = None,
        store_limit: int | None = None,
        known: KnownStore | None = None,
    ) -> None:
        """`first` is the bundled checkpoint, which is served until one is published.

        `store_limit` is the budget of the store in bytes; None for no limit. `known` says whether the store existed
        before this start.
        """
        self.budget = Budget(store, store_limit)
        self.store = store
        self.first = first
        self.device = device
        self.stock_limit = stock
        self.served: ActiveModel | None = None
        self.target = TargetFinder(known or KnownStore(store), first)
        self.loads: Loads[CheckpointId, LoadedModel] = Loads(self._recall)
        self._trouble: str | None = None
        self._others = LRUCache[CheckpointId, LoadedModel](cached)
        self._lock = Lock()
        self._limiter = anyio.CapacityLimiter(1)

    @property
    def serving(self) -> str | None:
        """The id of the checkpoint being served."""
        return self.served.model.id if self.served else None

    @property
    def trouble(self) -> str | None:
        """The problems of the served generator, and of loads that failed in the last minute."""
        following = [self._trouble] if self._trouble else []
        return "; ".join(following + self.loads.problems()) or None

    # ----------------------------------------------------------------------------
    # Following publications and the serving policy.

    async def follow(self, beat: Callable[[], None] = lambda: None) -> None:
        """Check for a new publication every second, for ever. Calls `beat` after each check."""
        while True:
            await asyncio.sleep(FOLLOW_SECONDS)
            await self.refresh()
            beat()

    async def refresh(self) -> None:
        """Check once for a new publication. If the check fails, the current generator stays."""
        try:
            await anyio.to_thread.run_sync(self._refresh, limiter=self._limiter)
        except (Unreadable, StoreReplaced) as error:
            self._report(str(error))
        except Unreachable as error:
            self._report(AWAY, f": {error}")
        except Exception as error:
            if self._report(f"the check for a new generator failed: {type(error).__name__}: {error}"):
                logger.exception("the check for a new generator failed")

    def _report(self, trouble: str | None, details: str = "") -> bool:
        """Set the trouble and log it once. Returns whether it is new."""
        is_new = trouble != self._trouble
        if is_new and trouble:
            logger.error("%s%s", trouble, details)
        self._trouble = trouble
        return is_new

    def _refresh(self) -> None:
        """Serve the checkpoint that the policy selects, or the newest if that is missing.

        If it is damaged, the current generator stays; at the start, an older checkpoint is served.
        """
        served = self.served.model.manifest if self.served else None
        try:
            wanted, problems = self.target.find(served)
        except Unreachable:
            if self.first and served is None:
                self._serve(self._recall(self.first))
            raise
        if wanted is not None and not (served and served.checkpoint == wanted):
            is_start = served is None or served.checkpoint == self.first
            model = self._first_good(self._candidates(wanted) if is_start else [wanted], problems)
            if model is not None and not (served and model.manifest.checkpoint == served.checkpoint):
                self._serve(model)
        self._drop_deleted()
        self._report("; ".join(problems + self.budget.problems()) or None)

    def _serve(self, model: LoadedModel) -> None:
        self.served = ActiveModel(model, SampleBuffer(self.stock_limit, self.served.stock if self.served else None))
        logger.info("serving %s", model.id)

    def _candidates(self, wanted: CheckpointId) -> Iterator[CheckpointId]:
        """Yield the candidates at the start, which draw digits: the wanted one, then those of the same data set and of
        others, each from the newest, then the bundled one."""
        yield wanted
        others = [each for each in reversed(self.store.manifests()) if each.class_names == DIGITS]
        for manifest in sorted(others, key=lambda each: each.dataset_name != self.target.dataset):
            if manifest.refused is None and manifest.checkpoint != wanted:
                yield manifest.checkpoint
        if self.first:
            yield self.first

    def _first_good(self, candidates: Iterable[CheckpointId], problems: list[str]) -> LoadedModel | None:
        """Load the first usable candidate. If the first one fails, append the reason to `problems`."""
        model, hanging = None, 0
        reasons: list[str] = []
        for checkpoint in candidates:
            try:
                found = self._recall(checkpoint)
                require_digits(found.manifest)
                model = found
                break
            except (AcganError, OSError) as error:
                reasons.append(f"not serving {checkpoint}: {error}")
                hanging += isinstance(error, Unreachable) and not isinstance(error, Unreadable)
                if hanging == MOST_HANGING:
                    break
        problems += reasons[:1]
        return model

    async def choose(self, choice: ServingPolicy, expected: Expected | None = None) -> None:
        """Change the serving policy in every process that uses the store.

        Raises PolicyChanged if `expected` is false for the stored policy, and OSError. Raises CheckpointNotFound,
        CheckpointDamaged, InvalidWeights or NotServable if the pinned checkpoint cannot be served, CheckpointNotFound
        if the data set has no checkpoint to serve, and NotDigits if either draws other classes.
        """
        if choice.checkpoint:
            await self.find_digits(choice.checkpoint)
        elif choice.dataset:
            await anyio.to_thread.run_sync(self._check_dataset, choice.dataset)
        in_package = self.first is not None and choice.checkpoint == str(self.first)
        await anyio.to_thread.run_sync(write_choice, self.store, choice, not in_package, expected)
        await self.refresh()

    def _check_dataset(self, dataset: str) -> None:
        """Raises CheckpointNotFound if a data set has no checkpoint to serve, NotDigits if it is not one of digits."""
        found = [each for each in self.store.manifests() if each.dataset_name == dataset]
        servable = [each for each in found if each.refused is None]
        if servable:
            require_digits(servable[-1])
        elif not (dataset == DEFAULT and self.first):
            why = f": {none_passed(found)}" if found else ""
            raise CheckpointNotFound(f"no checkpoint that was trained on {dataset} may be served yet{why}")

    async def choice(self) -> ServingPolicy:
        """Return the stored serving policy; if it cannot be read, the one in effect."""
        return await anyio.to_thread.run_sync(self.target.read_choice, [])

    # ----------------------------------------------------------------------------
    # Finding generators.

    async def find(self, name: str) -> LoadedModel:
        """Return the generator for `latest`, `best` or a checkpoint's id.

        Raises NothingPublished, NothingUsable, CheckpointNotFound, CheckpointDamaged, InvalidWeights, NotServable or
        OSError.
        """
        served = self._served() if name in ROLES else self.served
        checkpoint = self.target.best if name in ROLES else CheckpointId.parse(name)
        if served and (name == "latest" or served.model.manifest.checkpoint == checkpoint):
            return served.model
        if checkpoint is None:  # nothing is published: `best` is the served generator
            return self._served().model
        return await self.loads.get(checkpoint)

    async def find_digits(self, name: str) -> LoadedModel:
        """Return the generator as `find` does. Raises its errors, and NotDigits if it draws other classes."""
        model = await self.find(name)
        require_digits(model.manifest)
        return model

    def _served(self) -> ActiveModel:
        if self.served is None and self.trouble:
            raise NothingUsable(f"no generator can be served: {self.trouble}")
        if self.served is None:
            raise NothingPublished("no generator has been published yet")
        return self.served

    def _recall(self, checkpoint: CheckpointId) -> LoadedModel:
        """Return a generator from the cache; load it first if necessary."""
        with self._lock:
            model = self._others.get(checkpoint)
        if model is None:
            with counted():
                model = self._load(checkpoint)
        with self._lock:
            self._others[checkpoint] = model
        return model

    def _load(self, checkpoint: CheckpointId) -> LoadedModel:
        torch.set_num_threads(1)  # the drawing threads keep theirs
        store = self.store_of(checkpoint)
        manifest = store.manifest(checkpoint)
        if manifest.refused is not None:
            raise NotServable(f"{checkpoint} is not served: {manifest.refused}")
        generator = generator_from_bytes(store.read(manifest, manifest.draws))
        if generator.classes != (classes := len(manifest.class_names)):
            raise InvalidWeights(
                f"{manifest.draws} of {checkpoint} has {generator.classes} classes, its training data {classes}"
            )
        return LoadedModel(manifest, prepare(generator, self.device))

    def store_of(self, checkpoint: CheckpointId) -> CheckpointStore:
        """Return the store of a checkpoint: that of the package for the bundled one."""
        return bundled.STORE if checkpoint == self.first else self.store

    def forget(self, job: str, epoch: int | None = None) -> None:
        """Drop the generator of a deleted checkpoint, or those of all checkpoints of a deleted job."""
        with self._lock:
            for checkpoint in [each for each in self._others if each.job == job and epoch in (None, each.epoch)]:
                del self._others[checkpoint]

    def _drop_deleted(self) -> None:
        """Drop the generators of checkpoints that were deleted, also by other processes. Raises Unreachable."""
        with self._lock:
            kept = list(self._others)
        for checkpoint in kept:
            with suppress(Unreadable):  # whether it was deleted is unknown
                if not self.store_of(checkpoint).stands(checkpoint):
                    self.forget(checkpoint.job, checkpoint.epoch)

    def check_store(self) -> None:
        """Raises StoreReplaced if the store is missing, or another one than before, and OSError."""
        self.target.known.check()

    def manifest(self, checkpoint: CheckpointId) -> Manifest:
        """Raises CheckpointNotFound or CheckpointDamaged."""
        return self.store_of(checkpoint).manifest(checkpoint)

    def survey(self) -> tuple[list[Manifest], list[Unusable]]:
        """Return all usable checkpoints, oldest first, the bundled one as the oldest; and the unusable ones."""
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
