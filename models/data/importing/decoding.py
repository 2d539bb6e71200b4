"""Decodes pictures of PNG, JPEG, GIF, BMP, WebP, TIFF and PPM to grey levels, within limits of memory.

Pillow's classes for each format are used directly: `Image.open` checks sizes against a global limit, and tries formats
that labelled images do not have. The size is checked before the pixels are decoded.
"""

import warnings
from collections.abc import Callable, Iterator
from io import BytesIO

import numpy as np
from PIL import Image, ImageOps
from PIL.BmpImagePlugin import BmpImageFile
from PIL.GifImagePlugin import GifImageFile
from PIL.ImageFile import ImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.PpmImagePlugin import PpmImageFile
from PIL.TiffImagePlugin import TILELENGTH, TILEWIDTH, TiffImageFile
from PIL.WebPImagePlugin import WebPImageFile

from models.bounded_reading import foreign_kind, printable
from models.data.importing.items import InvalidImages, Limits

HEAD = 32  # bytes from which the format is recognised
FORMATS: tuple[tuple[bytes, Callable[[BytesIO], ImageFile]], ...] = (
    (b"\x89PNG\r\n\x1a\n", PngImageFile),
    (b"\xff\xd8\xff", JpegImageFile),
    (b"GIF8", GifImageFile),
    (b"BM", BmpImageFile),
    (b"RIFF", WebPImageFile),
    (b"II*\0", TiffImageFile),
    (b"MM\0*", TiffImageFile),
    *((b"P%d" % number, PpmImageFile) for number in range(1, 7)),
)
OTHERS = (  # formats of pictures that are not read, by the bytes from a place
    (4, b"ftypavif", "AVIF"),
    (4, b"ftyphei", "HEIC"),
    (4, b"ftypmif1", "HEIC"),
    (0, b"%PDF", "PDF"),
    (0, b"8BPS", "PSD"),
    (0, b"<svg", "SVG"),
    (0, b"\0\0\1\0", "ICO"),
    (0, b"\x00\x00\x00\x0cjP  ", "JPEG 2000"),
)
ENOUGH = 512  # pixels: a larger picture is reduced by a whole factor, but not below this, before it is used
BRIGHT = 224  # mean luma of visible pixels from which a transparent background becomes black instead of white
DEEP = 257  # 65,535 / 255
BAND = 256  # rows that are converted at once


def is_picture(head: bytes) -> bool:
    """Return whether the first bytes of a file are those of a picture that is read."""
    return _reader(head) is not None


def _reader(head: bytes) -> Callable[[BytesIO], ImageFile] | None:
    if head.startswith(b"RIFF") and head[8:12] != b"WEBP":
        return None
    return next((reader for magic, reader in FORMATS if head.startswith(magic)), None)


def decode(content: bytes, limits: Limits) -> np.ndarray:
    """Return the luma of a picture as uint8 (H, W), rotated as its EXIF data say; of an animation the first frame.

    Transparent pixels become white, or black if the visible pixels are nearly white. Values of 16 bits become 8 bits.
    A picture with more than twice ENOUGH pixels in both dimensions is reduced. Raises InvalidImages with the reason.
    """
    reader = _reader(content[:HEAD])
    if reader is None:
        raise InvalidImages(_unknown(content[:512]))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of odd metadata; what cannot be decoded is an error
        try:
            return _decode(reader, content, limits)
        except InvalidImages:
            raise
        except MemoryError:
            raise InvalidImages("it needs more memory than is allowed") from None
        except Exception as error:  # Pillow raises many kinds for damaged files: SyntaxError, struct.error, TypeError
            reason = printable((str(error).splitlines() or [""])[0][:200]) or type(error).__name__
            raise InvalidImages(f"it is damaged or cut off: {reason}") from error


def _unknown(head: bytes) -> str:
    other = next((name for place, magic, name in OTHERS if head[place:].startswith(magic)), None)
    if other is not None:
        return f"it is a file of the format {other}, which is not read: save it as PNG"
    return f"it is not a picture that can be read, but {foreign_kind(head) or 'something else'}"


def _decode(reader: Callable[[BytesIO], ImageFile], content: bytes, limits: Limits) -> np.ndarray:
    if reader is WebPImageFile:
        check_size(*_webp_size(content), limits)  # its decoder allocates the canvas at once
    picture: Image.Image = reader(BytesIO(content))
    check_size(*picture.size, limits)
    if isinstance(picture, TiffImageFile):
        check_size(picture.tag_v2.get(TILEWIDTH, 1), picture.tag_v2.get(TILELENGTH, 1), limits)
    if isinstance(picture, JpegImageFile) and picture.mode in ("RGB", "YCbCr", "L"):
        picture.draft("L", (ENOUGH, ENOUGH))  # decodes the luma only, at a size that is still enough
    picture.load()
    check_size(*picture.size, limits)  # a frame of a GIF may extend it
    if isinstance(picture, TiffImageFile) or "exif" in picture.info:
        picture = _rotated(picture)
    factor = min(picture.size) // ENOUGH
    grey = _grey(picture)
    return grey if factor < 2 else np.asarray(Image.fromarray(grey).reduce(factor))


