"""The objectives against the sums of the original Keras code, written out with probabilities."""

import numpy as np
import pytest
import torch

from models.training.losses import (
    NEARBY,
    discriminator_objective,
    discriminator_test_objective,
    generator_objective,
    slope,
    two_sided_discriminator_objective,
    two_sided_generator_objective,
    two_sided_test_objective,
)


def sigmoid(x: np.ndarray) -> np.ndarray:
    return np.asarray(1 / (1 + np.exp(-x)))


def softmax(x: np.ndarray) -> np.ndarray:
    return np.asarray(np.exp(x) / np.exp(x).sum(1, keepdims=True))


def binary_crossentropy(target: np.ndarray, p: np.ndarray) -> np.ndarray:
    return np.asarray(-(target * np.log(p) + (1 - target) * np.log(1 - p)))


@pytest.fixture
def judged() -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(3)
    return random.normal(size=12), random.normal(size=(12, 10))


LABELS = np.array([3, 1, 4, 1, 5, 9])
FAKE_LABELS = np.array([2, 6, 5, 3, 5, 8])


def test_the_discriminator_learns_real_from_fake_and_the_class_of_real_images(
    judged: tuple[np.ndarray, np.ndarray],
) -> None:
    real, classes = judged
    y = np.array([0.95] * 6 + [0.0] * 6)
    weights = np.array([2.0] * 6 + [0.0] * 6)
    picked = softmax(classes)[np.arange(12), np.concatenate((LABELS, FAKE_LABELS))]
    generation = binary_crossentropy(y, sigmoid(real)).mean()
    auxiliary = (weights * -np.log(picked)).mean()

    objective = discriminator_objective(torch.tensor(real), torch.tensor(classes), torch.tensor(LABELS))
    assert objective.row().tolist() == pytest.approx([generation + auxiliary, generation, auxiliary], rel=1e-6)


@pytest.mark.parametrize("target", [0.95, 1.0])
def test_the_generator_learns_to_pass_for_real_and_for_its_class(
    judged: tuple[np.ndarray, np.ndarray], target: float
) -> None:
    real, classes = judged
    labels = np.concatenate((LABELS, FAKE_LABELS))
    generation = binary_crossentropy(np.full(12, target), sigmoid(real)).mean()
    auxiliary = -np.log(softmax(classes)[np.arange(12), labels]).mean()

    objective = generator_objective(torch.tensor(real), torch.tensor(classes), torch.tensor(labels), target)
    assert objective.row().tolist() == pytest.approx([generation + auxiliary, generation, auxiliary], rel=1e-6)


def test_the_evaluation_counts_every_class(judged: tuple[np.ndarray, np.ndarray]) -> None:
    real, classes = judged
    labels = np.concatenate((LABELS, FAKE_LABELS))
    generation = binary_crossentropy(np.array([1.0] * 6 + [0.0] * 6), sigmoid(real)).mean()
    auxiliary = -np.log(softmax(classes)[np.arange(12), labels]).mean()

    objective = discriminator_test_objective(
        torch.tensor(real), torch.tensor(classes), torch.tensor(labels), torch.arange(12) < 6
    )
    assert objective.row().tolist() == pytest.approx([generation + auxiliary, generation, auxiliary], rel=1e-6)


def test_confident_mistakes_stay_finite() -> None:
    logits, classes = torch.tensor([500.0, -500.0]), torch.tensor([[1e4] + [0.0] * 9] * 2)
    assert generator_objective(logits, classes, torch.tensor([0, 1])).loss.isfinite()


@pytest.fixture
def two_sided() -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(4)
    return random.normal(size=12), random.normal(size=(12, 20))


def test_two_sided_each_image_belongs_to_its_class_on_its_side(two_sided: tuple[np.ndarray, np.ndarray]) -> None:
    real, classes = two_sided
    labels = np.concatenate((LABELS, FAKE_LABELS))
    y = np.array([0.95] * 6 + [0.0] * 6)
    sides = np.concatenate((LABELS, FAKE_LABELS + 10))
    by_image = -np.log(softmax(classes)[np.arange(12), sides])
    generation = binary_crossentropy(y, sigmoid(real)).mean()
    auxiliary = by_image[:6].mean() + by_image[6:].mean()
    result = two_sided_discriminator_objective(torch.tensor(real), torch.tensor(classes), torch.tensor(labels))
    assert result.row().tolist() == pytest.approx([generation + auxiliary, generation, auxiliary], rel=1e-6)

    is_real = np.array([1.0] * 6 + [0.0] * 6)
    tested = two_sided_test_objective(*(torch.tensor(each) for each in (real, classes, labels, is_real)))
    generation = binary_crossentropy(is_real, sigmoid(real)).mean()
    assert tested.row().tolist() == pytest.approx([generation + by_image.mean(), generation, by_image.mean()], rel=1e-6)


def test_two_sided_the_generator_is_pushed_by_the_difference(two_sided: tuple[np.ndarray, np.ndarray]) -> None:
    real, classes = two_sided
    labels = np.concatenate((LABELS, FAKE_LABELS))
    p, rows = softmax(classes), np.arange(12)
    generation = binary_crossentropy(np.ones(12), sigmoid(real)).mean()
    auxiliary = (np.log(p[rows, labels + 10]) - np.log(p[rows, labels])).mean()
    result = two_sided_generator_objective(torch.tensor(real), torch.tensor(classes), torch.tensor(labels))
    assert result.row().tolist() == pytest.approx([generation + auxiliary, generation, auxiliary], rel=1e-6)


def test_a_gradient_penalty_by_differences_equals_that_of_the_gradient() -> None:
    """For a linear function, the mean over neighbours is its squared gradient."""
    draws = torch.Generator().manual_seed(1)
    gradient, images = torch.randn(784, generator=draws), torch.randn(4000, 784, generator=draws)
    nearby = images + NEARBY * torch.randn(4000, 784, generator=draws)
    assert float(slope(images @ gradient, nearby @ gradient)) == pytest.approx(float(gradient.square().sum()), rel=0.1)
