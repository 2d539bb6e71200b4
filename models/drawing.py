"""A digit is an address: number `index` of (generator, label, seed) is the same pixels, whoever draws it.

The latent depends on seed and index alone, so one seed is one hand: `index` 3 of label 4 and of label 8 share a style.
"""

import numpy as np
import torch
from torch import Tensor

from models.acceleration import lay_out
from models.networks import Generator

DRAWING_BATCH = 8  # digits are always drawn in batches of this shape, so that rounding cannot depend on how many


def latents(seed: int, index: int, n: int, latent_size: int) -> Tensor:
    """Return the latents of the addresses index ... index + n - 1, float32 (n, latent_size), uniform in [-1, 1).

    They are read at their place from the counter-based generator Philox (Salmon et al. 2011), so no address needs its
    predecessors. Seeds are 0 ... 2**64 - 1, indices 0 ... 2**53.
    """
    blocks = -(-latent_size // 4)  # Philox yields four 64-bit words a step of its counter
    stream = np.random.Philox(key=seed)
    stream.advance(index * blocks)
    words = stream.random_raw(n * blocks * 4).reshape(n, blocks * 4)[:, :latent_size]
    return torch.from_numpy((words >> 40).astype(np.float32) * 2.0**-23 - 1)


def to_pixels(images: Tensor) -> Tensor:
    """Turn images (N, 1, 28, 28) in [-1, 1] into uint8 (N, 28, 28), rounding to nearest."""
    return (images.float() * 127.5 + 127.5).round().clamp(0, 255).to(torch.uint8).squeeze(1)


def prepare(generator: Generator, device: torch.device) -> Generator:
    """Make a generator ready to draw: everybody who serves the same addresses prepares it in the same way."""
    generator.to(device).eval()
    lay_out(generator)
    return generator


@torch.inference_mode()
def draw(generator: Generator, noise: Tensor, labels: Tensor) -> Tensor:
    """Draw uint8 digits (N, 28, 28) from noise (N, L) and labels (N,), on the generator's device, back on the CPU."""
    device = generator.dense.weight.device
    padding = -len(labels) % DRAWING_BATCH
    noise = torch.cat((noise, noise.new_zeros(padding, noise.shape[1]))).to(device)
    labels = torch.cat((labels, labels.new_zeros(padding))).to(device)
    batches = zip(noise.split(DRAWING_BATCH), labels.split(DRAWING_BATCH), strict=True)
    pixels = torch.cat([to_pixels(generator(z, y)) for z, y in batches])
    return pixels[: len(pixels) - padding].cpu()


def draw_digits(generator: Generator, label: int, n: int, seed: int, index: int = 0) -> Tensor:
    """Draw the digits index ... index + n - 1 of (label, seed): uint8 (n, 28, 28)."""
    noise = latents(seed, index, n, generator.latent_size)
    return draw(generator, noise, torch.full((n,), label))
