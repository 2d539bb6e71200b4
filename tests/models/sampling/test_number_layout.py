import numpy as np
import pytest

from models.data.printed import draw_character
from models.sampling.number_layout import GAP, HEIGHT, INK, MARGIN, set_number

MIDDLE = np.full(7, 0.5)


def bar(left: int, right: int, top: int = 4, bottom: int = 24) -> np.ndarray:
    """A digit that is a box of ink."""
    digit = np.zeros((28, 28), np.uint8)
    digit[top:bottom, left:right] = 255
    return digit


def ink_columns(picture: np.ndarray) -> list[int]:
    """The lengths of runs of columns, alternately without and with ink."""
    inked: np.ndarray = np.any(picture >= INK, axis=0)
    edges = np.flatnonzero(np.diff(inked)) + 1
    return [int(length) for length in np.diff([0, *edges, len(inked)])]


def test_neighbours_are_spaced_by_their_ink_not_by_their_cells() -> None:
    picture = set_number(np.stack([bar(13, 15), bar(4, 24), bar(20, 22)]))
    assert ink_columns(picture) == [MARGIN, 2, GAP, 20, GAP, 2, MARGIN]


def test_digits_share_a_baseline_at_any_position_in_their_cells() -> None:
    picture = set_number(np.stack([bar(4, 8, 0, 20), bar(4, 8, 10, 28), bar(4, 8, 4, 24)]))
    assert picture.shape[0] == MARGIN + HEIGHT + MARGIN
    last = [int(np.flatnonzero(column)[-1]) for column in (picture >= INK).T if column.any()]
    assert set(last) == {MARGIN + HEIGHT - 1}


def test_one_digit_can_overhang_another() -> None:
    """As the bar of a 7 overhangs the foot of the next digit."""
    overhanging, low = bar(4, 24, 4, 8), bar(4, 12, 18, 24)
    overhanging[4:24, 4:6] = 255
    close, apart = set_number(np.stack([overhanging, low])), set_number(np.stack([bar(4, 24), low]))
    assert close.shape[1] < apart.shape[1]


def test_no_two_digits_touch() -> None:
    rng = np.random.default_rng(1)
    for _ in range(50):
        pair = np.stack([draw_character(str(label), rng.random(7)) for label in rng.integers(10, size=2)])
        assert (set_number(pair) >= INK).sum() == (pair >= INK).sum()


def test_empty_and_single_digits_are_laid_out_too() -> None:
    blank, full = np.zeros((28, 28), np.uint8), np.full((28, 28), 130, np.uint8)
    assert set_number(np.stack([blank])).shape[0] == 28
    assert ink_columns(set_number(np.stack([full, blank, full])))[1] == 28


@pytest.mark.parametrize("scale", [1, 3])
def test_scale_padding_and_invert(scale: int) -> None:
    digits = np.stack([draw_character(digit, MIDDLE) for digit in "314"])
    plain, other = set_number(digits), set_number(digits, scale, padding=5, invert=True)
    assert np.array_equal(255 - other[5:-5, 5:-5], plain.repeat(scale, 0).repeat(scale, 1))
    assert (other[:5] == 255).all()
