"""A small picture of what a generator draws in the middle of its training. Drawing it does not affect the training."""

from contextlib import AbstractContextManager

import numpy as np
import torch

from models.config import IMAGE_SIZE
from models.networks.acgan import Generator
from models.sampling.png import encode_png
from models.sampling.sampler import SampleRange, to_pixels

SHOWN = 10  # classes
LONGEST = 4000  # bytes
GREYS = (256, 32, 16, 8)  # numbers of grey levels: noise, which an untrained generator draws, does not compress


@torch.no_grad()
def draw_live_sample(generator: Generator, seed: int, autocast: AbstractContextManager[object]) -> np.ndarray:
    """Draw one image of each of the first ten classes, with the latent of the first row of the run's plots.

    Returns uint8 (28, 28 N) of N <= 10 classes. It computes with the moving statistics, which stay as they are, and
    the latent has a random generator of its own.
    """
    device = generator.dense.weight.device
    classes = min(generator.classes, SHOWN)
    series = SampleRange(None, 1, seed, classes=generator.classes)
    noise, labels = series.cut(0, classes, generator.latent_size)
    was_training = generator.training
    generator.eval()
    try:
        with autocast:
            images = generator(noise.to(device), labels.to(device))
    finally:
        generator.train(was_training)
    digits: np.ndarray = to_pixels(images).cpu().numpy()
    return digits.swapaxes(0, 1).reshape(IMAGE_SIZE, -1)


def encode_small(picture: np.ndarray) -> bytes:
    """Encode uint8 (28, 28 N), N <= 10, as a PNG of at most 4 kB, with as many grey levels as fit."""
    for greys in GREYS:
        step = 255 / (greys - 1)
        png = encode_png((np.rint(picture / step) * step).round().astype(np.uint8))
        if len(png) <= LONGEST:
            break
    return png
