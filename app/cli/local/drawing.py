"""`acgan digits`: draws digits without a service."""

from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import numpy as np

from app.settings import AppSettings
from models.config import NUM_CLASSES
from models.data.catalog import DIGITS
from models.errors import NotFound
from models.networks.acgan import Generator
from models.networks.weights import generator_from_bytes, load_generator
from models.registry import bundled
from models.registry.serving_policy import newest_drawn
from models.registry.store import CheckpointId, CheckpointNotFound, Manifest
from models.sampling.sampler import draw_digits, fresh_seed, prepare
from models.torch_device import find_device

LATEST = "latest"
WEIGHTS_SUFFIXES = (".safetensors", ".hdf5", ".h5", ".pt", ".pth")


class NoGenerator(NotFound, code="no-generator"):
    """There is no generator. The message explains how to get one."""


class Drawn(NamedTuple):
    digits: np.ndarray  # uint8 (n, 28, 28)
    checkpoint: str
    seed: int


def draw_here(settings: AppSettings, checkpoint: str, label: int, n: int, seed: int | None, index: int) -> Drawn:
    """Draw digits. Raises NoGenerator, DeviceUnavailable, OSError, and the errors of a bad checkpoint."""
    generator, manifest = load_with_manifest(settings, checkpoint)
    name = checkpoint if manifest is None else manifest.id
    check_digits(generator, name, manifest)
    prepared = prepare(generator, find_device(settings.device))
    seed = fresh_seed() if seed is None else seed
    return Drawn(draw_digits(prepared, label, n, seed, index), name, seed)


def load_with_manifest(settings: AppSettings, name: str) -> tuple[Generator, Manifest | None]:
    """Load a generator by name: `latest`, the id of a checkpoint in the store, or a file of weights.

    `latest` is the generator that comes with the package until a checkpoint is published. The manifest is None for a
    file. Raises NoGenerator, and the errors of a bad file or checkpoint.
    """
    if (path := weights_file(name)) is not None:
        return load_generator(path), None
    store, first = settings.open_store(), bundled.checkpoint() if settings.pretrained else None
    checkpoint = newest_drawn(store) or first if name == LATEST else CheckpointId.parse(name)
    if checkpoint is None:
        raise NoGenerator(
            f"no checkpoint has been published in {settings.store_name} yet: start a run, or pass a generator's file "
            "as --checkpoint"
        )
    if checkpoint == first:
        store = bundled.STORE
    manifest = store.manifest(checkpoint)
    data = store.read(manifest, manifest.draws)
    return generator_from_bytes(data, f"{manifest.draws} of {checkpoint}"), manifest


def check_digits(generator: Generator, name: str, manifest: Manifest | None) -> None:
    """Raise NoGenerator unless the classes are the ten digits. A file of weights has no names of classes."""
    if generator.classes != NUM_CLASSES:
        raise NoGenerator(f"{name} has {generator.classes} classes; a generator of digits has {NUM_CLASSES}")
    if manifest is not None and manifest.class_names != DIGITS:
        raise NoGenerator(f"{name} was trained on {manifest.config.dataset}, whose classes are not digits")


def weights_file(name: str) -> Path | None:
    """Return the path if a user's CHECKPOINT names a file, and None if it is `latest` or can be an id.

    A file is recognized by its content, not by its name: `x.bin` may hold safetensors, and `x.safetensors` a pickle.
    """
    if name == LATEST:
        return None
    path = Path(name)
    if name.endswith(WEIGHTS_SUFFIXES) or path.name != name:
        return path
    with suppress(CheckpointNotFound):
        CheckpointId.parse(name)
        return None
    return path if path.exists() else None
