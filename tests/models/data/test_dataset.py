import hashlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from models.config import TrainingConfig
from models.data.dataset import load_dataset, to_unit_range
from models.data.idx import read_idx
from models.data.printed import load_printed
from tests.conftest import NOWHERE


def idx(array: np.ndarray) -> bytes:
    sizes = b"".join(size.to_bytes(4, "big") for size in array.shape)
    return bytes([0, 0, 8, array.ndim]) + sizes + array.tobytes()


@given(st.lists(st.integers(0, 255), max_size=20))
def test_idx_labels_are_read_back(values: list[int]) -> None:
    assert read_idx(idx(np.array(values, dtype=np.uint8))).tolist() == values


def test_idx_images_are_read_back() -> None:
    images = np.arange(2 * 3 * 5, dtype=np.uint8).reshape(2, 3, 5)
    assert np.array_equal(read_idx(idx(images)), images)


@given(st.binary(max_size=40))
def test_invalid_idx_data_is_refused(data: bytes) -> None:
    try:
        array = read_idx(data)
    except ValueError:
        return
    assert data[:3] == b"\x00\x00\x08"
    assert array.size == len(data) - 4 - 4 * data[3]


def test_pixels_are_scaled_to_the_unit_range() -> None:
    images = to_unit_range(torch.tensor([[[0, 255, 51]]], dtype=torch.uint8))
    assert images.shape == (1, 1, 1, 3)
    assert images.flatten().tolist() == pytest.approx([-1.0, 1.0, -0.6])


def test_printed_digits_are_the_same_on_every_machine() -> None:
    few, more = load_printed(50, 20), load_printed(80, 30)
    for short, long in zip(few, more, strict=True):
        assert np.array_equal(short, long[: len(short)])
    images, labels, test_images, _ = more
    assert set(labels.tolist()) == set(range(10))
    assert not np.array_equal(images[:30], test_images)


def test_printed_digits_have_the_statistics_of_mnist() -> None:
    images, labels = (torch.from_numpy(array) for array in load_printed(2000, 1)[:2])
    ink = images.float().mean((1, 2)) / 255
    assert ink.min() > 0.02
    assert ink.max() < 0.45
    assert images[:, 0].float().mean() < 5  # no ink is cut off at the top
    means = torch.stack([images[labels == label].float().mean(0) for label in range(10)])
    distances = torch.cdist(means.flatten(1), means.flatten(1))
    assert distances[~torch.eye(10, dtype=torch.bool)].min() > 300  # ten different digits


def test_training_data_is_cut_to_its_first_examples_and_identified_by_its_bytes(tmp_path: Path) -> None:
    config = TrainingConfig(dataset="printed", train_examples=100, test_examples=7)
    dataset = load_dataset(config, None, tmp_path, [NOWHERE])
    assert (len(dataset.train_images), len(dataset.test_labels)) == (100, 7)
    expected = hashlib.sha256()
    for tensor in (dataset.train_images, dataset.train_labels, dataset.test_images, dataset.test_labels):
        expected.update(tensor.numpy().tobytes())
    assert dataset.checksum == f"sha256:{expected.hexdigest()}"
    other = replace(dataset, train_images=dataset.train_images.clone())
    other.train_images[0, 0, 0] ^= 1
    assert other.checksum != dataset.checksum
