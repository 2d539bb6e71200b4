"""`acgan import-keras`: converts weights of the original Keras script into checkpoints, judged like a worker's."""

import re
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from app.cli.local.stored_data import reader
from app.schemas.jobs import clean
from app.settings import AppSettings
from models.bounded_reading import printable
from models.config import DatasetName, TrainingConfig
from models.data.dataset import Dataset, load_dataset
from models.errors import InvalidInput
from models.evaluation.quality_gate import find_quality_gate
from models.interop.keras import KerasWeightsError, load_discriminator, load_generator
from models.registry.imports import Importer
from models.registry.store import Manifest
from models.torch_device import find_device
from worker.jobs.model import job_id_of

NAMES = "params_generator_epoch_NNN.hdf5, .h5 or .weights.h5"
NAME = re.compile(r"params_(generator|discriminator)_epoch_(\d{1,4})(?:\.weights)?\.(?:hdf5|h5)", re.IGNORECASE)
LAST_EPOCH = 1000
ReportProgress = Callable[[int, int], None]


class NothingToImport(InvalidInput, code="nothing-to-import"):
    """The folder holds no run of the original script, or more than one. The message names the folder or the file."""


class SeedEpoch(NamedTuple):
    """The files of an epoch that the original script wrote."""

    number: int
    generator: Path
    discriminator: Path | None


def find_epochs(folder: Path) -> list[SeedEpoch]:
    """List the epochs in a folder, in order, from 1 even if the files count from 000. Raises NothingToImport."""
    generators, discriminators = _weights_files(folder, "generator"), _weights_files(folder, "discriminator")
    if not generators:
        others = sorted(path.name for path in folder.iterdir() if not path.name.startswith("."))
        more = f" and {len(others) - 5} more" if len(others) > 5 else ""
        there = f"; it holds {printable(', '.join(others[:5]))}{more}" if others else ""
        raise NothingToImport(
            f"{printable(folder)} holds no weights of the original script: its files are named {NAMES}{there}"
        )
    first = 1 if 0 in generators else 0  # the number of files' epoch 0
    if max(generators) + first > LAST_EPOCH:
        raise NothingToImport(f"{printable(generators[max(generators)])}: a run has at most {LAST_EPOCH} epochs")
    return [SeedEpoch(epoch + first, path, discriminators.get(epoch)) for epoch, path in sorted(generators.items())]


def counts_from_zero(folder: Path) -> bool:
    """Return whether the files count from epoch 000, as in older versions of the script. Raises NothingToImport."""
    return 0 in _weights_files(folder, "generator")


def _weights_files(folder: Path, network: str) -> dict[int, Path]:
    """List the files of `generator` or `discriminator` by the number in their names. Raises NothingToImport."""
    if folder.exists() and not folder.is_dir():
        raise NothingToImport(f"{printable(folder)} is a file: pass its folder")
    if not folder.is_dir():
        raise NothingToImport(f"there is no folder {printable(folder)}")
    files: dict[int, Path] = {}
    for path in sorted(folder.iterdir()):
        if (match := NAME.fullmatch(path.name)) and match[1].lower() == network:
            other = files.setdefault(int(match[2]), path)
            if other != path:
                raise NothingToImport(f"{printable(path)} and {other.name} are from the same epoch: keep one of them")
    return files


def check_files(epochs: list[SeedEpoch], report: ReportProgress) -> tuple[int, dict[int, Path]]:
    """Read every file, so that a damaged one is reported before anything is published.

    Returns the latent size, and the numbers of classes, each with a file. Raises KerasWeightsError.
    """
    sizes: dict[int, Path] = {}
    classes: dict[int, Path] = {}
    for done, epoch in enumerate(epochs, 1):
        generator = load_generator(epoch.generator)
        classes.setdefault(generator.classes, epoch.generator)
        sizes.setdefault(generator.latent_size, epoch.generator)
        if epoch.discriminator:
            discriminator = load_discriminator(epoch.discriminator)
            classes.setdefault(discriminator.auxiliary.out_features, epoch.discriminator)
        report(done, len(epochs))
    if len(sizes) > 1:
        (one, path), (other, another) = list(sizes.items())[:2]
        raise KerasWeightsError(
            f"these are two runs: {path.name} has latents of {one} numbers, and {another.name} of {other}; "
            "put each into a separate folder"
        )
    return next(iter(sizes)), classes


def check_class_count(classes: dict[int, Path], data: Dataset) -> None:
    """Raises KerasWeightsError if the number of classes of a file differs from that of the data."""
    for count, path in classes.items():
        if count != data.class_count:
            raise KerasWeightsError(
                f"{printable(path)} has {count} classes, and {data.name} has {data.class_count}: name the training "
                "data of this run"
            )


def publish_epoch(importer: Importer, epoch: SeedEpoch) -> Manifest:
    """Judge an epoch's generator and publish it. Raises KerasWeightsError, OSError."""
    generator = load_generator(epoch.generator)
    discriminator = load_discriminator(epoch.discriminator) if epoch.discriminator else None
    return importer.publish(epoch.number, generator, importer.judge(generator), discriminator)


def checked_name(name: str | None) -> str | None:
    """Return the label, stripped. Raises NothingToImport if it has control characters, as the API refuses it."""
    try:
        return None if name is None else clean(name)
    except ValueError as error:
        raise NothingToImport(f"the name {printable(name)} {error}: choose another with --name") from None


def import_here(
    settings: AppSettings,
    folder: Path,
    dataset: DatasetName,
    name: str | None,
    checked: ReportProgress,
    published: Callable[[int], None],
) -> list[Manifest]:
    """Publish every epoch in a folder of the original script, in order; none if a file is damaged.

    Calls `checked(epochs read, all epochs)` and `published(epochs published)`. Raises NothingToImport,
    KerasWeightsError, DatasetUnavailable, DeviceUnavailable, OSError.
    """
    name = checked_name(name)
    epochs = find_epochs(folder)
    latent_size, classes = check_files(epochs, checked)
    config = TrainingConfig(epochs=epochs[-1].number, latent_size=latent_size, dataset=dataset, name=name)
    data = load_dataset(config, settings.data_dir, settings.cache_dir, settings.mirrors, reader(settings))
    check_class_count(classes, data)
    device = find_device(settings.device)
    gate = find_quality_gate(data, latent_size, device, settings.judges_dir) if settings.judge else None
    importer = Importer(settings.open_store(), job_id_of(datetime.now(UTC), 0), config, device, gate, data)
    manifests = []
    for epoch in epochs:
        manifests.append(publish_epoch(importer, epoch))
        published(len(manifests))
    return manifests
