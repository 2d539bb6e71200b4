"""Draws one digit with the generator of every epoch of a run, including refused ones."""

from collections.abc import Sequence

import anyio.to_thread
import numpy as np
import torch
from cachetools import LRUCache

from app.inference.bounded_executor import BoundedExecutor
from models.config import IMAGE_SIZE, MOST_CLASSES
from models.networks.inference import FoldedGenerator
from models.networks.weights import InvalidWeights, generator_from_bytes
from models.registry.store import CheckpointId, CheckpointNotFound, CheckpointStore, Manifest
from models.sampling.sampler import BATCH, SampleRange, draw_series

WAITING = 2  # an epoch takes a few tenths of a second
KEPT = 8_000_000  # bytes: a thousand epochs with ten digits each


class EpochTimeline:
    """Loads one generator at a time, in a separate thread, and caches only the digits."""

    def __init__(self, store: CheckpointStore, device: torch.device) -> None:
        self.store = store
        self.device = device
        self.executor = BoundedExecutor(WAITING)
        self._drawn = LRUCache[tuple[str, int, int], np.ndarray](KEPT, lambda digits: digits.nbytes)  # in one thread

    async def epochs(self, job: str, most: int) -> list[Manifest]:
        """Return at most `most` of a run's checkpoints in order, evenly spaced, including the first and the last.

        Raises CheckpointNotFound if there are none, and CheckpointDamaged.
        """
        return await anyio.to_thread.run_sync(self._epochs, job, most)

    def _epochs(self, job: str, most: int) -> list[Manifest]:
        found = []
        for epoch in thin(self.store.epochs(job), most):
            try:
                found.append(self.store.manifest(CheckpointId(job, epoch)))
            except CheckpointNotFound:  # deleted since it was listed
                continue
        if not found:
            raise CheckpointNotFound(f"job {job} does not exist or has no checkpoint: its first epoch has not ended")
        return found

    async def draw(self, epochs: Sequence[Manifest], label: int, seed: int, index: int) -> np.ndarray:
        """Draw one digit by each epoch. Returns uint8 of shape (epochs, 28, 28), black if weights are not finite.

        Raises Busy, CheckpointDamaged, CheckpointNotFound for one that was deleted meanwhile, and errors of the store.
        """

        def work() -> np.ndarray:
            torch.set_num_threads(1)  # in this thread; the drawing threads keep their number
            return np.stack([self._hand(epoch, seed, index)[label] for epoch in epochs])

        return await self.executor.make(work)

    def _hand(self, epoch: Manifest, seed: int, index: int) -> np.ndarray:
        """Draw all classes at once: loading the generator takes longer than drawing them."""
        key = epoch.files[epoch.draws].sha256 if epoch.draws in epoch.files else epoch.id, seed, index
        drawn = self._drawn.get(key)
        if drawn is None:
            drawn = self._draw_hand(epoch, seed, index)
            self._drawn[key] = drawn
        return drawn

    def _draw_hand(self, epoch: Manifest, seed: int, index: int) -> np.ndarray:
        try:
            generator = FoldedGenerator(generator_from_bytes(self.store.read(epoch, epoch.draws)), self.device)
        except InvalidWeights:
            return np.zeros((MOST_CLASSES, IMAGE_SIZE, IMAGE_SIZE), np.uint8)
        generator.step = BATCH  # gives the same pixels as the value that `prepare` measures, without measuring
        return draw_series(generator, SampleRange(None, 1, seed, index, generator.classes))


def thin(epochs: Sequence[int], most: int) -> list[int]:
    """Choose at most `most` epochs (2 or more), evenly spaced, including the first and the last."""
    if len(epochs) <= most:
        return list(epochs)
    return [epochs[round(place * (len(epochs) - 1) / (most - 1))] for place in range(most)]
