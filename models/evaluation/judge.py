"""Judges: small classifiers, independent of every generator, with their statistics of a data set's real digits.

The choosing judge selects generators and the reporting judge measures them, because a figure that was used for a
choice is biased. A judge is trained once on the training split. The package includes both judges of MNIST and the
choosing judge of printed digits.
"""

import hashlib
import logging
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from models.atomic_files import write_durably
from models.bounded_reading import FileFault, FileMissing, read_bounded
from models.config import DatasetName
from models.data.catalog import DATASETS
from models.data.dataset import Dataset
from models.evaluation import classifier
from models.evaluation.classifier import Check, Classifier, Role, look
from models.evaluation.evaluation_records import packaged_judge
from models.evaluation.metrics import Moments, mean_distance, split_by_class
from models.networks.safetensors_header import read_header

logger = logging.getLogger(__name__)

FILE_LIMIT = 16 << 20  # bytes; a judge's file has 0.24 million
SEEDS: dict[Role, int] = {"reporting": 1, "choosing": 2}


@dataclass(frozen=True)
class Judge:
    """A classifier with statistics of real digits: moments of the test digits' features, and each class's variety.

    The variety is that of the training digits, because a generator learns to draw those. The splits differ: MNIST's
    reporting judge finds 5 % more variety in the digits 1 of the training split than in those of the test split.
    """

    classifier: Classifier
    role: Role
    real: Moments
    distances: Tensor  # (K,) mean distance between two training digits of a class
    accuracy: float  # on the test split, 0-1

    @cached_property
    def checksum(self) -> str:
        """SHA-256 of its file: judges of the same data differ if devices or versions trained them that differ."""
        return hashlib.sha256(to_bytes(self)).hexdigest()

    def to(self, device: torch.device) -> "Judge":
        real = Moments(self.real.mean.to(device), self.real.covariance.to(device))
        return Judge(self.classifier.to(device), self.role, real, self.distances, self.accuracy)


def train_judge(dataset: Dataset, role: Role, check: Check = lambda: None) -> Judge:
    """Train a judge on the training split, on the data set's device. Takes minutes on a CPU.

    `check` is called before each batch; what it raises ends the training.
    """
    student = Classifier(role, dataset.class_count)
    classifier.train(student, dataset.train_images, dataset.train_labels, seed=SEEDS[role], check=check)
    return with_real(student, role, dataset, check)


def with_real(student: Classifier, role: Role, dataset: Dataset, check: Callable[[], None] = lambda: None) -> Judge:
    """Make a judge: round the classifier to the precision of its file, then measure the real digits with it."""
    for parameter in student.state_dict().values():
        if parameter.is_floating_point():
            parameter.copy_(parameter.half())
    seen, labels = look(student, dataset.test_images, check), dataset.test_labels
    trained = look(student, dataset.train_images, check).features
    parts = split_by_class(trained, dataset.train_labels, dataset.class_count)
    distances = [mean_distance(features, check) for features in parts]
    accuracy = float((seen.classes == labels).float().mean())
    return Judge(student, role, Moments.of(seen.features), torch.tensor(distances), accuracy)


# ----------------------------------------------------------------------------
# Finding a judge: in the package, in the cache, or by training it.


def find_judge(dataset: Dataset, role: Role, cache: Path, device: torch.device, check: Check = lambda: None) -> Judge:
    """Return the judge of a data set, on `device`. If the package has none, train it there and store it in the cache.

    The data set may be on any device; it is moved once, if a judge is trained. The package's judges were trained on
    whole data sets and are used for parts of them too. `check` is called before each batch of a training, which ends
    if it raises an error.
    """
    if (bundled := bundled_judge(dataset.name, role)) is not None:
        return bundled.to(device)
    path = cache / f"{dataset.checksum.removeprefix('sha256:')[:16]}-{role}.safetensors"
    if (stored := stored_judge(path, role)) is not None:
        return stored.to(device)
    title = DATASETS[dataset.name].title if dataset.name in DATASETS else dataset.name
    logger.info("training a judge for %s on device %s; this happens once", title, device)
    data = to_bytes(train_judge(dataset.to(device), role, check))
    write_durably(path, data)
    return from_bytes(data, role).to(device)  # as the next process reads it, so both compute the same figures


def stored_judge(path: Path, role: Role) -> Judge | None:
    """Read a judge's file; None if it is missing or damaged."""
    try:
        return from_bytes(read_bounded(path, FILE_LIMIT), role)
    except FileMissing:
        return None
    except (FileFault, SafetensorError, KeyError, ValueError, RuntimeError) as error:
        logger.warning("%s is damaged and will be replaced: %s", path, error)
        return None


def bundled_judge(name: DatasetName, role: Role) -> Judge | None:
    file = packaged_judge(name, role)
    return from_bytes(file.read_bytes(), role) if file else None


def to_bytes(judge: Judge) -> bytes:
    """Serialise a judge: weights in half precision, statistics in full precision."""
    weights = {f"classifier.{name}": tensor.half() for name, tensor in judge.classifier.state_dict().items()}
    measured = {
        "real.mean": judge.real.mean,
        "real.covariance": judge.real.covariance.float(),
        "real.distances": judge.distances,
    }
    tensors = {name: tensor.cpu().contiguous() for name, tensor in (weights | measured).items()}
    return save(tensors, metadata={"accuracy": f"{judge.accuracy:.4f}"})


def from_bytes(data: bytes, role: Role) -> Judge:
    """Raises FileInvalid, SafetensorError, KeyError, ValueError or RuntimeError if the bytes are not a judge."""
    about = read_header(data, "the judge").metadata
    tensors = load(data)
    student = Classifier(role, len(tensors["real.distances"]))
    prefix = "classifier."
    student.load_state_dict({name.removeprefix(prefix): t for name, t in tensors.items() if name.startswith(prefix)})
    real = Moments(tensors["real.mean"].double(), tensors["real.covariance"].double())
    return Judge(student.eval(), role, real, tensors["real.distances"], float(about["accuracy"]))
