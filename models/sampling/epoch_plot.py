"""The plot of an epoch (original: end of the epoch loop).

It has 40 rows: a column of generated images for each class, with the same 40 latents in each; a white column; as many
columns of real images, sorted by label.
"""

import numpy as np
import torch

from models.config import IMAGE_SIZE
from models.data.dataset import Dataset
from models.networks.acgan import Generator
from models.networks.inference import FoldedGenerator
from models.sampling.sampler import SampleRange, draw_series, prepare

PLOT_ROWS = 40


def epoch_plot(generator: Generator | FoldedGenerator, dataset: Dataset, epoch: int, seed: int) -> np.ndarray:
    """Draw the plot of an epoch, counted from 1: uint8 (1120, 28 (2 K + 1)), with the generator in inference mode.

    The latents are the first 40 addresses of `seed`, so all plots of a run show the same latents. A folded generator
    must come from `prepare`: then the plot has the pixels of the digits that are served.
    """
    folded = generator
    if not isinstance(folded, FoldedGenerator):
        folded = prepare(folded, folded.dense.weight.device)
    classes = dataset.class_count
    every = SampleRange(None, PLOT_ROWS, seed, classes=classes)
    generated = draw_series(folded, every).reshape(PLOT_ROWS, classes, IMAGE_SIZE, -1)
    white = np.full((PLOT_ROWS, 1, IMAGE_SIZE, IMAGE_SIZE), 255, np.uint8)
    real = real_columns(dataset, epoch).reshape(classes, PLOT_ROWS, IMAGE_SIZE, -1).swapaxes(0, 1)
    cells = np.concatenate((generated, white, real), axis=1)  # (40, 2 K + 1, 28, 28)
    return cells.swapaxes(1, 2).reshape(PLOT_ROWS * IMAGE_SIZE, -1)


def real_columns(dataset: Dataset, epoch: int) -> np.ndarray:
    """Return the epoch's 40 K training images, from (epoch - 1) * 40 K, wrapping around, stably sorted by label."""
    shown = PLOT_ROWS * dataset.class_count
    device = dataset.train_labels.device
    indices = torch.arange((epoch - 1) * shown, epoch * shown, device=device) % len(dataset.train_labels)
    order = torch.argsort(dataset.train_labels[indices], stable=True)
    images: np.ndarray = dataset.train_images[indices[order]].cpu().numpy()
    return images
