"""Classifier training, judging, evaluation and drawing on the simulated device."""

import contextlib
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast
from unittest import mock

import numpy as np
import torch
from torch import Tensor

from models.config import NUM_CLASSES
from models.data.dataset import Dataset
from models.evaluation import classifier, evaluation_records, judge, metrics
from models.evaluation.classifier import Classifier, ClassifierTraining, look
from models.evaluation.evaluator import EvaluationBudget, Evaluator
from models.evaluation.judge import Judge, find_judge
from models.evaluation.metrics import Moments
from models.evaluation.verifier import TOGETHER_ON_GPU, Verifier
from models.networks.acgan import Generator
from models.networks.inference import FoldedGenerator
from models.sampling.interpolation import Ends, morph
from models.sampling.sampler import SampleRange, draw_batch, prepare
from models.synthesis.order import DatasetOrder
from models.synthesis.verified_sampler import DatasetDrawer
from tests.models.simulated_cuda.device import CUDA, OperationLog, simulated_cuda

EACH = 60  # digits of each class
CPU = torch.device("cpu")
FEATURES = 64


class HostReads(OperationLog):
    """Logs operations, and counts copies to the device and reads from it: copies to the CPU, and values.

    Every read value is one number; a list counts each of its elements.
    """

    def __init__(self, answer: int = EACH) -> None:
        super().__init__()
        self.answer = answer
        self.reads = self.sent = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.ops.aten._local_scalar_dense.default:
            self.reads += args[0].device == CUDA
            return self.answer if args[0].dtype == torch.int64 else float(self.answer)
        if func is torch.ops.aten.equal.default:  # torch.cov compares its degrees of freedom with 0
            self.reads += 1
            return False
        result = super().__torch_dispatch__(func, types, args, kwargs)
        if func is torch.ops.aten._to_copy.default:
            self.reads += args[0].device == CUDA and result.device == CPU
            self.sent += args[0].device == CPU and result.device == CUDA
        return result


def make_dataset(device: torch.device) -> Dataset:
    images, labels = torch.zeros(600, 28, 28, dtype=torch.uint8), torch.zeros(600, dtype=torch.uint8)
    return Dataset("printed", images, labels, images, labels).to(device)


def make_judge() -> Judge:
    mean, covariance = torch.zeros(FEATURES).double(), torch.zeros(FEATURES, FEATURES).double()
    untrained = Judge(Classifier().eval(), "reporting", Moments(mean, covariance), torch.ones(NUM_CLASSES), 0.99)
    return untrained.to(CUDA)


# ----------------------------------------------------------------------------
# Training.


def make_training(augment: bool) -> ClassifierTraining:
    data = make_dataset(CUDA)
    training = ClassifierTraining(
        Classifier(), data.train_images, data.train_labels, seed=1, epochs=3, batch=250, augment=augment
    )
    training.uses_graphs = False  # the function that a graph captures, uncaptured
    return training


def check_training(augment: bool) -> dict[str, Any]:
    """An epoch with a shorter last batch. Every operation of its steps runs on the device, and no value is read."""
    with simulated_cuda():
        training = make_training(augment)
        training.train_epoch()  # creates the optimizer's state
        addresses = [id(gradient) for gradient in training.gradients]
        batches = training.draw_batches()
        with OperationLog() as log:
            for batch in batches:
                training.step(*batch)
        assert log.devices == {CUDA}, log.devices
        assert [len(batch[0]) for batch in batches] == [250, 250, 100]
        assert [id(gradient) for gradient in training.gradients] == addresses
        for parameter, gradient in zip(training.parameters, training.gradients, strict=True):
            assert (parameter.shape, parameter.stride()) == (gradient.shape, gradient.stride())
    return {"kernels": log.kernels / len(batches), "operations": dict(log.launched.most_common())}


def check_transfers() -> dict[str, Any]:
    """The random numbers of an epoch reach the device in two transfers, however many batches there are."""
    with simulated_cuda():
        training = make_training(augment=True)
        with OperationLog() as log:
            training.draw_batches()
    return {"transfers": log.launched["aten._to_copy.default"]}


def check_fault() -> None:
    """A read of the loss, planted into the step."""
    unharmed: Callable[..., None] = ClassifierTraining.compute_gradients

    def faulty(training: ClassifierTraining, *batch: Tensor) -> None:
        unharmed(training, *batch)
        training.gradients[0].sum().item()

    with simulated_cuda(), mock.patch.object(ClassifierTraining, "compute_gradients", faulty):
        make_training(augment=True).train_epoch()


# ----------------------------------------------------------------------------
# Judging.


