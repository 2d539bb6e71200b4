"""Everything between two epochs on the simulated device: evaluation, averaging, judging, plot, copies and state."""

from collections.abc import Callable
from functools import partial
from typing import Any
from unittest import mock

import numpy as np
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensor

from models.config import Precision, RecipeName
from models.evaluation.epoch_snapshot import snapshot_epoch
from models.evaluation.quality_gate import QualityGate
from models.training.trainer import Trainer
from tests.models.simulated_cuda.device import CUDA, simulated_cuda
from tests.models.simulated_cuda.iteration import COMBINATIONS, first_batch, make_trainer
from tests.models.simulated_cuda.judging import HostReads, make_judge

DIGITS = 40  # of each class, judged


def check_epoch_end(recipe: RecipeName, precision: Precision) -> dict[str, Any]:
    """Run it once. Returns the kernels launched, the values and tensors read, and the tensors sent to the device."""
    with simulated_cuda(allow_non_fake_inputs=True):
        trainer = make_trainer(recipe, precision)
        trainer.iterate(*first_batch(trainer))
        trainer.iteration = 1
        gate = QualityGate(make_judge(), trainer.config.latent_size, CUDA, DIGITS)
        return {
            "evaluation": measure(lambda: trainer.evaluate(1)),
            "snapshot": measure(partial(snapshot, trainer, gate)),
            "state": measure(partial(state, trainer)),
        }


def measure(function: Callable[[], Any]) -> dict[str, int]:
    """Count the operations. Lists and arrays have no values and are filled with ones; eigenvalues are omitted."""
    with HostReads(answer=1) as log:

        def ones_as_list(tensor: Tensor) -> list[float]:
            log.reads += tensor.device == CUDA
            return [1.0] * tensor.numel()

        def ones_as_array(tensor: Tensor) -> np.ndarray:
            assert tensor.device.type == "cpu"
            return np.ones(tuple(tensor.shape), np.uint8)

        with (
            mock.patch.object(FakeTensor, "tolist", ones_as_list),
            mock.patch.object(Tensor, "numpy", ones_as_array),
            mock.patch("models.evaluation.quality_gate.frechet", return_value=1.0),
        ):
            function()
    return {"kernels": log.kernels, "reads": log.reads, "sent": log.sent}


def snapshot(trainer: Trainer, gate: QualityGate) -> None:
    taken = snapshot_epoch(trainer, mock.Mock(epoch=1), gate)
    assert taken.plot.shape == (1120, 588)
    networks = taken.generator, taken.average, taken.discriminator
    assert {tensor.device.type for network in networks for tensor in network.values()} == {"cpu"}


def state(trainer: Trainer) -> None:
    assert {tensor.device.type for tensor in trainer.state().tensors.values()} == {"cpu"}


CHECKS: dict[str, Callable[[], Any]] = {
    f"epoch end: {recipe} {precision}": partial(check_epoch_end, recipe, precision)
    for recipe, precision in COMBINATIONS
}
