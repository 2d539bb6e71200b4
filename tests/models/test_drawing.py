import io

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from models.data import Dataset
from models.drawing import draw, draw_digits, latents, to_pixels
from models.images import encode_png, epoch_plot, real_columns, sheet
from models.networks import Generator, initialize


@pytest.fixture(scope="module")
def generator() -> Generator:
    generator = Generator()
    initialize(generator, torch.Generator().manual_seed(4))
    return generator.eval()


@given(
    st.integers(0, 2**53 - 1),
    st.integers(0, 2**40),
    st.integers(0, 30),
    st.integers(1, 20),
    st.sampled_from([1, 7, 100]),
)
def test_a_latent_depends_on_its_address_alone(seed: int, index: int, offset: int, n: int, latent_size: int) -> None:
    together = latents(seed, index, offset + n, latent_size)
    assert torch.equal(latents(seed, index + offset, n, latent_size), together[offset:])


def test_latents_are_uniform_and_differ() -> None:
    noise = latents(0, 0, 1000, 100)
    assert noise.dtype == torch.float32
    assert -1 <= noise.min() < -0.999
    assert 0.999 < noise.max() < 1
    assert abs(noise.mean()) < 0.01
    assert noise.std().item() == pytest.approx(3**-0.5, rel=0.01)
    assert len(noise.unique()) > 99_000
    assert not torch.equal(latents(1, 0, 1, 100), latents(0, 0, 1, 100))


@pytest.mark.parametrize(("n", "offset"), [(1, 0), (1, 13), (5, 2), (8, 8), (9, 0), (40, 3), (100, 900), (1000, 0)])
def test_a_digit_is_the_same_whatever_is_drawn_with_it(generator: Generator, n: int, offset: int) -> None:
    together = draw_digits(generator, 7, 1000, seed=5)
    assert torch.equal(draw_digits(generator, 7, n, seed=5, index=offset), together[offset : offset + n])


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 9), st.integers(0, 1000))
def test_one_seed_is_one_hand(label: int, index: int) -> None:
    network = Generator(10).eval()
    drawn = draw(network, latents(3, index, 1, 10), torch.tensor([label]))
    assert torch.equal(drawn, draw_digits(network, label, 1, seed=3, index=index))


def test_pixels_round_to_nearest() -> None:
    values = torch.tensor([-1.0, 1.0, 0.0, (200.4 - 127.5) / 127.5, (200.6 - 127.5) / 127.5]).view(5, 1, 1, 1)
    assert to_pixels(values).flatten().tolist() == [0, 255, 128, 200, 201]


def test_a_sheet_reads_row_by_row() -> None:
    digits = torch.arange(1, 6, dtype=torch.uint8).view(5, 1, 1).expand(5, 28, 28)
    picture = sheet(digits, columns=3, scale=2)
    assert picture.shape == (2 * 56, 3 * 56)
    assert [[int(picture[56 * row, 56 * column]) for column in range(3)] for row in range(2)] == [[1, 2, 3], [4, 5, 0]]
    assert sheet(digits).shape == (28, 140)
    assert sheet(digits.repeat(8, 1, 1)).shape == (112, 280)


def test_a_png_holds_the_very_pixels() -> None:
    picture = torch.randint(256, (56, 84), dtype=torch.uint8)
    with Image.open(io.BytesIO(encode_png(picture))) as image:
        assert image.mode == "L"
        assert np.array_equal(np.asarray(image), picture.numpy())


def test_the_epochs_plot_is_the_seeds(generator: Generator) -> None:
    """Ten classes a column, the same 40 latents in each; white; the epoch's real images, stably sorted by label."""
    labels = torch.arange(500, dtype=torch.uint8) * 7 % 10
    images = torch.randint(256, (500, 28, 28), dtype=torch.uint8)
    dataset = Dataset("printed", images, labels, images, labels)
    plot = epoch_plot(generator, dataset, epoch=2, seed=11)
    assert plot.shape == (1120, 588)

    def cell(row: int, column: int) -> torch.Tensor:
        return plot[28 * row : 28 * row + 28, 28 * column : 28 * column + 28]

    for row, column in ((0, 0), (39, 0), (3, 7), (39, 9)):
        assert torch.equal(cell(row, column), draw_digits(generator, column, 1, seed=11, index=row)[0])
    assert (plot[:, 280:308] == 255).all()

    shown = np.arange(400, 800) % 500  # past the end it wraps around
    order = np.argsort(labels.numpy()[shown], kind="stable")
    expected = images.numpy()[shown[order]]
    assert np.array_equal(real_columns(dataset, 2).numpy(), expected)
    assert np.array_equal(cell(5, 11).numpy(), expected[5])
    assert np.array_equal(cell(39, 20).numpy(), expected[399])
