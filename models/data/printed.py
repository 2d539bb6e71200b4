"""Substitutes for MNIST that need no files: characters of Pillow's font under random affine transforms.

They have MNIST's sizes and conventions and are deterministic: with the same Pillow, example i is always the same.
"""

import math
from collections.abc import Sequence
from functools import cache

import numpy as np
from PIL import Image, ImageDraw, ImageFilter, ImageFont

from models.config import IMAGE_SIZE
from models.data.catalog import DIGITS

TRAIN_EXAMPLES = 60_000
TEST_EXAMPLES = 10_000

GLYPH_SIZE = 4 * IMAGE_SIZE  # drawn large, so that rotation and scaling stay smooth
STROKE_WIDTHS = (0, 2, 4)


def load_printed(
    train_examples: int | None, test_examples: int | None, classes: Sequence[str] = DIGITS
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Draw both splits, or only the requested number of first examples of each. A class is one character.

    Returns:
        uint8 train images (N, 28, 28), train labels (N,), test images (M, 28, 28), test labels (M,).
    """
    train_images, train_labels = draw_split(0, train_examples or TRAIN_EXAMPLES, classes)
    test_images, test_labels = draw_split(1, test_examples or TEST_EXAMPLES, classes)
    return train_images, train_labels, test_images, test_labels


def draw_split(split: int, examples: int, classes: Sequence[str] = DIGITS) -> tuple[np.ndarray, np.ndarray]:
    """Draw the first `examples` images (N, 28, 28) and labels (N,) of split 0 (train) or 1 (test), as uint8."""
    random = np.random.Generator(np.random.Philox(key=[split, 0]))
    labels = random.integers(len(classes), size=examples, dtype=np.uint8)
    shapes = np.random.Generator(np.random.Philox(key=[split, 1])).random((examples, 7))
    images = np.stack([draw_character(classes[label], shape) for label, shape in zip(labels, shapes, strict=True)])
    return images, labels


def draw_character(character: str, shape: np.ndarray) -> np.ndarray:
    """Draw one character (28, 28) uint8; `shape` holds seven numbers in [0, 1)."""
    angle = math.radians(30 * shape[0] - 15)
    shear = 0.5 * shape[1] - 0.25
    width, height = 0.85 + 0.35 * shape[2], 0.85 + 0.35 * shape[3]
    shift_x, shift_y = 4 * shape[4] - 2, 4 * shape[5] - 2  # in pixels of the result
    stroke = STROKE_WIDTHS[int(len(STROKE_WIDTHS) * shape[6])]

    # Source of each pixel of the result in the large glyph: inverse of scale, shear and rotation, about the centres.
    scale = GLYPH_SIZE / IMAGE_SIZE
    cos, sin = math.cos(angle), math.sin(angle)
    a, b = scale * (cos - shear * sin) / width, scale * (sin + shear * cos) / width
    d, e = -scale * sin / height, scale * cos / height
    centre = IMAGE_SIZE / 2
    c = GLYPH_SIZE / 2 - a * (centre + shift_x) - b * (centre + shift_y)
    f = GLYPH_SIZE / 2 - d * (centre + shift_x) - e * (centre + shift_y)
    drawn = glyph(character, stroke).transform(
        (IMAGE_SIZE, IMAGE_SIZE), Image.Transform.AFFINE, (a, b, c, d, e, f), Image.Resampling.BILINEAR
    )
    return np.asarray(drawn)


@cache
def glyph(character: str, stroke: int) -> Image.Image:
    """Draw the large character, blurred against aliasing.

    It is centred by its bounding box; MNIST's digits are centred by mass.
    """
    font = ImageFont.load_default(size=GLYPH_SIZE * 0.8)
    image = Image.new("L", (GLYPH_SIZE, GLYPH_SIZE))
    draw = ImageDraw.Draw(image)
    left, top, right, bottom = draw.textbbox((0, 0), character, font=font, stroke_width=stroke)
    at = ((GLYPH_SIZE - left - right) / 2, (GLYPH_SIZE - top - bottom) / 2)
    draw.text(at, character, fill=255, font=font, stroke_width=stroke)
    return image.filter(ImageFilter.GaussianBlur(1.5))
