"""The training images of checkpoints, as far as this machine has them. Nothing is downloaded: a run does that."""

from dataclasses import dataclass
from pathlib import Path

from cachetools import TTLCache
from torch import Tensor

from models.config import TrainingConfig
from models.data.catalog import DATASETS
from models.data.dataset import Dataset, DatasetUnavailable, load_dataset
from models.errors import Conflict
from models.registry.imports import UNKNOWN
from models.registry.store import Manifest
from models.registry.training_data import TrainingDataNotFound, TrainingDataStore

MOST_SEARCHED = 250_000  # training images, 196 MB
ABSENT_SECONDS = 60.0  # that a search without a result is remembered
ABSENT_KEPT = 64


@dataclass(frozen=True, slots=True)
class TrainingImages:
    """The images that a checkpoint was trained on: uint8 (N, 784) and labels (N,), in the order of their files."""

    images: Tensor
    labels: Tensor


class TrainingImagesCache:
    """Keeps the images that were searched last, and no others. `load` is called by one thread at a time."""

    def __init__(self, data_dir: Path | None, cache: Path, data: TrainingDataStore) -> None:
        """`cache` has a folder for each data set, as for runs."""
        self.data_dir = data_dir
        self.cache = cache
        self.data = data
        self._kept: tuple[str, TrainingImages] | None = None
        self._absent: TTLCache[str, str] = TTLCache(ABSENT_KEPT, ABSENT_SECONDS)

    def load(self, manifest: Manifest) -> TrainingImages:
        """Return the training images of a checkpoint.

        Raises TrainingDataNotFound if this machine does not have them, Conflict if there are more than MOST_SEARCHED,
        FileInvalid and OSError.
        """
        config = manifest.config
        key = f"{manifest.dataset_checksum} {config.dataset} {config.train_examples} {config.test_examples}"
        if self._kept is not None and self._kept[0] == key:
            return self._kept[1]
        if key in self._absent:
            raise TrainingDataNotFound(self._absent[key])
        self._check_size(config)
        self._kept = None  # before others are loaded, so that two sets are never in memory
        try:
            found = self._read(manifest)
        except TrainingDataNotFound as error:
            self._absent[key] = str(error)
            raise
        self._kept = key, found
        return found

    def _check_size(self, config: TrainingConfig) -> None:
        if config.dataset in DATASETS:
            size = DATASETS[config.dataset].sizes[0]
        else:
            size = sum(self.data.manifest(self.data.find(config.dataset)).train_counts)
        if size > MOST_SEARCHED:
            raise Conflict(
                f"there are {size:,} training images of {config.dataset}, and the nearest are searched among at most "
                f"{MOST_SEARCHED:,}"
            )

    def _read(self, manifest: Manifest) -> TrainingImages:
        config, checksum = manifest.config, manifest.dataset_checksum
        try:
            data = load_dataset(config, self.data_dir, self.cache, (), self.data.read_stored, downloads=False)
        except DatasetUnavailable as error:
            raise TrainingDataNotFound(absent(config.dataset)) from error
        if checksum not in (UNKNOWN, data.checksum):
            raise TrainingDataNotFound(
                f"{manifest.id} was trained on other images than those of {config.dataset} on the machine of this "
                "service: their checksums differ"
            )
        return kept(data)


def absent(dataset: str) -> str:
    return f"the training images of {dataset} are not on the machine of this service. {how_to_provide(dataset)}"


def how_to_provide(dataset: str) -> str:
    """Return what to do if the files of a built-in set are missing. The API downloads nothing."""
    return (
        f"A run with `dataset: {dataset}` downloads them if its worker shares the folder ACGAN_HOME with the API; or "
        "put its files in the folder that ACGAN_DATA_DIR of the API names"
    )


def kept(data: Dataset) -> TrainingImages:
    """Return the training images in memory of their own: those of `data` may be a part of a whole file."""
    return TrainingImages(data.train_images.flatten(1).clone(), data.train_labels.clone())
