"""Every format of digits holds their exact pixels, and no time stamps."""

import io
import zipfile

import numpy as np
import pytest
from PIL import Image

from models.sampling.formats import FORMATS, Look
from models.sampling.png import encode_png
from models.sampling.sampler import SampleRange, Samples

RANDOM = np.random.default_rng(1)


def pixels(png: bytes) -> np.ndarray:
    with Image.open(io.BytesIO(png)) as image:
        assert image.format == "PNG"
        assert image.mode == "L"
        return np.asarray(image)


def test_a_png_contains_the_exact_pixels() -> None:
    for shape in ((28, 28), (56, 84), (1, 3)):
        picture = RANDOM.integers(256, size=shape).astype(np.uint8)
        assert np.array_equal(pixels(encode_png(picture)), picture)


def samples(label: int | None, n: int) -> Samples:
    series = SampleRange(label, n, seed=5, index=7)
    return Samples(series, RANDOM.integers(256, size=(series.digits, 28, 28)).astype(np.uint8))


@pytest.mark.parametrize("name", FORMATS)
def test_the_same_digits_give_the_same_bytes(name: str) -> None:
    drawn = samples(3, 4)
    assert FORMATS[name].encode(drawn, Look()) == FORMATS[name].encode(drawn, Look())
    is_other = FORMATS[name].encode(drawn, Look(scale=2)) != FORMATS[name].encode(drawn, Look())
    assert is_other == FORMATS[name].has_look


def test_an_archive_has_a_png_for_each_digit_under_its_address() -> None:
    for drawn, names in (
        (samples(3, 2), ["3-5-7.png", "3-5-8.png"]),
        (samples(3, 2)._replace(indices=[9, 12]), ["3-5-9.png", "3-5-12.png"]),
        (samples(None, 2), [f"{label}-5-{index}.png" for index in (7, 8) for label in range(10)]),
    ):
        with zipfile.ZipFile(io.BytesIO(FORMATS["zip"].encode(drawn, Look(scale=2)))) as archive:
            assert archive.testzip() is None
            assert archive.namelist() == names
            for name, digit in zip(names, drawn.digits, strict=True):
                assert np.array_equal(pixels(archive.read(name)), digit.repeat(2, 0).repeat(2, 1))


def test_an_array_is_read_back_without_pickle() -> None:
    for drawn, shape in ((samples(3, 4), (4, 28, 28)), (samples(None, 2), (2, 10, 28, 28))):
        array = np.load(io.BytesIO(FORMATS["npy"].encode(drawn, Look())), allow_pickle=False)
        assert np.array_equal(array, drawn.digits.reshape(shape))
