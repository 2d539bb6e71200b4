"""The split into training and test images: by seed or as given, without an image in both."""

import numpy as np
import pytest

from models.data.building.split import LEAST_TEST, LEAST_TRAIN, Split, group_identical, split
from models.data.importing.items import InvalidImages

CLASSES = ("a", "b")


def made(count: int, seed: int = 0) -> np.ndarray:
    """Different images (count, 28, 28)."""
    return np.random.default_rng(seed).integers(0, 256, (count, 28, 28), dtype=np.uint8)


def halves(count: int) -> np.ndarray:
    return np.repeat(np.arange(2, dtype=np.uint8), count // 2)


def split_by_seed(images: np.ndarray, labels: np.ndarray, share: float = 0.25, seed: int = 1) -> Split:
    return split(images, labels, [None] * len(labels), CLASSES, share, seed)


def given(train: int, test: int) -> list[str]:
    return ["train"] * train + ["test"] * test


def test_each_class_gives_its_share_of_test_images() -> None:
    labels = np.array([0] * 200 + [1] * 40, np.uint8)
    found = split_by_seed(made(240), labels)
    assert np.bincount(labels[found.test]).tolist() == [50, 10]
    assert sorted([*found.train, *found.test]) == list(range(240))
    assert not found.is_given


def test_a_seed_gives_one_split_and_another_seed_another() -> None:
    images, labels = made(100), halves(100)
    first, again, other = (split_by_seed(images, labels, seed=seed) for seed in (1, 1, 2))
    assert np.array_equal(first.train, again.train)
    assert np.array_equal(first.test, again.test)
    assert set(first.test) != set(other.test)


def test_the_first_training_images_have_all_classes() -> None:
    """Because a run may use only the first ones."""
    labels = halves(1000)
    found = split_by_seed(made(1000), labels)
    assert set(labels[found.train[:20]]) == {0, 1}
    assert set(labels[found.test[:20]]) == {0, 1}


def test_identical_images_are_in_the_same_split() -> None:
    once = made(60)
    images, labels = np.concatenate((once, once, once)), np.tile(halves(60), 3)
    for seed in range(5):
        found = split_by_seed(images, labels, seed=seed)
        groups = group_identical(images)
        assert not set(groups[found.train]) & set(groups[found.test])
        assert np.bincount(labels[found.test]).tolist() == [21, 21]  # 22.5 would cut a group of three
    assert found.repeated == 120
    assert found.dropped == found.contradictory == 0


def test_an_image_of_two_classes_is_no_test_image() -> None:
    images, labels = made(100), halves(100)
    images[60] = images[10]
    for seed in range(5):
        found = split_by_seed(images, labels, share=0.7, seed=seed)
        assert not {10, 60} & set(found.test)
        assert found.contradictory == 2


def test_a_given_split_stays_but_training_images_that_are_test_images_are_left_out() -> None:
    images, labels = made(60), np.tile(np.arange(2, dtype=np.uint8), 30)
    images[3], images[4] = images[51], images[55]
    images[57] = images[51]
    found = split(images, labels, given(50, 10), CLASSES, 0.5, 1)
    assert found.is_given
    assert found.test.tolist() == list(range(50, 60))
    assert found.train.tolist() == [each for each in range(50) if each not in (3, 4)]
    assert (found.dropped, found.repeated) == (2, 1)


def test_a_given_split_class_by_class_is_shuffled() -> None:
    labels = np.concatenate((halves(100), halves(20)))
    found = split(made(120), labels, given(100, 20), CLASSES, 0.5, 1)
    assert sorted(found.test) == list(range(100, 120))
    assert set(labels[found.train[:20]]) == set(labels[found.test[:10]]) == {0, 1}


@pytest.mark.parametrize(
    ("counts", "said"),
    [
        ([LEAST_TRAIN + LEAST_TEST - 1, 50], "needs at least 12 images, and class a has 11"),
        ([50, 3], "needs at least 12 images, and class b has 3"),
    ],
)
def test_a_class_with_too_few_images_is_named(counts: list[int], said: str) -> None:
    labels = np.repeat(np.arange(2, dtype=np.uint8), counts)
    with pytest.raises(InvalidImages, match=said):
        split_by_seed(made(len(labels)), labels)


def test_the_least_number_of_images_is_enough() -> None:
    labels = halves(2 * (LEAST_TRAIN + LEAST_TEST))
    found = split_by_seed(made(len(labels)), labels, share=0.01)
    assert np.bincount(labels[found.train]).tolist() == [LEAST_TRAIN] * 2
    assert np.bincount(labels[found.test]).tolist() == [LEAST_TEST] * 2


def test_a_class_of_identical_images_gives_no_test_images() -> None:
    images = made(100)
    images[:50] = images[0]
    with pytest.raises(
        InvalidImages, match="at least 2 test images, and class a has 0: add images that differ from the others"
    ):
        split_by_seed(images, halves(100))


def test_a_given_split_needs_test_images_of_each_class() -> None:
    with pytest.raises(InvalidImages, match="at least 2 test images, and class b has 0"):
        split(made(60), np.array([0, 1] * 25 + [0] * 10, np.uint8), given(50, 10), CLASSES, 0.5, 1)


@pytest.mark.parametrize("is_given", [True, False])
def test_the_training_images_of_a_class_must_not_be_identical(is_given: bool) -> None:
    images = made(60)
    labels = np.array([0] * 40 + [1] * 20, np.uint8)
    images[40:58] = images[40]  # of class b; the other two become test images
    train_or_test: list[str | None] = [*given(2, 0), *given(56, 2)] if is_given else [None] * 60
    if is_given:
        train_or_test[:2] = ["test", "test"]
    with pytest.raises(
        InvalidImages, match="at least 2 different training images, and class b has 1: add images that differ"
    ):
        split(images, labels, train_or_test, CLASSES, 0.1, 1)
    images[41] = made(1, seed=9)[0]
    split(images, labels, train_or_test, CLASSES, 0.1, 1)
