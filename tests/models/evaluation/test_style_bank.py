"""The bank of the bundled generator: numbers of one style, of digits that the judges read."""

import re

import numpy as np
import pytest
import torch

from app.schemas.compositions import NUMBER
from models.evaluation.judge import bundled_judge
from models.evaluation.style import style_ratio
from models.evaluation.style_bank import (
    LEAST,
    READABLE,
    SIZE,
    Measured,
    StyleBank,
    draw_bank,
    parts,
    version_of,
)
from models.evaluation.verifier import Verifier, find_verifier
from models.networks.inference import FoldedGenerator
from models.networks.weights import generator_from_bytes
from models.registry import bundled
from models.sampling.sampler import SampleRange, draw, draw_series, prepare

CPU = torch.device("cpu")
ROWS = 100


@pytest.fixture(scope="module")
def generator() -> FoldedGenerator:
    checkpoint = bundled.checkpoint()
    assert checkpoint
    manifest = bundled.STORE.manifest(checkpoint)
    return prepare(generator_from_bytes(bundled.STORE.read(manifest, manifest.draws)), CPU)


@pytest.fixture(scope="module")
def verifier() -> Verifier:
    found = find_verifier("mnist", CPU)
    assert found
    return found


@pytest.fixture(scope="module")
def bank(generator: FoldedGenerator, verifier: Verifier) -> StyleBank:
    return draw_bank(generator, verifier)


@pytest.fixture(scope="module")
def rows(bank: StyleBank) -> np.ndarray:
    """The digits 0 to 9 of the seeds 0 ... 99: uint8 (100, 10, 28, 28)."""
    return np.stack([bank.choose(list(range(10)), seed).digits for seed in range(ROWS)])


def test_the_digits_of_a_number_are_alike_in_style(generator: FoldedGenerator, rows: np.ndarray) -> None:
    of_latents = draw_series(generator, SampleRange(None, ROWS, seed=4)).reshape(rows.shape)
    assert style_ratio(of_latents) > 0.8
    assert style_ratio(rows) <= 0.15  # 0.09 with these seeds; they, and the pixels, are always the same


def test_different_seeds_have_different_styles(bank: StyleBank, rows: np.ndarray) -> None:
    assert len({bank.style(seed).tobytes() for seed in range(ROWS)} | {bank.style(0, index=1).tobytes()}) > 90
    assert all(len({digit.tobytes() for digit in column}) > 50 for column in rows.swapaxes(0, 1))


def test_the_digits_of_a_number_are_readable(verifier: Verifier, rows: np.ndarray) -> None:
    labels, digits = np.tile(np.arange(10), ROWS), rows.reshape(-1, 28, 28)
    assert (verifier.probabilities(digits, labels) >= READABLE).all()
    reporting = bundled_judge("mnist", "reporting")
    assert reporting
    assert (Verifier(reporting, CPU).probabilities(digits, labels) > 0.5).mean() > 0.99


def test_a_digit_that_occurs_again_is_another_one(generator: FoldedGenerator, bank: StyleBank) -> None:
    longest = re.fullmatch(r"\^\[0-9\]\{1,(\d+)\}\$", NUMBER)
    assert longest
    assert int(longest[1]) <= LEAST
    labels = [7] * int(longest[1])
    chosen = bank.choose(labels, seed=4)
    assert len({digit.tobytes() for digit in chosen.digits}) == len(labels)
    few = bank.choose([1, 7, 7, 1], seed=4)
    assert few.addresses.indices[1:3] == chosen.addresses.indices[:2]
    drawn = draw(generator, *few.addresses.cut(0, 4, generator.latent_size))
    assert np.array_equal(few.digits, drawn)


def test_the_same_generator_and_judge_give_the_same_bank(generator: FoldedGenerator, verifier: Verifier) -> None:
    first, again = (draw_bank(generator, verifier, 80) for _ in range(2))
    for one, other in zip(first.classes, again.classes, strict=True):
        assert all(map(np.array_equal, one, other))
    chosen, chosen_again = (made.choose([3, 1, 4, 1, 5], 9) for made in (first, again))
    assert chosen.addresses == chosen_again.addresses
    assert np.array_equal(chosen.digits, chosen_again.digits)


def test_a_bank_is_small(bank: StyleBank) -> None:
    assert bank.nbytes <= 10 * SIZE * (28 * 28 + 40) < 4.3e6
    assert sum(part.digits for part in parts()) == 10 * SIZE


def test_only_readable_digits_are_in_the_bank_but_at_least_some() -> None:
    random = np.random.default_rng(4)
    probabilities = random.uniform(0, 1, SIZE).astype(np.float32)
    probabilities[: LEAST + 1] = 0.995
    measured = Measured(np.zeros((SIZE, 28, 28), np.uint8), random.normal(size=(SIZE, 4)), probabilities)
    good = np.flatnonzero(probabilities >= READABLE)
    assert (measured.readable() == good).all()
    few = measured._replace(probabilities=probabilities * np.float32(0.5))
    assert len(few.readable()) == LEAST
    assert set(few.readable()) <= set(np.argsort(-probabilities, kind="stable")[: len(good)])
    assert (np.diff(few.readable()) > 0).all()


def test_without_a_judge_every_digit_is_in_the_bank(generator: FoldedGenerator, verifier: Verifier) -> None:
    assert [len(each.indices) for each in draw_bank(generator, None, 72).classes] == [72] * 10
    assert version_of(None) != version_of(verifier)
