"""Small banks of digits by style, for tests of numbers in one process: a whole one takes 3.5 s of a processor."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import pytest

from app.inference import style_banks
from models.evaluation.style_bank import parts

DIGITS = 96  # of a class


@contextmanager
def small() -> Iterator[None]:
    """Within this block, services make banks of 96 digits a class instead of 512."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(style_banks, "parts", partial(parts, DIGITS))
        yield
