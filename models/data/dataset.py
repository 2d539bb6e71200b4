"""Training data: bytes on one device, grey images of 28 x 28 pixels, 0 (background) to 255 (ink)."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from models.config import DatasetName, TrainingConfig
from models.data.catalog import DATASETS, DIGITS
from models.data.idx_source import DatasetUnavailable, load_idx
from models.data.printed import load_printed


@dataclass(frozen=True)
class Dataset:
    """Images are uint8 (N, 28, 28), labels uint8 (N,)."""

    name: DatasetName
    train_images: Tensor
    train_labels: Tensor
    test_images: Tensor
    test_labels: Tensor
    classes: tuple[str, ...] = DIGITS  # names, by label

    @property
    def class_count(self) -> int:
        return len(self.classes)

    @cached_property
    def checksum(self) -> str:
        """SHA-256 of the images and labels of both splits: it identifies the bytes that the run trains on."""
        digest = hashlib.sha256()
        for tensor in (self.train_images, self.train_labels, self.test_images, self.test_labels):
            digest.update(tensor.cpu().contiguous().numpy().data)
        return f"sha256:{digest.hexdigest()}"

    def to(self, device: torch.device) -> "Dataset":
        return replace(
            self,
            train_images=self.train_images.to(device),
            train_labels=self.train_labels.to(device),
            test_images=self.test_images.to(device),
            test_labels=self.test_labels.to(device),
        )


ReadStored = Callable[[str], tuple[Sequence[np.ndarray], tuple[str, ...]]]


def load_dataset(
    config: TrainingConfig,
    data_dir: Path | None,
    cache: Path,
    mnist_mirrors: Sequence[str] | None = None,
    read_stored: ReadStored | None = None,
    downloads: bool = True,
    check: Callable[[], None] = lambda: None,
) -> Dataset:
    """Load the data set that `config` names, cut to its first `train_examples` and `test_examples`.

    `cache` has a folder for each data set, or for the archive of several. `mnist_mirrors` replaces the catalog's
    mirrors of MNIST. `read_stored` returns the images and labels of both splits, and the names of the classes, of a
    data set that a user brought. Without `downloads`, only the files of this machine are read. `check` is called twice
    a second during a download, or the wait for that of another process. It may end them by raising an error that is no
    OSError and no ValueError.

    Raises:
        DatasetUnavailable: if it cannot be read or downloaded.
        TrainingDataNotFound, OSError: those of `read_stored`.
        Exception: what `check` raises.
    """
    name, data = config.dataset, DATASETS.get(config.dataset)
    classes = data.classes if data else ()
    if data is None:
        if read_stored is None:
            raise DatasetUnavailable(f"{name} is not built-in training data, and there is no store to read it from")
        splits, classes = read_stored(name)
    elif data.files:
        mirrors = data.mirrors if mnist_mirrors is None or name != "mnist" else mnist_mirrors
        place = cache / (data.archive.name if data.archive else name)
        splits = load_idx(data, data_dir, place, mirrors, downloads, check)
    else:
        wanted = config.train_examples, config.test_examples
        train, test = (size if most is None else min(most, size) for most, size in zip(wanted, data.sizes, strict=True))
        splits = load_printed(train, test, data.classes)
    train_images, train_labels, test_images, test_labels = (torch.from_numpy(array) for array in splits)
    return Dataset(
        name,
        train_images[: config.train_examples],
        train_labels[: config.train_examples],
        test_images[: config.test_examples],
        test_labels[: config.test_examples],
        classes,
    )


def to_unit_range(pixels: Tensor) -> Tensor:
    """Turn uint8 pixels (N, 28, 28) into the networks' images (N, 1, 28, 28) in [-1, 1] (original: `/ 127.5`)."""
    return (pixels.unsqueeze(1) - 127.5).div_(127.5)


__all__ = ["Dataset", "DatasetUnavailable", "load_dataset", "to_unit_range"]
