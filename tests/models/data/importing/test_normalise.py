"""Pictures of any kind become grey, and grey pictures of any size become 28 x 28 as MNIST's."""

import os
import struct
import zlib
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from models.data.catalog import DATASETS
from models.data.idx import read_idx
from models.data.idx_search import search_folder
from models.data.importing import decoding
from models.data.importing.decoding import BAND
from models.data.importing.items import InvalidImages, Limits
from models.data.importing.normalise import Invert, fit, looks_inverted, to_grey
from models.data.printed import draw_split
from tests.models.data.importing.pictures import encoded, stroke

MNIST = os.environ.get("ACGAN_DATA_DIR")
INK = stroke(40, 60)
KINDS: dict[str, dict[str, Any]] = {
    "PNG": {},
    "GIF": {},
    "BMP": {},
    "PPM": {},
    "TIFF": {},
    "TIFF lzw": {"kind": "TIFF", "compression": "tiff_lzw"},
    "WEBP": {"lossless": True},
}


@pytest.mark.parametrize("name", KINDS)
def test_formats_without_loss(name: str) -> None:
    options = {"kind": name, **KINDS[name]}
    assert np.array_equal(to_grey(encoded(INK, **options)), INK)
    assert np.array_equal(to_grey(encoded(Image.fromarray(INK).convert("RGB"), **options)), INK)


def test_jpeg() -> None:
    for picture in (Image.fromarray(INK), Image.fromarray(INK).convert("RGB"), Image.fromarray(INK).convert("CMYK")):
        grey = to_grey(encoded(picture, "JPEG", quality=95))
        assert grey.shape == INK.shape
        assert np.abs(grey.astype(int) - INK).max() < 12


def test_the_first_frame_of_an_animation() -> None:
    frames = [Image.fromarray(np.full((9, 9), value, np.uint8)) for value in (10, 200)]
    for kind, options in (("GIF", {}), ("WEBP", {"lossless": True}), ("PNG", {}), ("TIFF", {})):
        data = encoded(frames[0], kind, save_all=True, append_images=frames[1:], **options)
        assert (to_grey(data) == 10).all()


def test_colour_becomes_luma() -> None:
    picture = Image.new("RGB", (4, 4), (200, 100, 50))
    assert (to_grey(encoded(picture)) == round(0.299 * 200 + 0.587 * 100 + 0.114 * 50)).all()
    assert (to_grey(encoded(picture.convert("P", palette=Image.Palette.ADAPTIVE))) == 124).all()


@pytest.mark.parametrize(("ink", "background"), [(0, 255), (128, 255), (255, 0)])
def test_transparent_pixels_are_background(ink: int, background: int) -> None:
    alpha = Image.fromarray(INK)
    expected = np.where(INK == 255, ink, background)
    for mode in ("LA", "RGBA"):
        picture = Image.new("L", alpha.size, ink).convert(mode)
        picture.putalpha(alpha)
        assert np.array_equal(to_grey(encoded(picture)), expected)


def _tall(mode: str) -> Image.Image:
    """A random picture of more rows than are converted at once, whose brightest rows are the last ones."""
    values = np.random.default_rng(1).integers(0, 200, (2 * BAND + 50, 9)).astype(np.uint8)
    values[2 * BAND :] += 50
    if mode == "I;16":
        return Image.fromarray(values.astype(np.uint16) * 257)
    if mode in ("F", "I"):
        return Image.fromarray(values.astype(np.float32 if mode == "F" else np.int32))
    picture = Image.fromarray(values)
    return picture.convert("RGB").convert(mode) if mode == "CMYK" else picture.convert(mode)


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "LA", "P", "CMYK", "F", "I", "I;16"])
def test_a_picture_of_many_rows(monkeypatch: pytest.MonkeyPatch, mode: str) -> None:
    picture = _tall(mode)
    if mode in ("RGBA", "LA"):
        picture.putalpha(_tall("L"))
    data = encoded(picture, "TIFF")
    grey = to_grey(data)
    monkeypatch.setattr(decoding, "BAND", 10_000)
    assert np.array_equal(grey, to_grey(data))
    assert len(np.unique(grey)) > 30


