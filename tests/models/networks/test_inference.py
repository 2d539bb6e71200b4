"""A folded generator draws the same as the generator, to within a grey level."""

import copy
import math

import pytest
import torch

from models.networks.acgan import Generator
from models.networks.inference import FoldedGenerator
from models.sampling.sampler import SampleRange, to_pixels
from tests.models.sampling.test_sampler import trained


def test_a_folded_generator_draws_the_same_as_the_generator() -> None:
    generator = trained()
    noise, labels = SampleRange(None, 40, 8).cut(0, 400, 100)
    exact = copy.deepcopy(generator).double()
    with torch.inference_mode():
        expected = exact(noise.double(), labels)
    drawn = FoldedGenerator(generator, torch.device("cpu"))(noise, labels)
    assert drawn.shape == (400, 1, 28, 28)
    assert expected.std() > 0.1
    assert (drawn - expected).abs().max() < 1e-3
    assert (to_pixels(drawn).int() - to_pixels(expected).int()).abs().max() <= 1


def test_every_tap_and_every_border_counts() -> None:
    """A change of any part of a layer changes the folded generator as it changes the generator."""
    noise, labels = SampleRange(None, 1, 8).cut(0, 10, 100)
    for name in ("upsample_7", "upsample_14", "upsample_28"):
        for row, column in ((0, 0), (0, 4), (4, 0), (4, 4), (2, 2), (1, 3)):
            generator = trained()
            getattr(generator, name).weight.data[:, :, row, column] += 0.05
            with torch.inference_mode():
                expected = generator(noise, labels)
            drawn = FoldedGenerator(generator, torch.device("cpu"))(noise, labels)
            assert (drawn - expected).abs().max() < 1e-3, (name, row, column)


def test_folding_leaves_the_generator_unchanged_and_takes_a_copy() -> None:
    generator = Generator(10)
    before = copy.deepcopy(generator.state_dict())
    folded = FoldedGenerator(generator, torch.device("cpu"))
    noise, labels = SampleRange(3, 8, 1).cut(0, 8, 10)
    drawn = folded(noise, labels)
    for name, tensor in generator.state_dict().items():
        assert torch.equal(tensor, before[name])
    for parameter in generator.parameters():
        parameter.data.zero_()
    assert torch.equal(folded(noise, labels), drawn)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_folded_generator_records_whether_every_weight_was_finite(value: float) -> None:
    generator = Generator(10)
    assert bool(FoldedGenerator(generator, torch.device("cpu")).finite)
    for name, tensor in generator.state_dict().items():
        if tensor.is_floating_point():
            number = tensor.view(-1)[-1].clone()
            tensor.view(-1)[-1] = value
            assert not bool(FoldedGenerator(generator, torch.device("cpu")).finite), name
            tensor.view(-1)[-1] = number
