"""The generator of an Auxiliary Classifier GAN, for programs that have only torch and safetensors.

This file is part of each folder that `acgan export --format huggingface` writes, and imports nothing of acgan. MIT
licence.
"""

import json
from collections.abc import Iterator
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor, nn

WEIGHTS, CONFIG = "model.safetensors", "config.json"
MASK = 2**64 - 1


class Generator(nn.Module):
    """(z, y) -> image: the noise is multiplied by the embedding of its class, then upsampled 3 -> 7 -> 14 -> 28."""

    def __init__(self, latent_size: int = 100, num_classes: int = 10) -> None:
        super().__init__()
        self.latent_size = latent_size
        self.embedding = nn.Embedding(num_classes, latent_size)
        self.dense = nn.Linear(latent_size, 3 * 3 * 384)
        self.upsample_7 = nn.ConvTranspose2d(384, 192, 5)
        self.norm_7 = nn.BatchNorm2d(192, eps=1e-3)
        self.upsample_14 = nn.ConvTranspose2d(192, 96, 5, stride=2, padding=1)
        self.norm_14 = nn.BatchNorm2d(96, eps=1e-3)
        self.upsample_28 = nn.ConvTranspose2d(96, 1, 5, stride=2, padding=1)

    def forward(self, noise: Tensor, labels: Tensor) -> Tensor:
        """Map noise (N, L), uniform in [-1, 1), and labels (N,), from 0, to images (N, 1, 28, 28) in [-1, 1]."""
        h = F.relu(self.dense(noise * self.embedding(labels)))
        h = h.view(-1, 3, 3, 384).permute(0, 3, 1, 2)
        h = self.norm_7(F.relu(self.upsample_7(h)))
        h = self.norm_14(F.relu(self.upsample_14(h)[:, :, :-1, :-1]))
        return torch.tanh(self.upsample_28(h)[:, :, :-1, :-1])

    @torch.inference_mode()
    def draw(self, label: int, n: int = 1, seed: int = 0, index: int = 0) -> Tensor:
        """Draw the images index ... index + n - 1 of (label, seed): uint8 (n, 28, 28), white on black.

        For digits, these are the images of `acgan digits LABEL -n N --seed SEED`, except for single pixels that differ
        by 1.
        """
        device = self.dense.weight.device
        noise = latents(seed, index, n, self.latent_size).to(device)
        images = self(noise, torch.full((n,), label, device=device))
        pixels: Tensor = (images * 127.5 + 127.5).round().clamp(0, 255).to(torch.uint8).squeeze(1).cpu()
        return pixels


def load_generator(folder: str | Path) -> Generator:
    """Load the generator from a folder with config.json and model.safetensors, in inference mode."""
    config = json.loads((Path(folder) / CONFIG).read_text())
    generator = Generator(config["latent_size"], config["num_classes"])
    generator.load_state_dict(load_file(Path(folder) / WEIGHTS))
    return generator.eval()


def latents(seed: int, index: int, n: int, latent_size: int) -> Tensor:
    """Return the latents of a seed at n consecutive indices: float32 (n, latent_size), uniform in [-1, 1)."""
    blocks = -(-latent_size // 4)
    rows = []
    for first in range(index * blocks, (index + n) * blocks, blocks):
        words = [word for block in range(first, first + blocks) for word in philox(block + 1, seed)]
        rows.append([word >> 40 for word in words[:latent_size]])
    return torch.tensor(rows, dtype=torch.float32) * 2.0**-23 - 1


def philox(counter: int, key: int) -> Iterator[int]:
    """Yield four words of 64 bits of Philox4x64-10 (Salmon et al. 2011), as numpy's Philox does."""
    a, b, c, d = (counter >> shift & MASK for shift in (0, 64, 128, 192))
    low, high = key & MASK, key >> 64 & MASK
    for _ in range(10):
        first, second = a * 0xD2E7470EE14C6C93, c * 0xCA5A826395121157
        a, b, c, d = second >> 64 ^ b ^ low, second & MASK, first >> 64 ^ d ^ high, first & MASK
        low, high = low + 0x9E3779B97F4A7C15 & MASK, high + 0xBB67AE8584CAA73B & MASK
    yield from (a, b, c, d)
