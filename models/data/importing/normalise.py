"""Makes 28 x 28 grey images of pictures of any size, with bright ink on a dark background as in MNIST."""

from collections.abc import Sequence
from typing import Literal

import numpy as np
from pydantic import BaseModel, ConfigDict

from models.data.importing.items import Limits

Mode = Literal["mnist", "resize"]
Invert = Literal["auto", "yes", "no"]


class Fitting(BaseModel):
    """How pictures become 28 x 28 grey images."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    mode: Mode = "mnist"
    invert: Invert = "auto"


def to_grey(content: bytes | np.ndarray, limits: Limits = Limits()) -> np.ndarray:
    """Decode a picture to uint8 grey (H, W). Raises InvalidImages with the reason."""
    raise NotImplementedError


def looks_inverted(greys: Sequence[np.ndarray]) -> bool:
    """Return whether most of the pictures have dark ink on a bright background."""
    raise NotImplementedError


def fit(grey: np.ndarray, mode: Mode, invert: Invert) -> np.ndarray:
    """Return a picture (H, W) uint8 as (28, 28) uint8, with bright ink on a dark background."""
    raise NotImplementedError