def test_a_transparent_colour_of_a_palette_or_of_grey() -> None:
    grey = Image.fromarray(np.where(INK == 255, 10, 77).astype(np.uint8))
    expected = np.where(INK == 255, 10, 255)
    assert np.array_equal(to_grey(encoded(grey, transparency=77)), expected)
    palette = grey.convert("P")
    assert np.array_equal(to_grey(encoded(palette, transparency=77)), expected)
    assert np.array_equal(to_grey(encoded(palette, "GIF", transparency=77)), expected)


def test_a_picture_without_a_visible_pixel_is_background() -> None:
    assert (to_grey(encoded(Image.new("RGBA", (5, 5), (0, 0, 0, 0)))) == 255).all()


def test_depths() -> None:
    deep = np.array([[0, 256, 32_768, 65_535]], np.uint16)
    for kind in ("PNG", "TIFF"):
        assert to_grey(encoded(Image.fromarray(deep), kind)).tolist() == [[0, 1, 128, 255]]
    assert to_grey(encoded(Image.fromarray(np.array([[0, 7, 255]], np.int32)), "TIFF")).tolist() == [[0, 7, 255]]
    for values in ([[0.0, 0.5, 1.0]], [[0.0, 128.0, 255.0]]):
        assert to_grey(encoded(Image.fromarray(np.array(values, np.float32)), "TIFF")).tolist() == [[0, 128, 255]]
    assert to_grey(encoded(Image.fromarray(INK > 0))).tolist() == INK.tolist()
    for bad in (np.array([[np.nan, 1]], np.float32), np.array([[-1, 1]], np.int32), np.array([[0, 300]], np.float32)):
        with pytest.raises(InvalidImages, match="grey levels from"):
            to_grey(encoded(Image.fromarray(bad), "TIFF"))


def test_the_orientation_of_exif_is_applied() -> None:
    picture = np.zeros((16, 32), np.uint8)
    picture[:, :16] = 255
    for orientation, expected in ((1, picture), (3, picture[::-1, ::-1]), (6, np.rot90(picture, -1))):
        exif = Image.Exif()
        exif[0x0112] = orientation
        for kind, options in (("PNG", {}), ("TIFF", {}), ("WEBP", {"lossless": True}), ("JPEG", {"quality": 100})):
            grey = to_grey(encoded(picture, kind, exif=exif, **options))
            assert np.array_equal(grey > 128, expected > 128), (orientation, kind)


def test_damaged_exif_data_do_not_matter() -> None:
    assert np.array_equal(to_grey(encoded(INK, exif=b"Exif\0\0II*\0\xff\xff\xff\xff")), INK)


def test_large_pictures_are_reduced() -> None:
    large = np.kron(stroke(40, 40), np.ones((40, 40), np.uint8))
    for kind in ("PNG", "JPEG"):
        grey = to_grey(encoded(large, kind))
        assert min(grey.shape) >= 512
        assert max(grey.shape) < 1100
        different = (fit(grey, "mnist", "no") > 128) != (fit(stroke(40, 40), "mnist", "no") > 128)
        assert different.sum() <= 2 * 20  # the stroke, one column to the side


# ----------------------------------------------------------------------------
# What cannot be decoded.


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width: int, height: int, *chunks: bytes) -> bytes:
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + b"".join(chunks) + chunk(b"IEND", b"")


def tiles(width: int, height: int) -> bytes:
    """A TIFF of 28 x 28 pixels that says that its tiles are larger."""
    tags = {256: 28, 257: 28, 258: 8, 259: 1, 262: 1, 277: 1, 322: width, 323: height, 324: 8, 325: 784}
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags.items())
    return struct.pack("<2sHIH", b"II", 42, 8, len(tags)) + entries + bytes(4)


def canvas(size: int) -> bytes:
    """An animated WebP with a canvas of this size."""
    body = b"WEBPVP8X" + struct.pack("<II", 10, 2) + (size - 1).to_bytes(3, "little") * 2
    return b"RIFF" + struct.pack("<I", len(body)) + body


