"""Banks of digits by style: one for each generator that draws numbers, made when it is first needed.

The drawing threads draw and measure a bank in small parts, so other requests wait only for one part.
"""

import asyncio
import logging
import time
from functools import partial

import anyio.to_thread
import numpy as np
from cachetools import LRUCache

from app.inference.batcher import Batcher, Busy
from app.inference.model_manager import LoadedModel
from models.errors import Unavailable
from models.evaluation.style_bank import Measured, StyleBank, parts, version_of
from models.evaluation.verifier import Verifier, find_verifier
from models.networks.inference import FoldedGenerator
from models.sampling.sampler import SampleRange, Samples

logger = logging.getLogger(__name__)

WAIT_SECONDS = 20.0  # that a request waits for a bank, which takes 2 s of two idle processors; making it continues
MOST_MAKING = 4  # banks that are made or wait to be made; each holds its generator
PAUSE_SECONDS = 0.5  # after the service was too busy to draw a part


RETRY = "retry after 5 seconds"


class StyleBankNotReady(Unavailable, code="style-bank-not-ready"):
    """The styles of a generator's digits are still being measured."""

    retry_after = 5


class StyleBanks:
    """Makes one bank at a time and keeps the last ones that were used. Belongs to one event loop."""

    def __init__(self, batcher: Batcher, kept: int) -> None:
        """`kept` banks are kept, of at most 4.3 MB each."""
        self._batcher = batcher
        self._verifiers = LRUCache[str, Verifier | None](kept)  # by the training data of a generator
        self._kept = LRUCache[str, StyleBank](kept)
        self._tasks: dict[str, asyncio.Task[StyleBank]] = {}
        self._turn = asyncio.Lock()
        self._closed = False

    async def version(self, model: LoadedModel) -> str:
        """Return all that determines a generator's bank apart from the generator."""
        return version_of(await self._verifier(model))

    async def get(self, model: LoadedModel) -> StyleBank:
        """Return the bank of a generator. Make it first if necessary; concurrent requests wait for the same one.

        Raises StyleBankNotReady after twenty seconds, at the shutdown, and at once if too many other banks are made.
        """
        key = f"{model.checksum} {model.manifest.config.dataset}"
        bank = self._kept.get(key)
        if bank is not None:
            return bank
        task = self._tasks.get(key)
        if task is None:
            if self._closed or len(self._tasks) >= MOST_MAKING:
                raise StyleBankNotReady(
                    f"the styles of {len(self._tasks)} other generators are being measured: {RETRY}"
                )
            task = self._start(key, model)
        done, _ = await asyncio.wait([task], timeout=WAIT_SECONDS)
        if not done or task.cancelled():
            raise StyleBankNotReady(f"the styles of the digits of {model.id} are being measured: {RETRY}")
        return task.result()

    def close(self) -> None:
        """Stop making banks: requests that wait for one, and later ones that need another, get StyleBankNotReady."""
        self._closed = True
        for task in self._tasks.values():
            task.cancel()

    def _start(self, key: str, model: LoadedModel) -> "asyncio.Task[StyleBank]":
        task = asyncio.create_task(self._make(key, model))
        self._tasks[key] = task
        task.add_done_callback(lambda _: self._tasks.pop(key))
        return task

    async def _make(self, key: str, model: LoadedModel) -> StyleBank:
        async with self._turn:
            begun = time.monotonic()
            verifier = await self._verifier(model)
            series = list(parts())
            by_class: dict[int | None, list[Measured]] = {each.label: [] for each in series}
            at_once = max(1, self._batcher.threads)
            for first in range(0, len(series), at_once):
                group = series[first : first + at_once]
                found = await asyncio.gather(*(self._measure(model.generator, part, verifier) for part in group))
                for part, measured in zip(group, found, strict=True):
                    by_class[part.label].append(measured)
            bank = await anyio.to_thread.run_sync(assemble, list(by_class.values()))
            self._kept[key] = bank
            logger.info("measured the styles of %s in %.1f s", model.id, time.monotonic() - begun)
            return bank

    async def _measure(self, generator: FoldedGenerator, part: SampleRange, verifier: Verifier | None) -> Measured:
        """Draw and measure a part in a drawing thread. Waits while the service is too busy."""
        measure = partial(measure_digits, part, verifier)
        while True:
            try:
                return await self._batcher.draw(generator, part, measure)
            except Busy:
                await asyncio.sleep(PAUSE_SECONDS)

    async def _verifier(self, model: LoadedModel) -> Verifier | None:
        """Find the judge for the training data of a generator; None if the package has none."""
        dataset = model.manifest.config.dataset
        if dataset not in self._verifiers:
            found = await anyio.to_thread.run_sync(find_verifier, dataset, model.generator.device)
            self._verifiers[dataset] = found
            return found
        return self._verifiers[dataset]


def measure_digits(part: SampleRange, verifier: Verifier | None, digits: np.ndarray) -> Measured:
    return Measured.of(Samples(part, digits), verifier)


def assemble(by_class: list[list[Measured]]) -> StyleBank:
    return StyleBank.of([Measured.joined(each) for each in by_class])
