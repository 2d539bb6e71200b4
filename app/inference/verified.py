"""Verified digits: digits that the judge rejects are replaced by the next ones of their seed."""

from typing import NamedTuple

import numpy as np

from app.inference.batcher import Batcher
from app.inference.model_manager import LoadedModel
from models.errors import Conflict
from models.evaluation.verifier import TOGETHER, Verifier
from models.sampling.sampler import BATCH, SampleRange

TRIES, MORE_TRIES = 4, 64  # at most 4 n + 64 digits are drawn for n verified ones


class NotVerified(Conflict, code="not-verified"):
    """Too few digits passed, or there is no judge for the training data. The message says what to do."""


class Verified(NamedTuple):
    digits: np.ndarray  # (n, 28, 28)
    indices: list[int]  # within the seed, ascending
    refused: int  # rejected digits before the last accepted one


async def draw_verified(
    batcher: Batcher, model: LoadedModel, verifier: Verifier, series: SampleRange, least: float
) -> Verified:
    """Draw `series.n` digits of a seed, from `series.index` on, whose label has at least the probability `least`.

    The result does not depend on the size of the batches. Raises Busy, NotVerified.
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
        part = SampleRange(label, together, series.seed, series.index + tried)
        digits, good = await batcher.draw(model.generator, part, judge)
        places = np.flatnonzero(good)[:missing]
        kept += list(digits[places])
        indices += [part.index + int(place) for place in places]
        tried += together
    if len(kept) < n:
        raise NotVerified(
            f"the judge accepted only {len(kept)} of {tried} digits for the label {label} with a probability of at "
            f"least {least:g}, but {n} were requested: lower verify, use another seed, or omit verify"
        )
    return Verified(np.stack(kept), indices, indices[-1] + 1 - series.index - n)
