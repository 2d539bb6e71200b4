"""Verifies single digits: the probability of each label by the choosing judge, independent of the rest of a batch."""

import functools

import numpy as np
import torch

from models.config import DatasetName
from models.evaluation.classifier import look
from models.evaluation.judge import Judge, bundled_judge

# Digits are classified in batches of one fixed length: in batches of other lengths sums may be rounded differently.
TOGETHER = 16
TOGETHER_ON_GPU = 64  # as fast as 16 on a GPU


class Verifier:
    """The choosing judge of a data set, used on single digits."""

    def __init__(self, judge: Judge, device: torch.device) -> None:
        self.checksum = judge.checksum
        self.classifier = judge.to(device).classifier
        self.device = device
        self.batch = TOGETHER if device.type == "cpu" else TOGETHER_ON_GPU

    def probabilities(self, digits: np.ndarray, labels: int | np.ndarray) -> np.ndarray:
        """Return the probabilities, float32 (n,), 0-1, that digits, uint8 (n, 28, 28), are of labels (n,).

        They do not depend on which digits are passed together. Copies the digits to the device once, and the result
        back once.
        """
        n = len(digits)
        padded = np.concatenate((digits, np.zeros((-n % self.batch, *digits.shape[1:]), np.uint8)))
        parts = torch.from_numpy(padded).to(self.device).split(self.batch)
        probabilities = torch.cat([look(self.classifier, part).probabilities for part in parts])
        of_labels: np.ndarray = probabilities[:n].cpu().numpy()[np.arange(n), labels]
        return of_labels


@functools.cache
def find_verifier(name: DatasetName, device: torch.device) -> Verifier | None:
    """Load the package's judge of a data set, once per device; None if the package has none."""
    judge = bundled_judge(name, "choosing")
    return Verifier(judge, device) if judge else None
