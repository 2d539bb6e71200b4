"""Serves requests for digits: from the stock if the request has no seed, else by drawing."""

from collections.abc import Callable
from functools import partial

import anyio.to_thread
import numpy as np

from app import metrics
from app.inference.batcher import Batcher, Shop
from app.inference.bounded_executor import BoundedExecutor
from app.inference.memory import Memory
from app.inference.model_manager import LoadedModel, ModelManager
from models.sampling.sampler import SampleRange, fresh_seed
from worker.observability.background_loops import Supervisor

FILMS_WAITING = 8  # an animation takes a few hundredths of a second
SMALL = 128  # up to this number, digits are encoded directly, which is faster than a thread

Encode = Callable[[SampleRange, np.ndarray], bytes]


class Drawing:
    def __init__(
        self,
        model_manager: ModelManager,
        threads: int,
        patience_seconds: float,
        file_bytes: int,
        supervisor: Supervisor | None = None,
    ) -> None:
        self.model_manager = model_manager
        self.files = Memory[str, bytes](file_bytes)  # recent files by ETag
        self.batcher = Batcher(threads, patience_seconds, self._shop, supervisor)
        self.studio = BoundedExecutor(FILMS_WAITING)

    async def draw(self, exhibit: LoadedModel, series: SampleRange, encode: Encode) -> bytes:
        """Draw a series and return its file. Raises Busy."""
        return await self.batcher.draw(exhibit.generator, series, partial(encode, series))

    async def draw_any(self, exhibit: LoadedModel, label: int, n: int, encode: Encode) -> tuple[SampleRange, bytes]:
        """Return any n digits of a label: from the stock, or else drawn with a new seed. Raises Busy."""
        served = self.model_manager.served
        stock = served.stock if served and served.exhibit is exhibit else None
        taken = stock.take(label, n) if stock else None
        if taken is not None:
            metrics.STOCK_HITS.inc()
            self.batcher.look()
            if n <= SMALL:
                return taken.series, encode(*taken)
            return taken.series, await anyio.to_thread.run_sync(encode, *taken)
        metrics.STOCK_MISSES.inc()
        if stock and stock.takes_orders(n):
            return await self.batcher.order(Shop(exhibit.generator, stock), label, n, encode)
        series = SampleRange(label, n, fresh_seed())
        return series, await self.draw(exhibit, series, encode)

    def _shop(self) -> Shop | None:
        served = self.model_manager.served
        return Shop(served.exhibit.generator, served.stock) if served else None
