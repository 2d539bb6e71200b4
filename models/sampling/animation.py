"""Animations as GIF or WebP. Both are lossless here: their pixels are those of the digits."""

import io
from typing import Literal

import numpy as np
from PIL import Image
from PIL import __version__ as pillow

FilmFormat = Literal["gif", "webp"]
ENCODER = f"pillow {pillow}"


def back_and_forth(pictures: np.ndarray) -> np.ndarray:
    """Append the frames in reverse order, (n, ...) -> (2n - 2, ...), so that the animation loops smoothly."""
    return np.concatenate((pictures, pictures[-2:0:-1]))


def encode_film(pictures: np.ndarray, form: FilmFormat, milliseconds: int, last_milliseconds: int = 0) -> bytes:
    """Encode uint8 grey pictures (n, height, width) as an endless loop; the last one may be shown for longer."""
    frames = [Image.fromarray(picture) for picture in pictures]
    durations = [milliseconds] * (len(frames) - 1) + [max(milliseconds, last_milliseconds)]
    file = io.BytesIO()
    if form == "webp":
        kept = {"lossless": True, "quality": 0, "method": 0}  # for lossless WebP, `quality` is the effort
        frames[0].save(file, "WEBP", save_all=True, append_images=frames[1:], duration=durations, loop=0, **kept)
    else:
        frames[0].save(file, "GIF", save_all=True, append_images=frames[1:], duration=durations, loop=0)
    return file.getvalue()
