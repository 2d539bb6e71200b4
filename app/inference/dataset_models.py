"""Finds the generators of any training data: the newest and the best of each, and any checkpoint by its id."""

from collections.abc import Iterator
from contextlib import suppress
from typing import NamedTuple

import anyio.to_thread
from cachetools import LRUCache

from app.inference.model_manager import ROLES, LoadedModel, ModelManager
from models.data.reference import Reference
from models.networks.weights import InvalidWeights
from models.registry.pointer import Revision
from models.registry.serving_policy import best_of, none_passed
from models.registry.store import CheckpointDamaged, CheckpointId, CheckpointNotFound, Manifest

REMEMBERED = 64  # selections
MOST_TRIED = 2  # older checkpoints in place of a damaged one


class Selected(NamedTuple):
    """The best or newest checkpoint of a data set, and what was published at the time of the selection."""

    checkpoint: CheckpointId
    revision: Revision


class DatasetModels:
    """Uses the generators, the cache and the bounded loads of the model manager."""

    def __init__(self, models: ModelManager) -> None:
        self.models = models
        self._selected: LRUCache[tuple[Reference, str], Selected] = LRUCache(REMEMBERED)

    async def find(self, dataset: str, name: str) -> LoadedModel:
        """Return the generator for `latest`, `best` or a checkpoint's id, of the data set `letters` or `letters@2`.

        `latest` of the data set being served is the served generator, also if that is pinned. Of any other, it is the
        newest that may be served; if its files are damaged, the one before. Raises CheckpointNotFound,
        CheckpointDamaged, InvalidWeights, NotServable or OSError.
        """
        try:
            wanted = Reference.parse(dataset)
        except ValueError as error:
            raise CheckpointNotFound(str(error)) from None
        if name not in ROLES:
            return self._checked(await self.models.find(name), wanted)
        served = self.models.served
        if name == "latest" and served and wanted.means(served.model.manifest.config.dataset):
            return served.model
        try:
            return await self._load(await self._select(wanted, name), wanted, name)
        except CheckpointNotFound:  # it was deleted since the last look, less than a second ago
            return await self._load(await anyio.to_thread.run_sync(self._look, wanted, name), wanted, name)

    async def _load(self, checkpoint: CheckpointId, wanted: Reference, role: str) -> LoadedModel:
        """Load the selected checkpoint; if the newest is damaged, the one before."""
        try:
            return await self.models.find(str(checkpoint))
        except (CheckpointDamaged, InvalidWeights):
            older = await anyio.to_thread.run_sync(self._older, wanted, checkpoint)
            for each in older[:MOST_TRIED] if role == "latest" else ():
                with suppress(CheckpointDamaged, CheckpointNotFound, InvalidWeights):
                    return await self.models.find(str(each))
            raise

    def _checked(self, model: LoadedModel, wanted: Reference) -> LoadedModel:
        """Raises CheckpointNotFound if a checkpoint was trained on other data."""
        trained_on = model.manifest.config.dataset
        if not wanted.means(trained_on):
            raise CheckpointNotFound(
                f"{model.id} is no checkpoint of {wanted}: it was trained on {trained_on}, so use "
                f"/images/{model.manifest.dataset_name}"
            )
        return model

    async def _select(self, wanted: Reference, role: str) -> CheckpointId:
        target = self.models.target
        if wanted.version is None and role == "latest" and wanted.name in target.published:
            return target.published[wanted.name].checkpoint
        if wanted.version is None and role == "best" and target.dataset == wanted.name and target.best:
            return target.best
        return await anyio.to_thread.run_sync(self._look, wanted, role)

    def _look(self, wanted: Reference, role: str) -> CheckpointId:
        """Read the manifests, if a checkpoint was published, or the selected one deleted. Raises OSError."""
        store = self.models.store
        revision = store.find_latest().revision_of(wanted.name)
        known = self._selected.get((wanted, role))
        if known and known.revision == revision and store.stands(known.checkpoint):
            return known.checkpoint
        manifests = [each for each in self._servable() if wanted.means(each.config.dataset)]
        if not manifests:
            raise CheckpointNotFound(self._nothing_of(wanted))
        best = best_of(manifests, wanted.name) if role == "best" else None
        found = best or manifests[-1].checkpoint
        if revision.newest is not None:
            self._selected[wanted, role] = Selected(found, revision)
        return found

    def _servable(self) -> Iterator[Manifest]:
        """Yield the checkpoints that may be served, oldest first; the bundled one is the oldest."""
        return (manifest for manifest in self.models.survey()[0] if manifest.refused is None)

    def _older(self, wanted: Reference, than: CheckpointId) -> list[CheckpointId]:
        """Return the other checkpoints of a data set, newest first."""
        found = [each.checkpoint for each in self._servable() if wanted.means(each.config.dataset)]
        return [each for each in reversed(found) if each != than]

    def _nothing_of(self, wanted: Reference) -> str:
        found = [each for each in self.models.survey()[0] if wanted.means(each.config.dataset)]
        if found:
            return f"no checkpoint of {wanted} may be served: {none_passed(found)}"
        names = sorted({each.config.dataset for each in self._servable()})
        return f"no checkpoint of {wanted} may be served: there are checkpoints of {', '.join(names) or 'no data set'}"
