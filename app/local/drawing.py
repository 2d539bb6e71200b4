"""`acgan digits`: drawing with no server."""

from pathlib import Path
from typing import NamedTuple

import numpy as np

from app.settings import AppSettings
from models import bundled
from models.acceleration import find_device
from models.checkpoints import CheckpointId
from models.drawing import draw_digits, fresh_seed, prepare
from models.networks import Generator
from models.weights import generator_from_bytes


class NoGenerator(Exception):
    """There is nothing to draw with. The message says how to get something."""


class Drawn(NamedTuple):
    digits: np.ndarray  # uint8 (n, 28, 28)
    checkpoint: str
    seed: int


def draw_here(settings: AppSettings, checkpoint: str, label: int, n: int, seed: int | None, index: int) -> Drawn:
    """Draw digits. Raises NoGenerator, DeviceUnavailable, OSError, and what a bad checkpoint raises."""
    generator, name = find_generator(settings, checkpoint)
    prepared = prepare(generator, find_device(settings.device))
    seed = fresh_seed() if seed is None else seed
    return Drawn(draw_digits(prepared, label, n, seed, index), name, seed)


def find_generator(settings: AppSettings, name: str) -> tuple[Generator, str]:
    """Load what `name` says: a file, `latest` of the store, or the id of one of its checkpoints.

    Where nothing has been published yet, `latest` is the package's own.
    """
    if name.endswith(".safetensors"):
        if not Path(name).is_file():
            raise NoGenerator(f"there is no file {name}")
        return generator_from_bytes(Path(name).read_bytes()), name
    if Path(name).exists():
        raise NoGenerator(f"{name} is not a generator: its name does not end in .safetensors")
    store, first = settings.open_store(), bundled.checkpoint() if settings.pretrained else None
    checkpoint = store.latest() or first if name == "latest" else CheckpointId.parse(name)
    if checkpoint is None:
        raise NoGenerator(
            f"nothing has been published in {settings.store_name} yet: start a run, or name a generator's file with "
            "--checkpoint"
        )
    if checkpoint == first:
        store = bundled.STORE
    manifest = store.manifest(checkpoint)
    return generator_from_bytes(store.read(manifest, manifest.draws)), str(checkpoint)
