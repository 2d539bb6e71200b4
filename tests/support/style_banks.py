"""Small banks of digits by style, for tests of numbers in one process: a whole one takes 3.5 s of a processor."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import pytest

from app.inference import style_banks
from models.evaluation.style_bank import parts

FEW = 16  # digits of a class


@contextmanager
def small(digits: int = FEW) -> Iterator[None]:
    """Within this block, services make banks of `digits` digits a class instead of 512."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(style_banks, "parts", partial(parts, digits))
        yield
