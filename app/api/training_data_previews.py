"""Pictures of the images of training data. Those of built-in sets are made from files on this machine, if it has any.

Nothing is downloaded: a run does that.
"""

from itertools import islice
from pathlib import Path

import anyio
import anyio.to_thread
import numpy as np
from cachetools import TTLCache

from app.api.exploration.training_images import how_to_provide
from models.bounded_reading import FileFault
from models.config import IMAGE_SIZE
from models.data.catalog import DATASETS, TrainingData
from models.data.idx import read_idx
from models.data.idx_search import search_folder
from models.data.printed import draw_split
from models.registry.training_data import TrainingDataNotFound
from models.sampling.contact_sheet import first_of_each_class
from models.sampling.grid import sheet
from models.sampling.png import encode_png

ROWS = 6  # images of each class
ENOUGH = 10  # factor: labels of printed sets are random, so more images are drawn than are shown
ABSENT_SECONDS = 60.0  # that a search without a result is remembered


class Previews:
    """The previews of built-in training data. Belongs to one event loop."""

    def __init__(self, data_dir: Path | None, cache: Path) -> None:
        """`cache` has a folder for each data set, as for runs."""
        self.data_dir = data_dir
        self.cache = cache
        self._made: dict[str, bytes] = {}  # at most one of each row of the catalog
        self._absent: TTLCache[str, str] = TTLCache(len(DATASETS), ABSENT_SECONDS)
        self._limiter: anyio.CapacityLimiter | None = None

    async def find(self, name: str) -> bytes:
        """Return the PNG of a built-in set. Raises TrainingDataNotFound if its images are not on this machine."""
        if name not in self._made and name not in self._absent:
            self._limiter = self._limiter or anyio.CapacityLimiter(1)
            await anyio.to_thread.run_sync(self._make, name, limiter=self._limiter)
        if name not in self._made:
            raise TrainingDataNotFound(
                f"there is no preview of {name} yet: its files are not on this machine. {how_to_provide(name)}"
            )
        return self._made[name]

    def _make(self, name: str) -> None:
        if name in self._made or name in self._absent:
            return
        data = DATASETS[name]
        images = self._images(name, data)
        if images is None:
            self._absent[name] = name
        else:
            self._made[name] = encode_png(contact_sheet(*images, len(data.classes)))

    def _images(self, name: str, data: TrainingData) -> tuple[np.ndarray, np.ndarray] | None:
        """Return test images (N, 28, 28) and their labels (N,), uint8; None if this machine does not have them."""
        if not data.files:
            return draw_split(1, len(data.classes) * ROWS * ENOUGH, data.classes)
        wanted = dict(islice(data.files.items(), 2, 4))
        for folder in (self.data_dir, self.cache / name):
            try:
                found = search_folder(folder, wanted).found if folder is not None else {}
            except (OSError, FileFault):
                continue
            if len(found) == len(wanted):
                images, labels = (read_idx(found[file]) for file in wanted)
                return images.transpose(0, 2, 1) if data.transposed else images, labels - data.first_label
        return None


def contact_sheet(images: np.ndarray, labels: np.ndarray, classes: int) -> np.ndarray:
    """Return a picture with a column for each class: uint8 (28 * ROWS, 28 * classes)."""
    cells = first_of_each_class(images, labels, classes, ROWS).swapaxes(0, 1)
    return sheet(cells.reshape(-1, IMAGE_SIZE, IMAGE_SIZE), classes)
