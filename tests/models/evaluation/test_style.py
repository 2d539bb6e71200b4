"""Style: what the descriptors of a digit measure, and how alike in style the digits of a row are."""

import itertools

import numpy as np
import pytest

from models.evaluation.style import DESCRIPTORS, Scale, describe, style_ratio


def stroke(width: int = 3, height: int = 20, slope: float = 0.0, grey: int = 255) -> np.ndarray:
    """A straight stroke (28, 28) in the middle, whose columns move by `slope` to the right for each row upwards."""
    digit = np.zeros((28, 28), np.uint8)
    for row in range(14 - height // 2, 14 + height // 2):
        left = 14 - width // 2 + round((14 - row) * slope)
        digit[row, left : left + width] = grey
    return digit


def described(digit: np.ndarray) -> dict[str, float]:
    return dict(zip(DESCRIPTORS, describe(digit[None])[0].tolist(), strict=True))


def test_the_descriptors_are_those_of_the_ink() -> None:
    plain = described(stroke())
    assert plain["slant"] == 0
    assert plain["height"] == pytest.approx(np.sqrt((20**2 - 1) / 12))  # of 20 equal rows
    assert plain["width"] == pytest.approx(np.sqrt((3**2 - 1) / 12))
    assert described(stroke(slope=0.5))["slant"] == pytest.approx(0.5, abs=0.01)
    assert described(stroke(slope=-0.5))["slant"] == pytest.approx(-0.5, abs=0.01)
    for width in (3, 4, 6, 8):  # the ink by half the outline, the ends of the stroke included
        assert described(stroke(width))["thickness"] == pytest.approx(20 * width / (20 + width), rel=0.05)


def test_a_style_does_not_depend_on_the_place_or_the_brightness_of_a_digit() -> None:
    digit = stroke(slope=0.25)
    moved = np.roll(digit, (2, -3), (0, 1))
    assert (describe(moved[None]) == describe(digit[None])).all()
    assert describe(digit[None] // 2) == pytest.approx(describe(digit[None]), rel=0.01)


def test_a_style_does_not_depend_on_the_digits_that_are_described_together() -> None:
    digits = np.random.default_rng(4).integers(0, 256, (50, 28, 28), np.uint8)
    alone = np.concatenate([describe(digit[None]) for digit in digits])
    assert (describe(digits) == alone).all()


def test_a_digit_without_ink_has_a_style_too() -> None:
    assert described(np.zeros((28, 28), np.uint8)) == dict.fromkeys(DESCRIPTORS, 0.0)


def test_descriptors_are_standardised() -> None:
    descriptors = np.random.default_rng(4).normal(7, 3, (100, 4))
    descriptors[:, 2] = 5.0
    standardised = Scale.of(descriptors).apply(descriptors)
    assert standardised.mean(0) == pytest.approx(0, abs=1e-12)
    assert standardised.var(0) == pytest.approx([1, 1, 0, 1])


def test_the_ratio_is_0_if_rows_have_one_style_each_and_1_if_styles_are_mixed() -> None:
    random = np.random.default_rng(4)
    strokes = [
        stroke(int(random.integers(2, 6)), 2 * int(random.integers(6, 11)), random.uniform(-0.3, 0.3))
        for _ in range(200)
    ]
    alike = np.stack([np.stack(strokes)] * 10, 1)
    assert style_ratio(alike) == pytest.approx(0, abs=1e-12)
    mixed = np.stack([random.permutation(column) for column in alike.swapaxes(0, 1)], 1)
    assert 0.9 < style_ratio(mixed) < 1.1
    half = np.concatenate((alike[:100], mixed[100:]))
    assert 0.4 < style_ratio(half) < 0.6
    few = [  # all orders of three digits, so the mean is exact
        style_ratio(np.stack((alike[:3, 0], alike[list(order), 0]), 1)) for order in itertools.permutations(range(3))
    ]
    assert np.mean(few) == pytest.approx(1)
