"""The engine on a GPU: the captured iteration against the plain one, and against the CPU."""

import pytest
import torch
from torch import Tensor

from models import resume
from models.config import DatasetName, TrainingConfig
from models.data import Dataset
from models.trainer import Trainer
from tests.conftest import small

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="this machine has no CUDA device"),
]

CPU, GPU = torch.device("cpu"), torch.device("cuda")


def train(trainer: Trainer, iterations: int) -> dict[str, Tensor]:
    for iteration in range(iterations):
        trainer.step(1, iteration)
    return {name: tensor.cpu() for name, tensor in trainer.tensors().items()}


@pytest.fixture(params=["fp32", "bf16"])
def config(request: pytest.FixtureRequest, dataset_name: DatasetName) -> TrainingConfig:
    return small(dataset_name, precision=request.param)


def test_the_graph_computes_what_its_kernels_do_one_by_one(config: TrainingConfig, dataset: Dataset) -> None:
    captured, plain = Trainer(config, dataset, GPU), Trainer(config, dataset, GPU)
    plain.iterate = plain.compute
    before = {name: tensor.clone() for name, tensor in captured.tensors().items()}
    captured.iterate(dataset.train_images[:20].cuda(), dataset.train_labels[:20].cuda())
    assert not torch.equal(before["generator.dense.weight"], captured.generator.dense.weight)
    captured.load_state(plain.state())
    expected = train(plain, 3)
    for name, tensor in train(captured, 3).items():
        assert torch.equal(tensor, expected[name]), name


def test_a_run_resumed_in_a_new_graph_is_the_undisturbed_run(config: TrainingConfig, dataset: Dataset) -> None:
    undisturbed = Trainer(config, dataset, GPU)
    expected = [result.losses for result in undisturbed.run()]
    first = Trainer(config, dataset, GPU)
    first.step(1, 0)
    first.iteration = 1
    second = Trainer(config, dataset, GPU)
    second.load_state(resume.from_bytes(resume.to_bytes(first.state())))
    assert [result.losses for result in second.run()] == expected
    for name, tensor in undisturbed.tensors().items():
        assert torch.equal(tensor, second.tensors()[name]), name


def test_an_epoch_waits_for_the_gpu_only_at_ticks(dataset_name: DatasetName, dataset: Dataset) -> None:
    trainer = Trainer(small(dataset_name), dataset, GPU)
    trainer.step(1, 0)
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        trainer.step(1, 1)
        trainer.step(1, 2)
    finally:
        torch.cuda.set_sync_debug_mode("default")


def test_a_gpu_and_the_cpu_judge_alike(dataset_name: DatasetName, dataset: Dataset) -> None:
    """In float32 and inference mode; in training they draw different random numbers."""
    config = small(dataset_name, precision="fp32")
    on_cpu, on_gpu = Trainer(config, dataset, CPU), Trainer(config, dataset, GPU)
    noise, labels = torch.rand(20, 100) * 2 - 1, torch.arange(20) % 10
    results = []
    with torch.inference_mode():
        for trainer in (on_cpu, on_gpu):
            trainer.generator.eval(), trainer.discriminator.eval()
            images = trainer.generator(noise.to(trainer.device), labels.to(trainer.device))
            results.append((images.cpu(), *(logits.cpu() for logits in trainer.discriminator(images))))
    for cpu, gpu in zip(*results, strict=True):
        assert (cpu - gpu).abs().max() < 1e-5
