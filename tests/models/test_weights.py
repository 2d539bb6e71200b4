import pytest
import torch
from safetensors.torch import load, save

from models.networks import Discriminator, Generator
from models.weights import InvalidWeights, discriminator_from_bytes, generator_from_bytes, to_bytes


@pytest.mark.parametrize("latent_size", [100, 7])
def test_a_generator_comes_back_with_its_latent_size(latent_size: int) -> None:
    generator = Generator(latent_size).eval()
    again = generator_from_bytes(to_bytes(generator))
    noise, labels = torch.rand(3, latent_size), torch.tensor([1, 2, 3])
    assert torch.equal(again(noise, labels), generator(noise, labels))
    assert not again.training


def test_a_discriminator_comes_back() -> None:
    discriminator = Discriminator()
    again = discriminator_from_bytes(to_bytes(discriminator))
    assert torch.equal(again.conv_4.weight, discriminator.conv_4.weight)


def test_weights_that_are_not_a_generators_are_refused() -> None:
    good = load(to_bytes(Generator(10)))
    wrong = {
        "not a safetensors file": b"\x80\x04pickle",
        "embedding": to_bytes(Discriminator()),
        "missing: dense.bias": save({name: tensor for name, tensor in good.items() if name != "dense.bias"}),
        "unexpected": save({**good, "more": torch.zeros(1)}),
        "shape": save({**good, "dense.bias": torch.zeros(5)}),
        "not finite": save({**good, "dense.bias": torch.full((3456,), float("nan"))}),
    }
    for reason, data in wrong.items():
        with pytest.raises(InvalidWeights, match=reason):
            generator_from_bytes(data)


def test_the_same_weights_are_the_same_bytes() -> None:
    generator = Generator(10)
    assert len({to_bytes(generator) for _ in range(20)}) == 1
