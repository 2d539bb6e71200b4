"""Formats of digits: content negotiation and encoding."""

from collections.abc import Sequence
from typing import Literal

import numpy as np

from app.schemas.jobs import SheetQuery
from models.config import IMAGE_SIZE, NUM_CLASSES
from models.errors import InvalidInput
from models.sampling.images import encode_npy, encode_png, encode_zip, sheet
from models.sampling.sampler import SampleRange

Format = Literal["png", "zip", "npy"]

MEDIA_TYPES: dict[Format, str] = {"png": "image/png", "zip": "application/zip", "npy": "application/x-npy"}


class NotAcceptable(InvalidInput, code="not-acceptable"):
    """The service supports none of the formats that the request accepts."""


def negotiate(accept: str) -> Format:
    """Choose the format that `Accept` weights highest, png if several are equal. Raises NotAcceptable."""
    if accept == "*/*":
        return "png"
    liked = {form: quality(accept, media_type) for form, media_type in MEDIA_TYPES.items()}
    best = max(liked, key=lambda form: liked[form])
    if liked[best] == 0:
        raise NotAcceptable(
            f"supported formats are {', '.join(MEDIA_TYPES.values())}: accept one of them, or set ?format="
        )
    return best


def quality(accept: str, media_type: str) -> float:
    """Return the weight of a media type in `Accept`: that of the most specific range that matches it.

    See RFC 9110, section 12.5.1.
    """
    fitting = {media_type: 3, f"{media_type.partition('/')[0]}/*": 2, "*/*": 1}
    liked = [(0, 0.0)]
    for one in accept.lower().split(","):
        name, *parameters = (part.strip() for part in one.split(";"))
        weights = [value for key, _, value in (part.partition("=") for part in parameters) if key.strip() == "q"]
        try:
            liked.append((fitting[name], float(weights[0]) if weights else 1.0))
        except (KeyError, ValueError):
            continue
    return max(liked)[1]


def write(
    form: Format, query: SheetQuery, series: SampleRange, digits: np.ndarray, indices: Sequence[int] | None = None
) -> bytes:
    """Encode digits of shape (series.digits, 28, 28) in a format.

    `indices` are the digits' indices within the seed if they are not consecutive.
    """
    if form == "npy":
        by_class = digits.reshape(-1, NUM_CLASSES, IMAGE_SIZE, IMAGE_SIZE) if series.label is None else digits
        return encode_npy(by_class)
    if form == "zip":
        names = [name(series, place, indices) for place in range(len(digits))]
        return encode_zip(
            (names[place], sheet(digits[place : place + 1], 1, query.scale, query.padding, query.invert))
            for place in range(len(digits))
        )
    return encode_png(sheet(digits, query.columns, query.scale, query.padding, query.invert))


def name(series: SampleRange, place: int, indices: Sequence[int] | None = None) -> str:
    """Return a digit's file name: label, seed and index."""
    if series.label is not None:
        return f"{series.label}-{series.seed}-{indices[place] if indices else series.index + place}.png"
    return f"{place % NUM_CLASSES}-{series.seed}-{series.index + place // NUM_CLASSES}.png"
