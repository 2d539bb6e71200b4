"""Pictures of digits: sheets, the epoch's plot, PNG."""

import io

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from models.config import IMAGE_SIZE, NUM_CLASSES
from models.data import Dataset
from models.drawing import draw, latents
from models.networks import Generator

PLOT_ROWS = 40


def sheet(digits: Tensor, columns: int | None = None, scale: int = 1) -> Tensor:
    """Lay uint8 digits (n, 28, 28) out row by row, on black; by default nearly square, and at most 10 wide.

    Returns:
        uint8 (rows * 28 * scale, columns * 28 * scale).
    """
    n = len(digits)
    columns = min(n, columns or 10)
    rows = -(-n // columns)
    cells = digits.new_zeros(rows * columns, IMAGE_SIZE, IMAGE_SIZE)
    cells[:n] = digits
    picture = cells.view(rows, columns, IMAGE_SIZE, IMAGE_SIZE).transpose(1, 2).reshape(rows * IMAGE_SIZE, -1)
    return picture.repeat_interleave(scale, 0).repeat_interleave(scale, 1)


def encode_png(picture: Tensor) -> bytes:
    """Encode uint8 grey (height, width) as PNG."""
    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(picture.numpy())).save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()


# ----------------------------------------------------------------------------
# The epoch's plot (seed: end of the epoch loop): 40 rows; ten columns of generated digits, one class a column and the
# same 40 latents in each; a white column; ten columns of real images in the order of their labels.


def epoch_plot(generator: Generator, dataset: Dataset, epoch: int, seed: int) -> Tensor:
    """Draw the plot of an epoch, counted from 1: uint8 (1120, 588). The generator must be in inference mode.

    The latents are the first 40 addresses of `seed`, so that the plots of a run show the same hands growing.
    """
    noise = latents(seed, 0, PLOT_ROWS, generator.latent_size).repeat(NUM_CLASSES, 1)  # (400, L)
    generated = draw(generator, noise, torch.arange(NUM_CLASSES).repeat_interleave(PLOT_ROWS))  # (400, 28, 28)
    white = torch.full((PLOT_ROWS, IMAGE_SIZE, IMAGE_SIZE), 255, dtype=torch.uint8)
    columns = torch.cat((generated, white, real_columns(dataset, epoch)))
    return columns.view(-1, PLOT_ROWS * IMAGE_SIZE, IMAGE_SIZE).transpose(0, 1).reshape(PLOT_ROWS * IMAGE_SIZE, -1)


def real_columns(dataset: Dataset, epoch: int) -> Tensor:
    """The epoch's 400 training images, (epoch - 1) * 400 and on, wrapping around, stably sorted by label."""
    shown = PLOT_ROWS * NUM_CLASSES
    indices = torch.arange((epoch - 1) * shown, epoch * shown) % len(dataset.train_labels)
    indices = indices.to(dataset.train_labels.device)
    order = torch.argsort(dataset.train_labels[indices], stable=True)
    return dataset.train_images[indices[order]].cpu()
