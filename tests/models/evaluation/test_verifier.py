import numpy as np
import pytest
import torch

from models.data.printed import draw_split
from models.evaluation.judge import bundled_judge
from models.evaluation.verifier import TOGETHER, Verifier, find_verifier

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def verifier() -> Verifier:
    found = find_verifier("printed", CPU)
    assert found
    return found


def test_good_digits_are_recognised_as_their_label_and_no_other(verifier: Verifier) -> None:
    digits, labels = draw_split(1, 200)
    for label in range(10):
        found = verifier.probabilities(digits, label)
        assert found.shape == (200,)
        assert np.mean(found[labels == label] >= 0.9) > 0.9
        assert np.mean(found[labels != label] >= 0.5) < 0.02


def test_the_probability_of_a_digit_does_not_depend_on_its_batch(verifier: Verifier) -> None:
    digits, _ = draw_split(1, 3 * TOGETHER + 5)
    together = verifier.probabilities(digits, 3)
    for start, stop in ((0, 1), (7, 8), (5, 30), (TOGETHER, 3 * TOGETHER)):
        assert np.array_equal(verifier.probabilities(digits[start:stop], 3), together[start:stop])


def test_a_judge_is_identified_by_its_weights_and_loaded_once(verifier: Verifier) -> None:
    other = bundled_judge("mnist", "choosing")
    assert other
    assert Verifier(other, CPU).checksum != verifier.checksum
    assert find_verifier("printed", CPU) is verifier
