"""`acgan import-keras`: the seed's `.hdf5` files become checkpoints, judged as a worker judges, that can be served."""

import re
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from app.settings import AppSettings
from models import weights
from models.acceleration import describe, find_device
from models.checkpoints import DISCRIMINATOR, GENERATOR, SAMPLES, CheckpointId, Manifest
from models.config import DatasetName, TrainingConfig
from models.data import Dataset, load_dataset
from models.images import encode_png, epoch_plot
from models.keras_weights import KerasWeightsError, load_discriminator, load_generator
from models.networks import Generator
from models.quality import NOT_FINITE, Verdict, find_assessor, is_finite
from models.version import code_version
from worker.jobs import job_id_of

NAMES = "params_generator_epoch_NNN.hdf5"
Told = Callable[[int, int], None]


class NothingToImport(Exception):
    """The folder holds no weights of the seed's script. The message says what was looked for."""


class SeedEpoch(NamedTuple):
    """What the seed's script left of an epoch."""

    number: int
    generator: Path
    discriminator: Path | None


def find_epochs(folder: Path) -> list[SeedEpoch]:
    """List the epochs in a folder, in order. Raises NothingToImport."""
    if not folder.is_dir():
        raise NothingToImport(f"there is no folder {folder}")
    found = []
    for path in folder.iterdir():
        match = re.fullmatch(r"params_generator_epoch_(\d{3,4})\.hdf5", path.name)
        if match and 1 <= int(match[1]) <= 1000:
            other = folder / path.name.replace("generator", "discriminator", 1)
            found.append(SeedEpoch(int(match[1]), path, other if other.exists() else None))
    if not found:
        raise NothingToImport(f"{folder} holds no weights of the seed's script: its files are called {NAMES}")
    return sorted(found)


def check_files(epochs: list[SeedEpoch], told: Told) -> int:
    """Read every file, so that a damaged one is told before anything is published. Returns the latent size.

    Raises KerasWeightsError.
    """
    sizes: dict[int, Path] = {}
    for done, epoch in enumerate(epochs, 1):
        sizes.setdefault(load_generator(epoch.generator).latent_size, epoch.generator)
        if epoch.discriminator:
            load_discriminator(epoch.discriminator)
        told(done, len(epochs))
    if len(sizes) > 1:
        (one, path), (other, another) = list(sizes.items())[:2]
        raise KerasWeightsError(
            f"these are two runs: {path.name} has latents of {one} numbers, and {another.name} of {other}; "
            "give each a folder of its own"
        )
    return next(iter(sizes))


class Importer:
    """Publishes the epochs of one run of the seed's script, as a job of their own."""

    def __init__(self, settings: AppSettings, config: TrainingConfig, dataset: Dataset) -> None:
        self.store = settings.open_store()
        self.device = find_device(settings.device)
        self.config = config
        self.dataset = dataset
        self.job = job_id_of(datetime.now(UTC), 0)
        self.assessor = None
        if settings.judge:
            self.assessor = find_assessor(dataset, config.latent_size, self.device, settings.judges_dir)

    def publish(self, epoch: SeedEpoch) -> Manifest:
        """Judge an epoch's generator and publish it. Raises KerasWeightsError, OSError."""
        generator = load_generator(epoch.generator)
        verdict = self.judge(generator.to(self.device))
        manifest = Manifest(
            id=str(CheckpointId(self.job, epoch.number)),
            job=self.job,
            epoch=epoch.number,
            created_at=datetime.now(UTC),
            config=self.config,
            losses=None,
            metrics=verdict.metrics,
            refused=verdict.refused,
            dataset_checksum=self.dataset.checksum,
            device=describe(self.device),
            code_version=code_version(),
            fence=0,
            files={},
        )
        files = {
            GENERATOR: weights.to_bytes(generator),
            SAMPLES: encode_png(epoch_plot(generator.eval(), self.dataset, epoch.number, self.config.seed)),
        }
        if epoch.discriminator:
            files[DISCRIMINATOR] = weights.to_bytes(load_discriminator(epoch.discriminator))
        return self.store.publish(manifest, files)

    def judge(self, generator: Generator) -> Verdict:
        if self.assessor is not None:
            return self.assessor.verdict(generator)
        return Verdict(False, {}, None if is_finite(generator) else NOT_FINITE)


def import_here(
    settings: AppSettings,
    folder: Path,
    dataset: DatasetName,
    name: str | None,
    checked: Told,
    published: Callable[[int], None],
) -> list[Manifest]:
    """Publish every epoch in a folder of the seed's, in order, or none where a file is damaged.

    `checked` is told (files read, of how many), `published` how many stand. Raises NothingToImport, KerasWeightsError,
    DatasetUnavailable, DeviceUnavailable, OSError.
    """
    epochs = find_epochs(folder)
    latent_size = check_files(epochs, checked)
    config = TrainingConfig(epochs=epochs[-1].number, latent_size=latent_size, dataset=dataset, name=name)
    data = load_dataset(config, settings.data_dir, settings.cache_dir, settings.mirrors)
    importer = Importer(settings, config, data)
    manifests = []
    for epoch in epochs:
        manifests.append(importer.publish(epoch))
        published(len(manifests))
    return manifests
