"""Digits that can be read: those that the judge refuses are left out, and the next of their seed drawn instead."""

from typing import NamedTuple

import anyio.to_thread
import numpy as np

from app.serving.batcher import Batcher
from app.serving.gallery import Exhibit
from models.drawing import BATCH, Series
from models.verification import TOGETHER, Verifier, find_verifier

TRIES, MORE_TRIES = 4, 64  # digits drawn, at most, for each that was asked for, and beyond


class NotVerified(Exception):
    """Too few digits are found good. The message says how few, and what to do."""


class Verified(NamedTuple):
    digits: np.ndarray  # (n, 28, 28)
    indices: list[int]  # within the seed, rising
    refused: int  # how many were left out before the last of them


async def verifier_of(exhibit: Exhibit) -> Verifier:
    """Find the judge of the digits that a generator was trained with. Raises NotVerified where there is none."""
    dataset = exhibit.manifest.config.dataset
    verifier = await anyio.to_thread.run_sync(find_verifier, dataset, exhibit.generator.device)
    if verifier is None:
        raise NotVerified(f"no judge of {dataset} digits comes with this package: ask without verify")
    return verifier


async def draw_verified(
    batcher: Batcher, exhibit: Exhibit, verifier: Verifier, series: Series, least: float
) -> Verified:
    """Draw the first n digits of a seed, from an index on, that the judge takes for their label, and surely enough.

    What is drawn together does not decide it. Raises Busy, NotVerified.
    """
    label, n = series.label, series.n
    assert label is not None

    def judge(digits: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return digits, verifier.probabilities(digits, label) >= least

    kept, indices, tried = list[np.ndarray](), list[int](), 0
    most = TRIES * n + MORE_TRIES
    while len(kept) < n and tried < most:
        missing = n - len(kept)
        together = min(2 * BATCH, -(-(missing + missing // 8) // TOGETHER) * TOGETHER, most - tried)
        part = Series(label, together, series.seed, series.index + tried)
        digits, good = await batcher.draw(exhibit.generator, part, judge)
        places = np.flatnonzero(good)[:missing]
        kept += list(digits[places])
        indices += [part.index + int(place) for place in places]
        tried += together
    if len(kept) < n:
        raise NotVerified(
            f"of {tried} digits for {label}, {len(kept)} are taken for a {label} with a probability of {least:g} or "
            f"more, and {n} were asked for: lower verify, name another seed, or ask without verify"
        )
    return Verified(np.stack(kept), indices, indices[-1] + 1 - series.index - n)
