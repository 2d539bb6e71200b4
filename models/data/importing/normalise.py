"""Makes 28 x 28 grey images of pictures of any size, with bright ink on a dark background as in MNIST."""

from collections.abc import Sequence
from typing import Literal

import numpy as np
from PIL import Image

from models.config import IMAGE_SIZE
from models.data.importing.decoding import check_size, decode
from models.data.importing.items import LIMITS, InvalidImages, Limits

Mode = Literal["mnist", "resize"]
Invert = Literal["auto", "yes", "no"]

BOX = 20  # pixels; MNIST's digits fit into it (LeCun, Cortes, Burges)
FAINT = 12  # of a large picture, ink fainter than 1/12 of the brightest does not extend the box: artefacts of JPEG
NOISE = 4  # median deviations of the border from its median, up to which a pixel belongs to the background


def to_grey(content: bytes | np.ndarray, limits: Limits = LIMITS) -> np.ndarray:
    """Return an item's content as uint8 grey levels (H, W); see `decode` for pictures.

    Raises InvalidImages with the reason only; the caller knows the item's name.
    """
    if isinstance(content, np.ndarray):
        if content.ndim != 2 or content.dtype != np.uint8:
            raise InvalidImages(f"it has the shape {content.shape} and type {content.dtype}, not uint8 (H, W)")
        check_size(content.shape[1], content.shape[0], limits)
        return content
    if len(content) > limits.file:
        raise InvalidImages(f"it has {len(content):,} bytes, and at most {limits.file:,} are allowed")
    return decode(content, limits)


def looks_inverted(greys: Sequence[np.ndarray]) -> bool:
    """Return whether most of the pictures, uint8 (H, W), have dark ink on a bright background.

    A picture counts as such if the median of its border is nearer to its brightest pixel than to its darkest. Pictures
    of one grey level do not count; at a tie, the result is False.
    """
    votes = 0
    for grey in greys:
        low, high = int(grey.min()), int(grey.max())
        middle = low + high - 2 * float(np.median(_border(grey)))
        votes += (middle < 0) - (middle > 0)
    return votes > 0


def _border(grey: np.ndarray) -> np.ndarray:
    """Return the pixels of the outermost rows and columns (K,)."""
    return np.concatenate((grey[0], grey[-1], grey[:, 0], grey[:, -1]))


def fit(grey: np.ndarray, mode: Mode, invert: Invert) -> np.ndarray:
    """Return a picture, uint8 (H, W), as uint8 (28, 28) with bright ink on a dark background.

    `mnist`: crops to the ink, scales it into 20 x 20 with its aspect kept, and centres it by its centre of mass, as
    MNIST was made. The background becomes 0. A picture without ink becomes all 0.
    `resize`: scales the whole picture into 28 x 28 with its aspect kept, and fills the rest with the background. A
    picture of 28 x 28 is returned unchanged.

    `invert` is `yes` for dark ink on a bright background; `auto` decides by this picture alone, so for a set of
    pictures decide once with `looks_inverted`.
    """
    is_inverted = looks_inverted([grey]) if invert == "auto" else invert == "yes"
    if is_inverted:
        grey = 255 - grey
    return _as_mnist(grey) if mode == "mnist" else _resized(grey)


def _resized(grey: np.ndarray) -> np.ndarray:
    if grey.shape == (IMAGE_SIZE, IMAGE_SIZE):
        return grey
    background = int(np.median(_border(grey)))
    scaled = _scaled(grey, IMAGE_SIZE)
    height, width = scaled.shape
    return _placed(scaled, (IMAGE_SIZE - height) // 2, (IMAGE_SIZE - width) // 2, background)


def _as_mnist(grey: np.ndarray) -> np.ndarray:
    ink, threshold = _without_background(grey)
    box = _crop(ink, threshold)
    if box is None:
        return np.zeros((IMAGE_SIZE, IMAGE_SIZE), np.uint8)
    scaled = box
    if max(box.shape) != BOX:
        scaled = _stretched(_scaled(box, BOX))
    rows, columns = scaled.sum(1, dtype=np.int64), scaled.sum(0, dtype=np.int64)
    return _placed(scaled, _offset(rows), _offset(columns), 0)


def _without_background(grey: np.ndarray) -> tuple[np.ndarray, int]:
    """Return the ink with 0 as background, and the grey level above which it counts for the box."""
    border = _border(grey)
    background = int(np.median(border))
    ink = grey
    if background:
        ink = np.where(grey > background, grey - background, 0).astype(np.uint8)
    if noise := NOISE * int(np.median(np.abs(border.astype(np.int16) - background))):
        ink = np.where(ink > noise, ink, 0).astype(np.uint8)
    if background or noise:
        ink = _stretched(ink)
    return ink, int(ink.max()) // FAINT if max(grey.shape) > IMAGE_SIZE else 0


def _stretched(ink: np.ndarray) -> np.ndarray:
    """Return the picture with 255 as its brightest grey level, if it has any ink."""
    peak = int(ink.max())
    return ink if peak in (0, 255) else (ink.astype(np.uint16) * 255 // peak).astype(np.uint8)


def _crop(ink: np.ndarray, threshold: int) -> np.ndarray | None:
    """Return the smallest box with all pixels above the threshold; None if there is none."""
    is_ink = ink > threshold
    rows, columns = np.flatnonzero(is_ink.any(1)), np.flatnonzero(is_ink.any(0))
    if not rows.size:
        return None
    return ink[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]


def _scaled(grey: np.ndarray, side: int) -> np.ndarray:
    """Scale a picture so that its longer side has `side` pixels. Pixels are averaged if it becomes smaller."""
    height, width = grey.shape
    scale = side / max(height, width)
    size = (max(round(width * scale), 1), max(round(height * scale), 1))
    picture = Image.fromarray(np.ascontiguousarray(grey))
    return np.asarray(picture.resize(size, Image.Resampling.BICUBIC, reducing_gap=3.0))


def _offset(mass: np.ndarray) -> int:
    """Return the place of the first row (or column) so that the centre of mass is in the middle of the image."""
    total = int(mass.sum())
    centre = float(mass @ np.arange(len(mass))) / total if total else (len(mass) - 1) / 2
    return min(max(round(IMAGE_SIZE / 2 - centre), 0), IMAGE_SIZE - len(mass))


def _placed(picture: np.ndarray, top: int, left: int, background: int) -> np.ndarray:
    image = np.full((IMAGE_SIZE, IMAGE_SIZE), background, np.uint8)
    image[top : top + picture.shape[0], left : left + picture.shape[1]] = picture
    return image