BAD = {
    "20,000 x 20,000": (png(20_000, 20_000, chunk(b"IDAT", zlib.compress(bytes(1000)))), "20,000 x 20,000 pixels"),
    "gif": (b"GIF89a" + struct.pack("<HHBBB", 65_535, 65_535, 0, 0, 0) + b"," + bytes(20), "65,535 x 65,535 pixels"),
    "webp": (canvas(16_000), "16,000 x 16,000 pixels"),
    "tiff": (tiles(60_000, 60_000), "60,000 x 60,000 pixels"),
    "bmp": (b"BM" + struct.pack("<IIIIiiHH24x", 54, 0, 54, 40, 30_000, 30_000, 1, 8), "30,000 x 30,000 pixels"),
    "pgm": (b"P5 30000 30000 255\n" + bytes(100), "30,000 x 30,000 pixels"),
    "huge chunk": (png(28, 28, chunk(b"tEXt", b"a\0" + bytes(17 << 20))), "bytes, and at most 16,777,216 are allowed"),
    "text bomb": (png(28, 28, chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(100 << 20)))), "damaged or cut off"),
    "no pixels": (png(28, 28), "damaged or cut off"),
    "cut": (encoded(INK)[:-30], "damaged or cut off"),
    "cut jpeg": (encoded(INK, "JPEG")[:-300], "damaged or cut off"),
    "cut webp": (encoded(INK, "WEBP")[:-30], "damaged or cut off"),
    "cut gif": (encoded(draw_split(0, 1)[0][0], "GIF")[:-200], "damaged or cut off"),
    "cut tiff": (encoded(INK, "TIFF", compression="tiff_lzw")[:-60], "damaged or cut off"),
    "head": (b"\x89PNG\r\n\x1a\n", "damaged or cut off"),
    "empty": (b"", "an empty file"),
    "zeros": (bytes(3000), "a file of zeros"),
    "text": (b"hello", "not a picture"),
    "page": (b"<html>", "a web page"),
    "heic": (b"\0\0\0\x18ftypheic", "HEIC, which is not read: save it as PNG"),
    "svg": (b"<svg xmlns=''>", "SVG, which is not read"),
    "pdf": (b"%PDF-1.4", "PDF, which is not read"),
}


@pytest.mark.parametrize("name", BAD)
def test_pictures_that_cannot_be_used(name: str) -> None:
    data, reason = BAD[name]
    with pytest.raises(InvalidImages) as raised:
        to_grey(data)
    assert reason in str(raised.value)
    assert str(raised.value).isprintable()


def test_pillows_own_limits_are_as_they_were() -> None:
    before = (Image.MAX_IMAGE_PIXELS, PngImagePlugin.MAX_TEXT_CHUNK)
    assert to_grey(encoded(np.zeros((3000, 3000), np.uint8))).shape == (600, 600)
    assert (Image.MAX_IMAGE_PIXELS, PngImagePlugin.MAX_TEXT_CHUNK) == before == (89_478_485, 1_048_576)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "BMP", "WEBP", "TIFF", "PPM"])
def test_damaged_pictures_give_a_sentence_or_a_picture(kind: str) -> None:
    data = encoded(Image.fromarray(draw_split(0, 1)[0][0]).convert("RGB"), kind)
    random = np.random.default_rng(0)
    outcomes = set[str]()
    for _ in range(400):
        damaged = bytearray(data)
        for at in random.integers(0, min(len(data), 400), 3):
            damaged[at] = random.integers(256)
        try:
            grey = to_grey(bytes(damaged), Limits(pixels=1 << 20))
            outcomes.add(f"{grey.ndim} dimensions")
        except InvalidImages as error:
            outcomes.add(str(error))
    assert all(text.isprintable() for text in outcomes)
    assert len(outcomes) > 1


def test_arrays_are_checked() -> None:
    assert to_grey(INK) is INK
    for bad in (np.zeros((3, 3, 3), np.uint8), np.zeros((3, 3)), np.zeros((0, 3), np.uint8)):
        with pytest.raises(InvalidImages):
            to_grey(bad)
    with pytest.raises(InvalidImages, match="100 x 50 pixels, and at most 1,000"):
        to_grey(np.zeros((50, 100), np.uint8), Limits(pixels=1000))


# ----------------------------------------------------------------------------
# 28 x 28.


def centre(image: np.ndarray) -> np.ndarray:
    return np.array([np.average(np.arange(28), weights=image.sum(axis)) for axis in (1, 0)])


def box(image: np.ndarray) -> tuple[int, int]:
    rows, columns = np.flatnonzero(image.any(1)), np.flatnonzero(image.any(0))
    return int(np.ptp(rows)) + 1, int(np.ptp(columns)) + 1


