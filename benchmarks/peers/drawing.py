"""Sheets of digits for the peers: (label, n, seed) -> PNG, drawn by plain torch or by this project's engine."""

import functools
import io
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from benchmarks.peers import settings
from benchmarks.peers.eager import load_eager
from models.networks.weights import generator_from_bytes
from models.sampling.grid import sheet
from models.sampling.png import encode_png
from models.sampling.sampler import draw, latents, prepare, to_pixels

Engine = Callable[[Tensor, Tensor], np.ndarray]  # noise (N, L), labels (N,) -> uint8 (N, 28, 28)


class Order(NamedTuple):
    label: int
    n: int
    seed: int


def draw_sheet(label: int, n: int, seed: int) -> bytes:
    return draw_sheets([Order(label, n, seed)])[0]


def draw_sheets(orders: list[Order]) -> list[bytes]:
    """Draw the digits of several orders in one batch, each on a separate sheet."""
    engine, latent_size = load_engine()
    noise = torch.cat([draw_noise(order, latent_size) for order in orders])
    labels = torch.cat([torch.full((order.n,), order.label) for order in orders])
    digits = np.split(engine(noise, labels), np.cumsum([order.n for order in orders])[:-1])
    encode = encode_png if settings.PNG == "ours" else encode_by_default
    return [encode(sheet(images)) for images in digits]


def draw_noise(order: Order, latent_size: int) -> Tensor:
    if settings.DRAWING == "ours":
        return latents(order.seed, 0, order.n, latent_size)
    return torch.rand(order.n, latent_size, generator=torch.Generator().manual_seed(order.seed)) * 2 - 1


@functools.cache
def load_engine() -> tuple[Engine, int]:
    """Load and warm up the generator on first use: (noise, labels) -> digits, and its latent size."""
    if settings.THREADS:
        torch.set_num_threads(settings.THREADS)
    load = load_ours if settings.DRAWING == "ours" else load_plain
    engine, latent_size = load(settings.GENERATOR)
    for n in (1, 40, 40):
        engine(torch.zeros(n, latent_size), torch.zeros(n, dtype=torch.long))
    return engine, latent_size


def load_ours(path: str) -> tuple[Engine, int]:
    generator = prepare(generator_from_bytes(Path(path).read_bytes()), torch.device("cpu"))
    return functools.partial(draw, generator), generator.latent_size


def load_plain(path: str) -> tuple[Engine, int]:
    generator = load_eager(path, settings.LAYOUT)

    @torch.inference_mode()
    def engine(noise: Tensor, labels: Tensor) -> np.ndarray:
        digits: np.ndarray = to_pixels(generator(noise, labels)).numpy()
        return digits

    return engine, generator.latent_size


def encode_by_default(picture: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "PNG")
    return buffer.getvalue()
