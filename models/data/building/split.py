"""Splits images into training and test images: as the source says, or a share of each class by a seed.

Identical images are never in both splits, because a generator is judged by images that it did not learn from.
"""

import hashlib
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from models.config import MOST_IMAGES
from models.data.importing.items import InvalidImages

LEAST_TRAIN, LEAST_TEST = 10, 2  # images of each class; the variety of a class is measured between two images
LEAST_DIFFERENT = 2  # training images of each class that differ; the variety of digits is divided by that of real ones
OTHER = "images that differ from the others of the class"
NAMED = 5  # classes that a message names


class Split(NamedTuple):
    train: np.ndarray  # int64: indices of the training images, in the order in which they are stored
    test: np.ndarray
    is_given: bool  # by the source
    dropped: int  # training images that were left out, because they are test images too
    repeated: int  # images that equal an earlier one of their split
    contradictory: int  # images that equal an image of another class


def split(
    images: np.ndarray, labels: np.ndarray, given: Sequence[str | None], classes: Sequence[str], share: float, seed: int
) -> Split:
    """Split uint8 images (N, 28, 28) with uint8 labels (N,). `given` is the split of each image in the source.

    Raises InvalidImages if a class has fewer images than LEAST_TRAIN, LEAST_DIFFERENT and LEAST_TEST, or if a split has
    too many.
    """
    groups = group_identical(images)
    is_given = any(given)
    if is_given:
        is_test = np.array([each == "test" for each in given])
        is_tested = np.bincount(groups, weights=is_test) > 0
        is_dropped = ~is_test & is_tested[groups]
    else:
        _check_least(labels, classes, LEAST_TRAIN + LEAST_TEST, "images")
        is_test = choose_test(labels, groups, len(classes), share, seed)
        is_dropped = np.zeros(len(labels), bool)
    train, test = np.flatnonzero(~is_test & ~is_dropped), np.flatnonzero(is_test)
    _check_least(labels[train], classes, LEAST_TRAIN, "training images")
    _check_least(labels[test], classes, LEAST_TEST, "test images", "images" if is_given else OTHER)
    different = np.unique(np.stack([labels[train].astype(np.int64), groups[train]]), axis=1)[0]  # labels, one an image
    _check_least(different, classes, LEAST_DIFFERENT, "different training images", OTHER)
    for name, found in (("training", train), ("test", test)):
        if len(found) > MOST_IMAGES:
            raise InvalidImages(f"there are {len(found):,} {name} images, and at most {MOST_IMAGES:,} are allowed")
    random = np.random.default_rng([seed, len(classes)])
    return Split(
        train=_mixed(train, labels, is_given, random),
        test=_mixed(test, labels, is_given, random),
        is_given=is_given,
        dropped=int(is_dropped.sum()),
        repeated=sum(len(found) - len(np.unique(groups[found])) for found in (train, test)),
        contradictory=int(_is_mixed(labels, groups)[groups].sum()),
    )


def group_identical(images: np.ndarray) -> np.ndarray:
    """Return the number of the group of each image, int64 (N,). Images of equal pixels are in one group."""
    known = dict[bytes, int]()
    digests = (hashlib.blake2b(image.data, digest_size=16).digest() for image in np.ascontiguousarray(images))
    return np.fromiter((known.setdefault(digest, len(known)) for digest in digests), np.int64, len(images))


def choose_test(labels: np.ndarray, groups: np.ndarray, classes: int, share: float, seed: int) -> np.ndarray:
    """Choose the test images, bool (N,): a share of each class, and at least LEAST_TEST of it.

    Identical images stay together, and are training images if they have different classes. Therefore a class may get
    fewer test images.
    """
    is_chosen = np.zeros(groups.max(initial=-1) + 1, bool)
    sizes, is_mixed = np.bincount(groups), _is_mixed(labels, groups)
    for label in range(classes):
        members = groups[labels == label]
        left = max(LEAST_TEST, round(share * len(members)))
        candidates = np.unique(members[~is_mixed[members]])
        for group in np.random.default_rng([seed, label]).permutation(candidates):
            if sizes[group] <= left:
                is_chosen[group] = True
                left -= sizes[group]
            if not left:
                break
    is_test: np.ndarray = is_chosen[groups]
    return is_test


def _is_mixed(labels: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """Return whether each group has images of different classes, bool (number of groups,)."""
    label_of_group = np.zeros(groups.max(initial=-1) + 1, labels.dtype)
    label_of_group[groups] = labels
    is_mixed: np.ndarray = np.bincount(groups, weights=labels != label_of_group[groups]) > 0
    return is_mixed


def _mixed(indices: np.ndarray, labels: np.ndarray, is_given: bool, random: np.random.Generator) -> np.ndarray:
    """Shuffle images, because a run may use only the first ones. A given order stays, unless it is class by class."""
    order = random.permutation(len(indices))
    changes = int((np.diff(labels[indices].astype(int)) != 0).sum())
    is_class_by_class = changes < 2 * len(np.unique(labels[indices]))
    return indices[order] if is_class_by_class or not is_given else indices


def _check_least(labels: np.ndarray, classes: Sequence[str], least: int, what: str, needed: str = "images") -> None:
    counts = np.bincount(labels, minlength=len(classes))
    few = [f"{name} has {count}" for name, count in zip(classes, counts, strict=True) if count < least]
    if few:
        more = f" and {len(few) - NAMED} more classes have too few" if len(few) > NAMED else ""
        raise InvalidImages(
            f"each class needs at least {least} {what}, and class {', '.join(few[:NAMED])}{more}: add {needed}, or "
            "leave the class out"
        )
