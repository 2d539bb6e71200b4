"""Digits for whoever asks: out of the stock where any will do, else drawn."""

from collections.abc import Callable
from functools import partial

import anyio.to_thread
import numpy as np

from app import metrics
from app.batcher import Batcher, IdleWork
from app.gallery import Exhibit, Gallery
from app.memory import Memory
from models.drawing import Series, fresh_seed

SMALL = 128  # digits that are encoded sooner than a thread is asked to

Encode = Callable[[Series, np.ndarray], bytes]


class Drawing:
    def __init__(self, gallery: Gallery, threads: int, patience_seconds: float, file_bytes: int) -> None:
        self.gallery = gallery
        self.files = Memory[str, bytes](file_bytes)  # drawn lately, by their ETag
        self.batcher = Batcher(threads, patience_seconds, self._idle_work)

    async def draw(self, exhibit: Exhibit, series: Series, encode: Encode) -> bytes:
        """Draw a series, as a file. Raises Busy."""
        return await self.batcher.draw(exhibit.generator, series, partial(encode, series))

    async def draw_any(self, exhibit: Exhibit, label: int, n: int, encode: Encode) -> tuple[Series, bytes]:
        """Draw any n digits of a label: out of the stock, or else of a fresh seed. Raises Busy."""
        served = self.gallery.served
        taken = served.stock.take(label, n) if served and served.exhibit is exhibit else None
        (metrics.STOCK_MISSES if taken is None else metrics.STOCK_HITS).inc()
        if taken is None:
            series = Series(label, n, fresh_seed())
            return series, await self.draw(exhibit, series, encode)
        self.batcher.look()
        if n <= SMALL:
            return taken.series, encode(*taken)
        return taken.series, await anyio.to_thread.run_sync(encode, *taken)

    def _idle_work(self) -> IdleWork | None:
        """Find what the stock of the generator being served lacks most."""
        if self.gallery.served is None:
            return None
        exhibit, stock = self.gallery.served
        series = stock.next()
        return IdleWork(exhibit.generator, series, stock.put) if series else None
