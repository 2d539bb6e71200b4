import numpy as np
import torch

from models.data.dataset import Dataset
from models.networks.acgan import Generator
from models.sampling.epoch_plot import epoch_plot, real_columns
from models.sampling.sampler import draw_digits, prepare


def test_the_epochs_plot_equals_the_original_one() -> None:
    """Ten classes a column, the same 40 latents in each; white; the epoch's real images, stably sorted by label."""
    generator = Generator()
    labels = torch.arange(500, dtype=torch.uint8) * 7 % 10
    images = torch.randint(256, (500, 28, 28), dtype=torch.uint8)
    dataset = Dataset("printed", images, labels, images, labels)
    plot = epoch_plot(generator, dataset, epoch=2, seed=11)
    assert plot.shape == (1120, 588)

    def cell(row: int, column: int) -> np.ndarray:
        return plot[28 * row : 28 * row + 28, 28 * column : 28 * column + 28]

    prepared = prepare(generator, torch.device("cpu"))
    for row, column in ((0, 0), (39, 0), (3, 7), (39, 9)):
        assert np.array_equal(cell(row, column), draw_digits(prepared, column, 1, seed=11, index=row)[0])
    assert (plot[:, 280:308] == 255).all()

    shown = np.arange(400, 800) % 500  # past the end it wraps around
    order = np.argsort(labels.numpy()[shown], kind="stable")
    expected = images.numpy()[shown[order]]
    assert np.array_equal(real_columns(dataset, 2), expected)
    assert np.array_equal(cell(5, 11), expected[5])
    assert np.array_equal(cell(39, 20), expected[399])