def _webp_size(content: bytes) -> tuple[int, int]:
    """Return width and height from the header of a WebP file."""
    kind = content[12:16]
    if kind == b"VP8X":
        return 1 + int.from_bytes(content[24:27], "little"), 1 + int.from_bytes(content[27:30], "little")
    if kind == b"VP8L":
        bits = int.from_bytes(content[21:25], "little")
        return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    return int.from_bytes(content[26:28], "little") & 0x3FFF, int.from_bytes(content[28:30], "little") & 0x3FFF


def check_size(width: int, height: int, limits: Limits) -> None:
    """Raises InvalidImages if a picture is too large or empty."""
    if width * height > limits.pixels:
        raise InvalidImages(f"it has {width:,} x {height:,} pixels, and at most {limits.pixels:,} are allowed")
    if width < 1 or height < 1:
        raise InvalidImages("it has no pixels")


def _rotated(picture: Image.Image) -> Image.Image:
    try:
        return ImageOps.exif_transpose(picture)
    except Exception:  # damaged EXIF data: the picture is used as it is stored
        return picture


def _grey(picture: Image.Image) -> np.ndarray:
    """Convert a picture of any mode, in bands of rows: the whole picture as floats would take 50 MB or more.

    Raises InvalidImages.
    """
    if picture.mode == "L" and "transparency" not in picture.info:
        return np.asarray(picture)
    to_luma = _conversion(picture)
    grey = np.empty((picture.height, picture.width), np.uint8)
    for top, band in _bands(picture):
        grey[top : top + band.height] = to_luma(band)
    return grey


def _bands(picture: Image.Image) -> Iterator[tuple[int, Image.Image]]:
    """Yield the first row of each band, and the band."""
    for top in range(0, picture.height, BAND):
        yield top, picture.crop((0, top, picture.width, min(top + BAND, picture.height)))


def _conversion(picture: Image.Image) -> Callable[[Image.Image], np.ndarray]:
    """Return the function that converts each band of the picture to uint8 (h, W). Raises InvalidImages."""
    if picture.mode == "I" or picture.mode.startswith("I;16"):
        return _from_deep(*_range(picture), picture.mode == "I")
    if picture.mode == "F":
        return _from_floats(*_range(picture))
    if picture.has_transparency_data:
        return _composited(_background(picture))
    return lambda band: np.asarray(band.convert("L"))


def _range(picture: Image.Image) -> tuple[float, float]:
    """Return the lowest and the highest grey level; NaN if the picture has a NaN."""
    lows, highs = [], []
    for _, band in _bands(picture):
        values = np.asarray(band)
        lows.append(values.min())
        highs.append(values.max())
    return np.min(lows).item(), np.max(highs).item()


def _from_deep(low: float, high: float, is_signed: bool) -> Callable[[Image.Image], np.ndarray]:
    """Convert grey levels of 16 bits; integers of 32 bits have the range of 8 or 16 bits. Raises InvalidImages."""
    if low < 0 or high > 65_535:
        raise InvalidImages(f"it has grey levels from {low:,} to {high:,}, and 0 to 65,535 are expected")
    if is_signed and high <= 255:
        return lambda band: np.asarray(band).astype(np.uint8)
    return lambda band: ((np.asarray(band).astype(np.uint32) + DEEP // 2) // DEEP).astype(np.uint8)


def _from_floats(low: float, high: float) -> Callable[[Image.Image], np.ndarray]:
    """Convert floats from 0 to 1, or from 0 to 255. Raises InvalidImages."""
    if not (low >= 0 and high <= 255):  # false for NaN too
        raise InvalidImages(f"it has grey levels from {low:g} to {high:g}, and 0 to 1 or 0 to 255 are expected")
    return lambda band: np.round(np.asarray(band) * (255 if high <= 1 else 1)).astype(np.uint8)


def _luma_and_alpha(picture: Image.Image) -> tuple[np.ndarray, np.ndarray]:
    """Return luma and opacity of a picture with transparency, both uint8 (H, W)."""
    with_alpha = picture if picture.mode in ("RGBA", "LA") else picture.convert("RGBA")
    return np.asarray(with_alpha.convert("L")), np.asarray(with_alpha.getchannel("A"))


def _background(picture: Image.Image) -> int:
    """Return the grey level behind a picture with transparency: white, or black if what is visible is nearly white."""
    weighted = visible = 0
    for _, band in _bands(picture):
        luma, alpha = _luma_and_alpha(band)
        weighted += int(np.sum(luma.astype(np.uint16) * alpha, dtype=np.uint64))
        visible += int(alpha.sum(dtype=np.uint64))
    return 0 if visible and weighted / visible >= BRIGHT else 255


def _composited(background: int) -> Callable[[Image.Image], np.ndarray]:
    def to_luma(band: Image.Image) -> np.ndarray:
        luma, alpha = _luma_and_alpha(band)
        behind = Image.new("L", band.size, background)
        return np.asarray(Image.composite(Image.fromarray(luma), behind, Image.fromarray(np.ascontiguousarray(alpha))))

    return to_luma
