"""`acgan digits`: draws digits without a service."""

from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import numpy as np

from app.settings import AppSettings
from models.config import NUM_CLASSES
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
    generator, name = find_generator(settings, checkpoint)
    prepared = prepare(generator, find_device(settings.device))
    seed = fresh_seed() if seed is None else seed
    return Drawn(draw_digits(prepared, label, n, seed, index), name, seed)


def find_generator(settings: AppSettings, name: str) -> tuple[Generator, str]:
    """Load a generator by name: `latest`, the id of a checkpoint in the store, or a file of weights.

    `latest` is the generator that comes with the package until a checkpoint is published. Raises NoGenerator, and the
    errors of a bad file or checkpoint.
    """
    generator, manifest = load_with_manifest(settings, name)
    return generator, name if manifest is None else manifest.id


def load_with_manifest(settings: AppSettings, name: str) -> tuple[Generator, Manifest | None]:
    """Load a generator as `find_generator` does, with its manifest; None for a file of weights."""
    if (path := weights_file(name)) is not None:
        return of_digits(load_generator(path), name), None
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
    return of_digits(generator_from_bytes(data, f"{manifest.draws} of {checkpoint}"), str(checkpoint)), manifest


def of_digits(generator: Generator, name: str) -> Generator:
    """Return the generator if it has ten classes. Raises NoGenerator."""
    if generator.classes != NUM_CLASSES:
        raise NoGenerator(f"{name} has {generator.classes} classes; a generator of digits has {NUM_CLASSES}")
    return generator


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
