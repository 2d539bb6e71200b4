"""Drawing the digits of a data set: the same code for the owner of the job and for other workers."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from models.errors import TrainingFailed
from models.evaluation.evaluation_records import EvaluationOrder
from models.evaluation.verifier import Verifier, find_verifier
from models.networks.inference import FoldedGenerator
from models.networks.weights import InvalidWeights, generator_from_bytes
from models.registry import bundled
from models.registry.store import CheckpointId, CheckpointStore, Manifest
from models.sampling.sampler import prepare
from models.synthesis.order import DatasetOrder
from models.synthesis.verified_sampler import DatasetDrawer, drawing_threads


def read_generator(store: CheckpointStore, order: DatasetOrder | EvaluationOrder) -> tuple[Manifest, bytes]:
    """Read the generator: its manifest and its weights. Raises CheckpointNotFound, CheckpointDamaged, OSError."""
    checkpoint = CheckpointId.parse(order.checkpoint)
    storage = bundled.STORE if checkpoint.job == bundled.JOB else store
    manifest = storage.manifest(checkpoint)
    return manifest, storage.read(manifest, manifest.draws)


def prepare_generator(weights: bytes, device: torch.device) -> FoldedGenerator:
    """Raises InvalidWeights."""
    return prepare(generator_from_bytes(weights), device)


def names_of(manifest: Manifest, classes: int) -> tuple[str, ...]:
    """Return the names of a generator's classes. Raises InvalidWeights if its manifest has another number of names."""
    if len(manifest.class_names) != classes:
        raise InvalidWeights(
            f"{manifest.draws} of {manifest.id} has {classes} classes, its training data {len(manifest.class_names)}"
        )
    return manifest.class_names


@contextmanager
def drawing(
    order: DatasetOrder, manifest: Manifest, generator: FoldedGenerator, device: torch.device
) -> Iterator[DatasetDrawer]:
    """Provide a function that draws parts with a prepared generator and its judge. Raises TrainingFailed."""
    verifier = verifier_for(manifest, order, device)
    with drawing_threads(device) as pool:
        yield DatasetDrawer(generator, order, verifier, pool)


def verifier_for(manifest: Manifest, order: DatasetOrder, device: torch.device) -> Verifier | None:
    """Return the judge of an order with `verify`, else None. Raises TrainingFailed if these digits have no judge."""
    if order.verify is None:
        return None
    verifier = find_verifier(manifest.config.dataset, device)
    if verifier is None:
        raise TrainingFailed(
            f"this package contains no judge of {manifest.config.dataset} digits: order without verify"
        )
    return verifier
