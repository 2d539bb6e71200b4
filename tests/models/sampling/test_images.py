import io
import zipfile

import numpy as np
import torch
from PIL import Image

from models.data.dataset import Dataset
from models.networks.acgan import Generator
from models.sampling.images import encode_npy, encode_png, encode_zip, epoch_plot, real_columns, sheet
from models.sampling.sampler import draw_digits, prepare

RANDOM = np.random.default_rng(1)


def pixels(png: bytes) -> np.ndarray:
    with Image.open(io.BytesIO(png)) as image:
        assert image.format == "PNG"
        assert image.mode == "L"
        return np.asarray(image)


def test_a_sheet_reads_row_by_row() -> None:
    digits = np.broadcast_to(np.arange(1, 6, dtype=np.uint8)[:, None, None], (5, 28, 28))
    picture = sheet(digits, columns=3, scale=2)
    assert picture.shape == (2 * 56, 3 * 56)
    assert picture[::56, ::56].tolist() == [[1, 2, 3], [4, 5, 0]]
    assert picture[55::56, 55::56].tolist() == [[1, 2, 3], [4, 5, 0]]
    assert sheet(digits).shape == (28, 140)
    assert sheet(np.tile(digits, (8, 1, 1))).shape == (112, 280)


def test_digits_can_be_padded_and_inverted() -> None:
    digits = np.full((3, 28, 28), 200, np.uint8)
    picture = sheet(digits, columns=2, padding=3)
    assert picture.shape == (3 + 2 * 31, 3 + 2 * 31)
    assert (picture[3:31, 34:62] == 200).all()
    assert picture.sum() == digits.sum()  # everything else is background
    assert np.array_equal(sheet(digits, columns=2, padding=3, invert=True), 255 - picture)


def test_a_png_contains_the_exact_pixels() -> None:
    for shape in ((28, 28), (56, 84), (1, 3)):
        picture = RANDOM.integers(256, size=shape).astype(np.uint8)
        assert np.array_equal(pixels(encode_png(picture)), picture)


def test_an_archive_has_a_png_for_each_name_and_no_time_stamps() -> None:
    pictures = [(f"{n}.png", RANDOM.integers(256, size=(28, 28)).astype(np.uint8)) for n in range(3)]
    packed = encode_zip(pictures)
    assert packed == encode_zip(pictures)
    with zipfile.ZipFile(io.BytesIO(packed)) as archive:
        assert archive.testzip() is None
        assert archive.namelist() == [name for name, _ in pictures]
        for name, picture in pictures:
            assert np.array_equal(pixels(archive.read(name)), picture)


def test_an_array_is_read_back_without_pickle() -> None:
    digits = RANDOM.integers(256, size=(4, 28, 28)).astype(np.uint8)
    assert np.array_equal(np.load(io.BytesIO(encode_npy(digits)), allow_pickle=False), digits)


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
