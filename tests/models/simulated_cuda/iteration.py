"""The captured iteration on the simulated device, and planted faults that must stop it."""

import contextlib
import io
import logging
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple
from unittest import mock

import torch
from torch import Tensor

from models.config import Precision, RecipeName, TrainingConfig
from models.data.dataset import Dataset
from models.networks.cuda_graph import CudaGraphStep
from models.training.fused.iteration import FusedIteration
from models.training.fused.kernels import TorchKernels
from models.training.iteration import Iteration
from models.training.recipes import RECIPES
from models.training.trainer import Trainer
from tests.models.simulated_cuda.device import CUDA, OperationLog, simulated_cuda

BATCH = 100


def make_trainer(recipe: RecipeName, precision: Precision) -> Trainer:
    """Make a trainer of tensors without values, on the simulated device."""
    images, labels = torch.zeros(600, 28, 28, dtype=torch.uint8), torch.zeros(600, dtype=torch.uint8)
    dataset = Dataset("mnist", images, labels, images[:400], labels[:400])
    trainer = Trainer(TrainingConfig(recipe=recipe, precision=precision), dataset, CUDA)
    trainer.iterate = trainer.compute  # the function that the graph would capture
    return trainer


def first_batch(trainer: Trainer) -> tuple[Tensor, Tensor]:
    return trainer.dataset.train_images[:BATCH], trainer.dataset.train_labels[:BATCH]


def layout(trainer: Trainer) -> dict[str, Any]:
    return {name: (x.shape, x.stride(), x.dtype, x.device) for name, x in trainer.tensors().items()}


def check_iteration(
    recipe: RecipeName,
    precision: Precision,
    plain: bool = False,
    fault: "Fault | None" = None,
    triton: bool = True,
) -> dict[str, Any]:
    """One whole iteration: forward, backward, Adam, average and loss sums. Returns how many kernels it launches."""
    with simulated_cuda():
        trainer = make_trainer(recipe, precision)
        if plain:
            trainer.compute = Iteration(trainer.config, trainer.precision, CUDA)
            trainer.iterate = trainer.compute
        if not triton:
            assert isinstance(trainer.compute, FusedIteration)
            trainer.compute.kernels = TorchKernels()
        if fault is not None:
            trainer.iterate = partial(iterate_with, fault, trainer)
        before = layout(trainer)
        trainer.iterate(*first_batch(trainer))  # state that the first iteration creates is not counted
        with OperationLog() as log:
            trainer.iterate(*first_batch(trainer))
        assert log.devices == {CUDA}, log.devices
        assert layout(trainer) == before
        for network in (trainer.compute.generator, trainer.compute.discriminator):
            for name, parameter in network.named_parameters():
                assert parameter.grad is not None, name
                assert parameter.grad.shape == parameter.shape, name
    return {"kernels": log.kernels, "operations": dict(log.launched.most_common())}


# ----------------------------------------------------------------------------
# Faults that have no effect on a CPU but do on a GPU. Each is the end of an iteration.


class Fault(NamedTuple):
    """A fault, and the name of the error that must stop it."""

    error: str
    plant: Callable[[Trainer, Tensor], Any]


READS_A_VALUE, MIXES_DEVICES = "DataDependentOutputException", "FakeTensorDeviceMismatchError"
FAULTS = {
    "item": Fault(READS_A_VALUE, lambda trainer, _: trainer.compute.generator_losses[0].item()),
    "bool": Fault(READS_A_VALUE, lambda trainer, _: bool(trainer.compute.generator_losses.isfinite().all())),
    "float": Fault(READS_A_VALUE, lambda trainer, _: float(trainer.compute.generator_losses.sum())),
    "cpu constant": Fault(MIXES_DEVICES, lambda trainer, _: trainer.compute.generator_losses.add_(torch.ones(3))),
    "boolean mask": Fault("DynamicOutputShapeException", lambda _, pixels: pixels[pixels.sum((1, 2)) > 0]),
    "numpy": Fault(
        "RuntimeError: .numpy()", lambda trainer, _: trainer.compute.generator_losses.detach().cpu().numpy()
    ),
}


def iterate_with(fault: Fault, trainer: Trainer, pixels: Tensor, classes: Tensor) -> None:
    trainer.compute(pixels, classes)
    fault.plant(trainer, pixels)


def check_failed_capture() -> dict[str, Any]:
    """A step of the trainer, captured on a build without CUDA streams."""
    logged = io.StringIO()
    handler = logging.StreamHandler(logged)
    logging.getLogger("models.networks.cuda_graph").addHandler(handler)
    with simulated_cuda(), mock.patch("torch.random.fork_rng", return_value=contextlib.nullcontext()):
        trainer = make_trainer("seed", "fp32")
        step = CudaGraphStep(trainer.compute, trainer.tensors().values(), CUDA)
        step(*first_batch(trainer))
        with OperationLog() as log:
            step(*first_batch(trainer))
    return {"log": logged.getvalue(), "kernels": log.kernels}


PRECISIONS: tuple[Precision, ...] = ("fp32", "bf16")
COMBINATIONS = [(recipe, precision) for recipe in RECIPES for precision in PRECISIONS]
CHECKS: dict[str, Callable[[], Any]] = {
    "failed capture": check_failed_capture,
    **{f"{recipe} {precision}": partial(check_iteration, recipe, precision) for recipe, precision in COMBINATIONS},
    **{
        f"{recipe} {precision} plain": partial(check_iteration, recipe, precision, True)
        for recipe, precision in COMBINATIONS
    },
    **{
        f"{recipe} {precision} without triton": partial(check_iteration, recipe, precision, triton=False)
        for recipe, precision in COMBINATIONS
    },
    **{f"fault: {name}": partial(check_iteration, "seed", "bf16", fault=fault) for name, fault in FAULTS.items()},
}
