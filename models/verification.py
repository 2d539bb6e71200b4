"""Whether a digit can be read: what the choosing judge makes of each, whatever it is looked at with."""

import functools
import hashlib

import numpy as np
import torch

from models.classifier import look
from models.config import DatasetName
from models.judge import Judge, bundled_judge, to_bytes

TOGETHER = 16  # digits looked at together, always: in batches of other lengths sums may round otherwise


class Verifier:
    """The choosing judge of a data set, to look at single digits."""

    def __init__(self, judge: Judge, device: torch.device) -> None:
        self.checksum = hashlib.sha256(to_bytes(judge)).hexdigest()
        self.classifier = judge.to(device).classifier

    def probabilities(self, digits: np.ndarray, labels: int | np.ndarray) -> np.ndarray:
        """Return how probable it finds it that digits, uint8 (n, 28, 28), are of labels (n,): float32 (n,), 0-1."""
        n = len(digits)
        padded = np.concatenate((digits, np.zeros((-n % TOGETHER, *digits.shape[1:]), np.uint8)))
        parts = torch.from_numpy(padded).split(TOGETHER)
        seen = torch.cat([look(self.classifier, part).probabilities for part in parts])
        found: np.ndarray = seen[:n].cpu().numpy()[np.arange(n), labels]
        return found


@functools.cache
def find_verifier(name: DatasetName, device: torch.device) -> Verifier | None:
    """Load the package's judge of a data set, once; none where there is none."""
    judge = bundled_judge(name, "choosing")
    return Verifier(judge, device) if judge else None
