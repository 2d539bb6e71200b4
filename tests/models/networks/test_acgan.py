import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from models.config import NUM_CLASSES
from models.networks.acgan import Discriminator, Generator, initialize
from models.networks.layers import BatchNorm, Convolution, Dropout, UpsampleSame, UpsampleValid
from models.training.losses import NEARBY, real_log_odds, slope
from tests.conftest import BF16


def test_the_networks_have_the_original_number_of_parameters() -> None:
    """The numbers that Keras' `summary()` of the original models shows, without moving statistics."""
    assert (
        sum(p.numel() for p in Generator(100).parameters()) == 1000 + 349_056 + 1_843_392 + 384 + 460_896 + 192 + 2401
    )
    assert sum(p.numel() for p in Discriminator().parameters()) == 320 + 18_496 + 73_856 + 295_168 + 12_545 + 125_450


@pytest.mark.parametrize("n", [1, 7])
@pytest.mark.parametrize("latent_size", [1, 100])
def test_shapes_and_range(n: int, latent_size: int) -> None:
    images = Generator(latent_size).eval()(torch.rand(n, latent_size) * 2 - 1, torch.arange(n))
    assert images.shape == (n, 1, 28, 28)
    assert images.abs().max() <= 1
    real_logits, class_logits = Discriminator()(images)
    assert (real_logits.shape, class_logits.shape) == ((n,), (n, 10))


def test_initial_weights_follow_glorot() -> None:
    generator, discriminator = Generator(100), Discriminator()
    for network in (generator, discriminator):
        initialize(network, torch.Generator().manual_seed(1))

    std = math.sqrt(2 / (25 * (384 + 192)))
    weight = generator.upsample_7.weight.detach()
    assert weight.std().item() == pytest.approx(std, rel=0.01)
    assert weight.abs().max().item() <= 2 * std / 0.8796 * 1.001  # truncated at two deviations
    assert (weight.abs() > 1.9 * std / 0.8796).any()

    limit = math.sqrt(6 / (9 * (128 + 256)))
    weight = discriminator.conv_4.weight.detach()
    assert 0.99 * limit < weight.abs().max().item() <= limit
    assert weight.std().item() == pytest.approx(limit / math.sqrt(3), rel=0.01)
    assert all((p == 0).all() for name, p in discriminator.named_parameters() if name.endswith("bias"))


@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_dropout_keeps_the_expectation(memory_format: torch.memory_format, dtype: torch.dtype) -> None:
    dropout = Dropout(0.3)
    x = torch.ones(50, 32, 14, 13, dtype=dtype).contiguous(memory_format=memory_format).requires_grad_()
    dropped = dropout(x)
    kept = (dropped != 0).float()
    assert kept.mean().item() == pytest.approx(0.7, abs=0.003)
    assert dropped.max().item() == pytest.approx(1 / 0.7, rel=0.01)
    assert (kept.mean((1, 2, 3)) - 0.7).abs().max() < 0.03  # every image
    assert (kept.mean((0, 2, 3)) - 0.7).abs().max() < 0.03  # every channel

    dropped.sum().backward()
    assert x.grad is not None
    assert torch.equal(x.grad != 0, dropped != 0)
    assert torch.equal(dropout.eval()(x), x)


def test_dropout_follows_torchs_seed() -> None:
    x = torch.ones(1000)
    torch.manual_seed(5)
    first, second = Dropout(0.3)(x), Dropout(0.3)(x)
    torch.manual_seed(5)
    assert torch.equal(Dropout(0.3)(x), first)
    assert not torch.equal(first, second)


def relative(a: torch.Tensor, b: torch.Tensor) -> float:
    return float((a.detach().double() - b.detach().double()).norm() / b.detach().double().norm())


@pytest.mark.usefixtures("path")
@pytest.mark.parametrize("precision", ["fp32", BF16])
def test_convolutions_equal_torchs(precision: str) -> None:
    x = torch.randn(4, 6, 3, 3)
    same, valid, convolution = UpsampleSame(6, 5), UpsampleValid(6, 5), Convolution(6, 5)
    bound = 1e-5 if precision == "fp32" else 2e-2
    with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
        doubled, widened, filtered = same(x), valid(x), convolution(x)
    expected = F.conv_transpose2d(x, same.weight, same.bias, stride=2, padding=1)[:, :, :-1, :-1]
    assert doubled.shape == (4, 5, 6, 6)
    assert relative(doubled, expected) < bound
    assert widened.shape == (4, 5, 7, 7)
    assert relative(widened, F.conv_transpose2d(x, valid.weight, valid.bias)) < bound
    assert filtered.shape == (4, 5, 3, 3)
    assert relative(filtered, F.conv2d(x, convolution.weight, convolution.bias, padding=1)) < bound


def test_batch_normalisation_does_not_depend_on_the_layout() -> None:
    x, upstream = torch.randn(4, 6, 3, 3), torch.randn(4, 6, 3, 3)
    results = []
    for layout in (x, x.permute(2, 3, 0, 1).contiguous().permute(2, 3, 0, 1)):
        norm, maps = BatchNorm(6), layout.detach().requires_grad_()
        normal = norm(maps)
        (normal * upstream).sum().backward()
        results.append((normal, maps.grad, norm.running_var))
        assert torch.allclose(norm.eval()(maps), torch.nn.BatchNorm2d.forward(norm, x), atol=1e-6)
    for ours, torchs in zip(*results, strict=True):
        assert torch.allclose(ours, torchs, atol=1e-6)


def test_bf16_distinguishes_an_image_from_its_neighbour() -> None:
    """Logits as large as a trained discriminator's, of which bf16 would keep steps of 1/32."""
    torch.manual_seed(4)
    discriminator = Discriminator(2 * NUM_CLASSES, dropout=0.0)
    initialize(discriminator, torch.Generator().manual_seed(4))
    nn.init.constant_(discriminator.auxiliary.bias, 4.0)
    images, labels = torch.rand(100, 1, 28, 28) * 2 - 1, torch.randint(NUM_CLASSES, (100,))
    neighbours = images + NEARBY * torch.randn_like(images)

    def steepness(enabled: bool) -> float:
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            here, nearby = (real_log_odds(discriminator(each)[1], labels) for each in (images, neighbours))
        return float(slope(here, nearby))

    assert steepness(enabled=True) == pytest.approx(steepness(enabled=False), rel=0.1)
