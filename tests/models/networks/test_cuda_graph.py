"""CUDA graph steps. On the CPU they run the function that a GPU captures, uncaptured, over the same buffers."""

import pytest
import torch
from torch import Tensor

from models.config import DatasetName
from models.data.dataset import Dataset
from models.networks.cuda_graph import CudaGraphStep, unchanged
from models.training.trainer import Trainer
from tests.conftest import BF16, small

CPU = torch.device("cpu")


def trained(trainer: Trainer) -> dict[str, Tensor]:
    """Two iterations, an evaluation, and one more iteration."""
    trainer.step(1, 0)
    trainer.step(1, 1)
    trainer.evaluate(1)
    trainer.step(1, 2)
    return trainer.tensors()


@pytest.mark.parametrize("precision", ["fp32", BF16])
def test_a_replayed_run_equals_the_plain_one(dataset_name: DatasetName, dataset: Dataset, precision: str) -> None:
    config = small(dataset_name, precision=precision)
    plain, replayed = Trainer(config, dataset, CPU), Trainer(config, dataset, CPU)
    replay = CudaGraphStep(replayed.compute, replayed.tensors().values(), CPU)
    replayed.iterate = replay
    expected = trained(plain)
    for name, tensor in trained(replayed).items():
        assert torch.equal(tensor, expected[name]), name
    assert len(replay.buffers) == 2
    assert torch.equal(replay.buffers[0], dataset.train_images[12:18])


def test_the_graph_replays_a_loaded_state(dataset_name: DatasetName, dataset: Dataset) -> None:
    config = small(dataset_name)
    first, second = Trainer(config, dataset, CPU), Trainer(config, dataset, CPU)
    second.iterate = CudaGraphStep(second.compute, second.tensors().values(), CPU)
    second.step(1, 2)
    second.load_state(first.state())
    first.step(1, 0)
    second.step(1, 0)
    for name, tensor in first.tensors().items():
        assert torch.equal(tensor, second.tensors()[name]), name


def test_a_warm_up_leaves_no_trace() -> None:
    weight, other = torch.ones(3), torch.zeros(2)
    torch.manual_seed(4)
    expected = torch.rand(5)
    torch.manual_seed(4)
    with unchanged([weight, other], CPU):
        weight.mul_(torch.rand(3))
        other.add_(1)
    assert torch.equal(weight, torch.ones(3))
    assert torch.equal(other, torch.zeros(2))
    assert torch.equal(torch.rand(5), expected)


def test_every_tensor_that_training_changes_is_listed(dataset_name: DatasetName, dataset: Dataset) -> None:
    """A warm-up would permanently change an unlisted tensor, and a resumed run would lack it."""
    trainer = Trainer(small(dataset_name), dataset, CPU)
    named = {tensor.data_ptr() for tensor in trainer.tensors().values()}
    for network, adam in (
        (trainer.generator, trainer.compute.generator_adam),
        (trainer.discriminator, trainer.compute.discriminator_adam),
    ):
        assert {tensor.data_ptr() for tensor in network.state_dict().values()} <= named
        assert {value.data_ptr() for state in adam.state.values() for value in state.values()} <= named
    trained(trainer)
    assert {tensor.data_ptr() for tensor in trainer.tensors().values()} == named
