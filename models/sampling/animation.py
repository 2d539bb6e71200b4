"""Animations, one row for each file format. They are lossless here: their pixels are those of the digits."""

import io
from typing import Any, NamedTuple

import numpy as np
from PIL import Image
from PIL import __version__ as pillow

ENCODER = f"pillow {pillow}"


class Animation(NamedTuple):
    media_type: str
    name: str  # in Pillow
    options: dict[str, Any]


ANIMATIONS = {
    "gif": Animation("image/gif", "GIF", {}),
    "webp": Animation("image/webp", "WEBP", {"lossless": True, "quality": 0, "method": 0}),  # `quality` is the effort
}


def back_and_forth(pictures: np.ndarray) -> np.ndarray:
    """Append the frames in reverse order, (n, ...) -> (2n - 2, ...), so that the animation loops smoothly."""
    return np.concatenate((pictures, pictures[-2:0:-1]))


def encode_film(pictures: np.ndarray, form: str, milliseconds: int, last_milliseconds: int = 0) -> bytes:
    """Encode uint8 grey pictures (n, height, width) as an endless loop; the last one may be shown for longer."""
    frames = [Image.fromarray(picture) for picture in pictures]
    durations = [milliseconds] * (len(frames) - 1) + [max(milliseconds, last_milliseconds)]
    file, (_, name, options) = io.BytesIO(), ANIMATIONS[form]
    frames[0].save(file, name, save_all=True, append_images=frames[1:], duration=durations, loop=0, **options)
    return file.getvalue()
