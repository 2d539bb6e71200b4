"""Training data that a user brought, for tests: small images whose pixels show the class."""

from pathlib import Path

import numpy as np

from models.data.building.built import Arrays, Built
from models.registry.training_data import TrainingDataManifest, TrainingDataStore
from models.sampling.png import encode_png


def bars(count: int, classes: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Images (count, 28, 28) of horizontal bars, whose row is the class, and their labels (count,), both uint8."""
    labels = np.arange(count, dtype=np.uint8) % classes
    images = np.random.default_rng(seed).integers(0, 40, (count, 28, 28), dtype=np.uint8)
    for image, label in zip(images, labels, strict=True):
        row = 2 + int(label) * 24 // classes
        image[row : row + 2, 4:24] = 255
    return images, labels


def splits(classes: int = 3, train: int = 60, test: int = 30, seed: int = 0) -> Arrays:
    return Arrays(*bars(train, classes, seed), *bars(test, classes, seed + 1))


def bring(
    store: TrainingDataStore, name: str, classes: tuple[str, ...] = ("a", "b", "c"), seed: int = 0, train: int = 60
) -> TrainingDataManifest:
    """Store training data with these classes. Returns its manifest."""
    found = splits(len(classes), train, seed=seed)
    preview = encode_png(np.concatenate(found.test_images[:3]))
    built = Built(found, classes, "a test", options={}, warnings=(), skipped=0, chunks=Path())
    return store.publish(name, built, preview)[0]