def check_found_judge() -> dict[str, Any]:
    """A missing judge, of a data set on the CPU: it is trained on the requested GPU."""
    with (
        simulated_cuda(),
        HostReads(),
        mock.patch.object(classifier, "EPOCHS", 1),
        mock.patch.object(judge, "bundled_judge", return_value=None),
        mock.patch.object(judge, "write_durably", return_value=None),
        mock.patch.object(judge, "to_bytes", lambda trained: trained),
        mock.patch.object(judge, "from_bytes", lambda trained, _: trained),
        mock.patch.object(Dataset, "checksum", "sha256:0"),
        mock.patch("torch.random.fork_rng", return_value=contextlib.nullcontext()),
        mock.patch.object(judge, "train_judge", wraps=judge.train_judge) as trained,
    ):
        found = find_judge(make_dataset(CPU), "reporting", Path("nowhere"), CUDA)
        look(found.classifier, make_dataset(CPU).test_images)
    learned_from: Dataset = trained.call_args.args[0]
    return {"devices": [str(tensor.device) for tensor in (learned_from.train_images, found.real.mean)]}


def check_examination() -> dict[str, Any]:
    """A whole evaluation of 600 digits. Returns how many values the host reads."""
    with (
        simulated_cuda(),
        HostReads() as log,
        mock.patch("torch.random.fork_rng", return_value=contextlib.nullcontext()),
    ):
        evaluator = Evaluator(make_dataset(CUDA), make_judge(), EvaluationBudget(EACH, EACH, pupils=1, epochs=1))
        digits = torch.zeros(EACH * NUM_CLASSES, 28, 28, dtype=torch.uint8, device=CUDA)
        labels = evaluator.by_class(digits)
        with (
            mock.patch.object(evaluation_records.Figures, "model_validate", dict),
            mock.patch.object(metrics, "wilson", return_value=(0.0, 1.0)),  # the shares that are read are larger than 1
        ):
            figures, _ = evaluator.examine(digits, labels, lambda: (digits, labels), "generated")
    return {"reads": log.reads, "figures": sorted(figures)}


def check_verifier() -> dict[str, Any]:
    """The verifier: one transfer to the device and one back, in rounds of one length."""
    shapes = list[torch.Size]()

    def looked(_: Classifier, part: Tensor) -> classifier.Looks:
        assert part.device == CUDA
        shapes.append(part.shape)
        return classifier.Looks(part, torch.zeros(len(part), NUM_CLASSES, device=CUDA))

    digits = np.zeros((100, 28, 28), np.uint8)
    with (
        simulated_cuda(allow_non_fake_inputs=True),
        mock.patch("models.evaluation.judge.to_bytes", return_value=b""),
        mock.patch("models.evaluation.verifier.look", looked),
        mock.patch.object(Tensor, "numpy", lambda tensor: np.zeros(tuple(tensor.shape), np.float32)),
    ):
        verifier = Verifier(make_judge(), CUDA)
        with HostReads() as log:
            verifier.probabilities(digits, 3)
    assert shapes == [(TOGETHER_ON_GPU, 28, 28)] * 2, shapes
    return {"sent": log.sent, "reads": log.reads}


# ----------------------------------------------------------------------------
# Drawing, as the API serves digits and as a worker makes a data set.


@contextlib.contextmanager
def drawing_generator() -> Iterator[FoldedGenerator]:
    """A generator on the simulated device. Arrays that are read from the device are filled with ones."""

    def ones(tensor: Tensor) -> np.ndarray:
        return np.ones(tuple(tensor.shape), np.uint8)

    with (
        simulated_cuda(allow_non_fake_inputs=True),
        mock.patch("models.evaluation.judge.to_bytes", return_value=b""),
        mock.patch.object(Tensor, "numpy", ones),
    ):
        with HostReads():
            generator = prepare(Generator().eval(), CUDA)
        yield generator


def check_batch() -> dict[str, Any]:
    """A batch of served digits: noise and labels go to the device, the pixels come back."""
    with drawing_generator() as generator, HostReads() as log:
        digits = draw_batch(generator, *SampleRange(3, 20, seed=1).cut(0, 20, generator.latent_size))
    assert digits.shape == (20, 28, 28)
    return {"sent": log.sent, "reads": log.reads}


def check_morph() -> None:
    """A morph: its embedding is interpolated on the device."""
    with drawing_generator() as generator, HostReads():
        between, stations = morph(generator, Ends((1, 2), (3, 4)), 10)
        assert between.embedding.device == CUDA
        draw_batch(between, *stations.cut(0, 10, generator.latent_size))


def check_generated_dataset() -> dict[str, Any]:
    """A hundred digits of a data set, two batches, verified."""
    order = DatasetOrder(per_class=10, test_per_class=10, seed=1, verify=0.5)
    with drawing_generator() as generator:
        verifier, same_thread = Verifier(make_judge(), CUDA), SimpleNamespace(map=map)
        with HostReads() as log:
            drawer = DatasetDrawer(generator, order, verifier, cast(ThreadPoolExecutor, same_thread))
            digits, redraws = drawer(10, 0)
    assert digits.shape == (100, 28, 28)
    assert not redraws.any()
    return {"sent": log.sent, "reads": log.reads}


CHECKS: dict[str, Callable[[], Any]] = {
    "classifier training, augmented": partial(check_training, True),
    "classifier training": partial(check_training, False),
    "classifier transfers": check_transfers,
    "classifier fault": check_fault,
    "found judge": check_found_judge,
    "examination": check_examination,
    "verifier": check_verifier,
    "drawn batch": check_batch,
    "morph": check_morph,
    "generated data set": check_generated_dataset,
}
