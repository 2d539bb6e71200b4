"""A wider range of latents is the same as a generator whose embedding is larger."""

import torch

from benchmarks.latent_range import widened
from models.networks.acgan import Generator, initialize


def test_a_wider_range_draws_what_larger_noise_draws() -> None:
    numbers = torch.Generator().manual_seed(1)
    generator = Generator().eval()
    initialize(generator, numbers)
    noise, labels = torch.rand(20, generator.latent_size, generator=numbers) * 2 - 1, torch.arange(20) % 10
    before = {name: tensor.clone() for name, tensor in generator.state_dict().items()}
    with torch.no_grad():
        drawn, wide = generator(noise, labels), widened(generator, 1.25)(noise, labels)
        assert torch.allclose(wide, generator(1.25 * noise, labels), atol=1e-6)
    assert not torch.allclose(wide, drawn, atol=1e-3)
    assert all(torch.equal(tensor, before[name]) for name, tensor in generator.state_dict().items())
