import copy

import pytest
import torch
from torch import nn

from models.config import TrainingConfig
from models.data.dataset import Dataset
from models.networks.acgan import Generator
from models.networks.weights import to_bytes
from models.training.ema import Average, averaged
from models.training.trainer import Trainer

CPU = torch.device("cpu")


def test_older_weights_count_less_in_an_average() -> None:
    network, values = nn.Linear(1, 1, bias=False), [4.0, -2.0, 1.0]
    average = Average(network, decay=0.9)
    for value in values:
        network.weight.data.fill_(value)
        average.update()
    weights = [0.9**2, 0.9, 1.0]
    expected = sum(w * value for w, value in zip(weights, values, strict=True)) / sum(weights)
    assert float(average.of(3)["weight"]) == pytest.approx(expected, rel=1e-6)


def test_averaging_does_not_affect_training(config: TrainingConfig, dataset: Dataset) -> None:
    watched, plain = Trainer(config, dataset, CPU), Trainer(config, dataset, CPU)
    for iteration in range(3):
        watched.step(1, iteration)
        watched.iteration += 1
        watched.averaged_generator()
        plain.step(1, iteration)
    assert to_bytes(watched.generator) == to_bytes(plain.generator)


def test_the_average_is_deterministic_and_continues_after_a_stop(config: TrainingConfig, dataset: Dataset) -> None:
    first, second = Trainer(config, dataset, CPU), Trainer(config, dataset, CPU)
    for trainer in (first, second):
        trainer.step(1, 0)
        trainer.iteration = 1
    resumed = Trainer(config, dataset, CPU)
    resumed.load_state(second.state())
    for trainer in (first, resumed):
        trainer.step(1, 1)
        trainer.iteration = 2
    assert to_bytes(first.averaged_generator()) == to_bytes(resumed.averaged_generator())


def test_moving_statistics_are_those_of_the_averaged_weights() -> None:
    """With those of other weights an averaged generator draws nothing at all."""
    generator = Generator(8)
    average = Average(generator)
    average.update()
    draws = torch.Generator().manual_seed(1)
    batches = [
        (torch.rand(40, 8, generator=draws) * 2 - 1, torch.randint(10, (40,), generator=draws)) for _ in range(5)
    ]
    before = copy.deepcopy(generator.state_dict())
    settled = averaged(generator, average, 1, batches)
    seen = []
    settled.norm_7.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    with torch.no_grad():
        for noise, labels in batches:
            settled(noise, labels)
    means = torch.stack([maps.mean((0, 2, 3)) for maps in seen]).mean(0)
    assert settled.norm_7.running_mean is not None
    torch.testing.assert_close(settled.norm_7.running_mean, means, rtol=1e-4, atol=1e-6)
    assert settled.norm_7.momentum == generator.norm_7.momentum
    assert not settled.training
    for name, tensor in generator.state_dict().items():
        assert torch.equal(tensor, before[name])
