"""Training data that a user brought, for tests: small images whose pixels show the class."""

import numpy as np
import torch

from models.data.dataset import Dataset
from models.registry.training_data import Description, Splits, TrainingDataManifest, TrainingDataStore
from models.sampling.png import encode_png


def bars(count: int, classes: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Images (count, 28, 28) of horizontal bars, whose row is the class, and their labels (count,), both uint8."""
    labels = np.arange(count, dtype=np.uint8) % classes
    images = np.random.default_rng(seed).integers(0, 40, (count, 28, 28), dtype=np.uint8)
    for image, label in zip(images, labels, strict=True):
        row = 2 + int(label) * 24 // classes
        image[row : row + 2, 4:24] = 255
    return images, labels


def splits(classes: int = 3, train: int = 60, test: int = 30, seed: int = 0) -> Splits:
    return Splits(*bars(train, classes, seed), *bars(test, classes, seed + 1))


def checksum(found: Splits) -> str:
    train_images, train_labels, test_images, test_labels = map(torch.from_numpy, found)
    return Dataset("any", train_images, train_labels, test_images, test_labels).checksum


def bring(
    store: TrainingDataStore, name: str, classes: tuple[str, ...] = ("a", "b", "c"), seed: int = 0, train: int = 60
) -> TrainingDataManifest:
    """Store training data with these classes. Returns its manifest."""
    found = splits(len(classes), train, seed=seed)
    preview = encode_png(np.concatenate(found.test_images[:3]))
    return store.publish(name, Description(classes, source="a test"), found, checksum(found), preview)[0]