@pytest.mark.skipif(MNIST is None, reason="ACGAN_DATA_DIR names no folder with MNIST")
def test_mnist_stays_as_it_is() -> None:
    name = "train-images-idx3-ubyte"
    assert MNIST is not None
    files = search_folder(Path(MNIST), {name: DATASETS["mnist"].files[name]}).found
    images = read_idx(files[name])[:1000]
    assert not looks_inverted(list(images))
    assert np.mean([np.array_equal(fit(image, "mnist", "no"), image) for image in images]) > 0.99


@pytest.mark.parametrize("size", [(8, 8), (20, 20), (28, 28), (100, 100), (30, 200), (300, 40), (1, 50)])
def test_mnist_mode_fits_the_ink_into_a_box_of_20(size: tuple[int, int]) -> None:
    grey = np.zeros((size[0] + 9, size[1] + 30), np.uint8)
    grey[4 : 4 + size[0], 3 : 3 + size[1]] = 255
    image = fit(grey, "mnist", "no")
    assert image.shape == (28, 28)
    assert image.dtype == np.uint8
    assert max(box(image)) == 20
    expected = min(size) * 20 / max(size)
    assert abs(min(box(image)) - max(expected, 1)) <= 1
    assert np.abs(centre(image) - 13.75).max() <= 0.75
    assert image.max() == 255


def test_the_centre_of_mass_is_in_the_middle() -> None:
    for image, _ in zip(*draw_split(0, 50), strict=True):
        large = np.kron(image, np.ones((3, 3), np.uint8))
        fitted = fit(np.pad(large, ((0, 40), (90, 0))), "mnist", "no")
        assert max(box(fitted)) == 20
        assert np.abs(centre(fitted) - 14).max() <= 0.5 or min(box(fitted)) == 20


def test_dark_ink_on_paper_is_the_same_as_its_inverse() -> None:
    assert np.array_equal(fit(255 - INK, "mnist", "yes"), fit(INK, "mnist", "no"))
    assert np.array_equal(fit(255 - INK, "mnist", "auto"), fit(INK, "mnist", "auto"))
    assert np.array_equal(fit(255 - INK, "resize", "auto"), fit(INK, "resize", "no"))


def test_grey_paper_with_noise_becomes_black() -> None:
    random = np.random.default_rng(0)
    paper = random.integers(170, 190, (90, 90)).astype(np.uint8)
    paper[30:60, 40:50] = 30
    assert looks_inverted([paper])
    image = fit(paper, "mnist", "auto")
    assert max(box(image)) == 20
    assert min(box(image)) in (6, 7, 8)
    assert (image[:3] == 0).all()
    assert image.max() == 255


def test_a_picture_without_ink_is_black() -> None:
    for value in (0, 100, 255):
        for invert in get_args(Invert):
            assert not fit(np.full((40, 50), value, np.uint8), "mnist", invert).any()


def test_resize_keeps_a_picture_of_28_x_28() -> None:
    image = np.random.default_rng(0).integers(0, 256, (28, 28)).astype(np.uint8)
    assert np.array_equal(fit(image, "resize", "no"), image)
    assert np.array_equal(fit(image, "resize", "yes"), 255 - image)


@pytest.mark.parametrize("size", [(56, 56), (14, 14), (56, 28), (10, 100), (1000, 1)])
def test_resize_keeps_the_aspect_and_fills_with_the_background(size: tuple[int, int]) -> None:
    grey = np.full(size, 60, np.uint8)
    assert (fit(grey, "resize", "no") == 60).all()
    grey[size[0] // 4 : -(size[0] // 4), size[1] // 4 : size[1] // 4 * 3 + 1] = 250
    image = fit(grey, "resize", "no")
    assert image.shape == (28, 28)
    assert image.dtype == np.uint8


def test_looks_inverted_is_the_majority() -> None:
    flat = np.full((9, 9), 255, np.uint8)
    assert not looks_inverted([])
    assert not looks_inverted([flat, INK])
    assert not looks_inverted([INK, 255 - INK])
    assert looks_inverted([flat, 255 - INK])
    assert looks_inverted([INK, 255 - INK, 200 - INK // 2])
