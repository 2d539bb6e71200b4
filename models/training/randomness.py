"""Seeds. All random numbers of a run are a function of (seed, purpose, epoch, iteration), not of earlier draws."""

from enum import IntEnum

import numpy as np


class Purpose(IntEnum):
    """Purpose of random numbers. It is part of the key, so no two streams are the same. Never change a value."""

    GENERATOR_WEIGHTS = 1
    DISCRIMINATOR_WEIGHTS = 2
    TRAINING = 3
    EVALUATION = 4
    AVERAGING = 5
    ORDER = 6


def derive_seed(seed: int, purpose: Purpose, epoch: int = 0, iteration: int = 0) -> int:
    """Hash a position in a run to the 63-bit seed of all random numbers drawn there."""
    key = np.random.SeedSequence([seed, purpose, epoch, iteration])
    return int(key.generate_state(1, np.uint64)[0] >> np.uint64(1))
