"""Imports an uploaded generator: parses its file, judges its digits and publishes it. Blocks: it needs a thread."""

import hashlib
from collections.abc import Sequence
from datetime import UTC, datetime
from threading import Lock
from typing import NamedTuple

import torch

from app.api.uploads.receiving import ReceivedFile, space_needed
from app.inference.service import ModelManager
from app.schemas.checkpoints import ImportQuery
from models.bounded_reading import HDF5
from models.config import DatasetName, TrainingConfig
from models.errors import InvalidInput
from models.evaluation.quality_gate import QualityGate, Verdict, packaged_quality_gate
from models.networks.acgan import Generator
from models.networks.weights import FILE_LIMIT, InvalidWeights, generator_from_bytes, to_bytes
from models.registry.imports import Importer
from models.registry.store import CheckpointDamaged, CheckpointNotFound, Manifest
from worker.jobs.model import job_id_of

SHOWN = {  # figures in the message of a refusal
    "label_accuracy": "label accuracy",
    "label_accuracy_worst": "of the worst class",
    "variety": "variety",
    "variety_least": "of the least varied class",
    "frechet_distance": "Frechet distance",
}

_one_at_a_time = Lock()


class InvalidUpload(InvalidInput, code="invalid-upload"):
    """The uploaded file cannot be used. The message gives the reason."""


class GeneratorRefused(InvalidInput, code="generator-refused"):
    """The quality gate refuses the uploaded generator. The message gives the reason and the figures."""


class Imported(NamedTuple):
    manifest: Manifest
    is_new: bool  # False if the store held the same weights already


def import_generator(models: ModelManager, received: ReceivedFile, query: ImportQuery, judges: bool) -> Imported:
    """Publish the generator in a safetensors file, unless a checkpoint with the same weights exists.

    If `judges` is true, its digits are judged. Raises InvalidUpload, TrainingDataNotFound, GeneratorRefused, DiskFull,
    and OSError.
    """
    data = read(received)
    generator = parse(data)
    data_sets = models.store.training_data
    config = data_sets.settled(TrainingConfig(epochs=1, latent_size=generator.latent_size, **query.model_dump()))
    check_classes(generator, config.dataset, data_sets.classes_of(config.dataset))
    with _one_at_a_time:
        torch.set_num_threads(1)  # the drawing threads keep theirs
        models.check_store()
        if existing := find_same(models, data, generator, config.dataset):
            return Imported(existing, is_new=False)
        gate = find_gate(config, models.device) if judges else None
        job = job_id_of(datetime.now(UTC), 0)
        importer = Importer(models.store, job, config, models.device, gate, dataset=None)
        verdict = importer.judge(generator)
        if verdict.refused is not None:
            raise GeneratorRefused(f"the generator is not imported: {verdict.refused}{figures(verdict)}")
        with space_needed():
            return Imported(importer.publish(1, generator, verdict), is_new=True)


def read(received: ReceivedFile) -> bytes:
    if received.size > FILE_LIMIT:
        raise InvalidUpload(f"the file has {received.size:,} bytes, and a generator has at most {FILE_LIMIT:,}")
    return received.read()


def parse(data: bytes) -> Generator:
    if data.startswith(HDF5):
        raise InvalidUpload("the file is an HDF5 file, such as Keras writes: convert it with `acgan import-keras`")
    try:
        return generator_from_bytes(data)
    except InvalidWeights as error:
        raise InvalidUpload(str(error)) from error


def check_classes(generator: Generator, dataset: DatasetName, classes: Sequence[str]) -> None:
    if generator.classes != len(classes):
        raise InvalidUpload(
            f"the generator has {generator.classes} classes, and the data set {dataset} has {len(classes)}"
        )


def find_same(models: ModelManager, data: bytes, generator: Generator, dataset: DatasetName) -> Manifest | None:
    """Return the newest servable checkpoint of a data set that draws with this file, if it is intact.

    The same weights in the form of the store count as this file.
    """
    checksums = {hashlib.sha256(each).hexdigest() for each in (data, to_bytes(generator))}
    for manifest in reversed(models.survey()[0]):
        drawn = manifest.files.get(manifest.draws)
        is_same = drawn is not None and drawn.sha256 in checksums and manifest.config.dataset == dataset
        if is_same and manifest.refused is None and is_intact(models, manifest):
            return manifest
    return None


def is_intact(models: ModelManager, manifest: Manifest) -> bool:
    try:
        models.store_of(manifest.checkpoint).read(manifest, manifest.draws)
    except (CheckpointDamaged, CheckpointNotFound):
        return False
    return True


def find_gate(config: TrainingConfig, device: torch.device) -> QualityGate:
    gate = packaged_quality_gate(config.dataset, config.latent_size, device)
    if gate is None:
        raise InvalidUpload(f"this package has no judge for {config.dataset}: it cannot judge the generator")
    return gate


def figures(verdict: Verdict) -> str:
    """Return the figures of a verdict for a message; an empty string if the generator was not judged."""
    shown = [f"{name} {verdict.metrics[key]:.4g}" for key, name in SHOWN.items() if key in verdict.metrics]
    return f". Its figures: {', '.join(shown)}" if shown else ""
