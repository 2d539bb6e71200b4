"""Each metric against an independent computation: torchmetrics, a closed form, or brute force."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torchmetrics.image.fid import FrechetInceptionDistance
from torchmetrics.image.kid import poly_mmd

from models.data.dataset import Dataset
from models.evaluation.evaluator import Evaluator, nearest_first
from models.evaluation.judge import bundled_judge
from models.evaluation.metrics import (
    Moments,
    confusion,
    density_and_coverage,
    frechet,
    kernel_distance,
    mean_distance,
    nearest,
    nearest_few,
    split_by_class,
    wilson,
)


class Rows(nn.Module):
    """In place of the Inception network: its input is already features."""

    num_features = 12

    def forward(self, features: Tensor) -> Tensor:
        return features


@pytest.fixture
def features() -> tuple[Tensor, Tensor]:
    draws = torch.Generator().manual_seed(3)
    mixing = torch.randn(12, 12, generator=draws)
    return torch.randn(700, 12, generator=draws), torch.randn(500, 12, generator=draws) @ mixing * 0.4 + 0.3


def test_the_frechet_distance_equals_that_of_torchmetrics(features: tuple[Tensor, Tensor]) -> None:
    reference = FrechetInceptionDistance(feature=Rows())
    reference.update(features[0], real=True)
    reference.update(features[1], real=False)
    assert frechet(*(Moments.of(each) for each in features)) == pytest.approx(float(reference.compute()), rel=1e-4)


def test_the_kernel_distance_equals_that_of_torchmetrics(features: tuple[Tensor, Tensor]) -> None:
    a, b = (each[:500] for each in features)
    assert kernel_distance(a, b) == pytest.approx(float(poly_mmd(a, b)), rel=1e-3)


def test_the_frechet_distance_of_equal_features_is_zero_and_of_a_shift_its_square() -> None:
    x = torch.randn(400, 5, generator=torch.Generator().manual_seed(1))
    assert frechet(Moments.of(x), Moments.of(x)) == pytest.approx(0, abs=1e-6)
    assert frechet(Moments.of(x), Moments.of(x + 2)) == pytest.approx(5 * 4, rel=1e-5)
    constant = torch.ones(400, 5)  # a covariance of zeros
    assert math.isfinite(frechet(Moments.of(x), Moments.of(constant)))
    for one in (x[:1], constant[:1]):  # which has no covariance
        assert math.isnan(frechet(Moments.of(x), Moments.of(one)))


def test_density_and_coverage_equal_a_count_by_brute_force() -> None:
    draws = torch.Generator().manual_seed(5)
    real, generated = torch.randn(60, 3, generator=draws), torch.randn(40, 3, generator=draws) + 0.5
    held, covered = 0, 0
    for i in range(60):
        radius = sorted(float((real[i] - real[j]).norm()) for j in range(60) if j != i)[4]
        inside = sum(float((real[i] - each).norm()) < radius for each in generated)
        held, covered = held + inside, covered + (inside > 0)
    density, coverage = density_and_coverage(real, generated)
    assert density == pytest.approx(held / (5 * 40))
    assert coverage == pytest.approx(covered / 60)


def test_identical_digits_have_no_coverage_and_no_variety() -> None:
    real = torch.randn(200, 4, generator=torch.Generator().manual_seed(5))
    one = real[:1].repeat(200, 1)
    assert density_and_coverage(real, one)[1] < 0.2
    assert mean_distance(one) == pytest.approx(0, abs=1e-3)


def test_the_mean_distance_is_that_of_all_pairs(features: tuple[Tensor, Tensor]) -> None:
    x = features[1]
    assert mean_distance(x) == pytest.approx(float(torch.pdist(x).mean()), rel=1e-5)


def test_the_nearest_neighbour_is_found_in_several_chunks() -> None:
    draws = torch.Generator().manual_seed(2)
    among = torch.randn(1500, 4, generator=draws)
    places = torch.randint(1500, (1200,), generator=draws)
    distances, found = nearest(among[places] + 1e-4, among)
    assert torch.equal(found, places)
    assert float(distances.max()) < 1e-2


def test_confusion_counts_requested_labels_by_rows() -> None:
    counts = confusion(torch.tensor([3, 3, 3, 7]), torch.tensor([3, 8, 8, 7]), 10)
    assert counts[3].tolist() == [0, 0, 0, 1, 0, 0, 0, 0, 2, 0]
    assert counts.sum() == 4


def test_features_are_split_by_class_in_order() -> None:
    labels = torch.tensor([2, 0, 2, 9, 0, 2], dtype=torch.uint8)
    parts = split_by_class(torch.arange(6.0)[:, None], labels, 10)
    assert [part.flatten().tolist() for part in parts] == [[1, 4], [], [0, 2, 5], [], [], [], [], [], [], [3]]


@pytest.mark.parametrize(("right", "n"), [(0, 50), (50, 50), (9950, 10_000), (3, 4)])
def test_wilson_bounds_solve_their_equation(right: int, n: int) -> None:
    for bound in wilson(right, n):
        assert abs(right / n - bound) == pytest.approx(1.96 * np.sqrt(bound * (1 - bound) / n), abs=1e-9)


def test_wilson_bounds_are_shares() -> None:
    for n in range(1, 3000):
        assert wilson(0, n)[0] >= 0
        assert wilson(n, n)[1] <= 1


def test_the_nearest_few_are_those_of_brute_force_and_a_copy_is_at_distance_0() -> None:
    rows = np.random.default_rng(1).integers(256, size=(23_000, 784), dtype=np.uint8)  # more than are compared at once
    rows[17_000] = rows[21_000]
    distances, indices = nearest_few(torch.from_numpy(rows[21_000]), torch.from_numpy(rows), 5)
    expected = np.sqrt(((rows.astype(float) - rows[21_000].astype(float)) ** 2).sum(1))
    order = expected.argsort(kind="stable")[:5]
    assert indices.tolist() == order.tolist()
    assert indices[:2].tolist() == [17_000, 21_000]
    assert distances[:2].tolist() == [0, 0]
    assert distances.numpy() == pytest.approx(expected[order], rel=1e-5)
    same, _ = nearest(torch.from_numpy(rows[:1]).float(), torch.from_numpy(rows[1:100]).float())
    few, _ = nearest_few(torch.from_numpy(rows[0]), torch.from_numpy(rows[1:100]), 1)
    assert float(few[0]) == pytest.approx(float(same[0]), rel=1e-3)  # the distance of `copies`


def test_fewer_rows_than_are_wanted_are_all_found() -> None:
    rows = torch.tensor([[3, 4], [0, 1]], dtype=torch.uint8)
    distances, indices = nearest_few(torch.zeros(2, dtype=torch.uint8), rows, 9)
    assert (distances.tolist(), indices.tolist()) == ([1, 5], [1, 0])


class Stop(Exception):
    """What `check` raises."""


def stop() -> None:
    raise Stop


def test_a_check_ends_the_search_for_near_images_and_the_measure_of_variety() -> None:
    """Also between two parts of the thousand images that an evaluation compares with all training images."""
    some = torch.rand(1000, 4)
    left = iter(range(3))

    def check() -> None:
        if next(left, None) is None:
            raise Stop

    with pytest.raises(Stop):
        nearest(some, some, check)
    with pytest.raises(Stop):
        mean_distance(some, stop)


def test_a_check_ends_the_measure_of_what_counts_as_a_copy(dataset: Dataset) -> None:
    judge = bundled_judge("mnist", "reporting")
    assert judge
    with pytest.raises(Stop):
        _ = Evaluator(dataset, judge, check=stop).close


def test_neighbours_are_sorted_within_a_class_also_if_there_are_many_classes() -> None:
    """A float32 has 24 bits: too few for a large class and a distance in one number."""
    classes, distances = torch.tensor([60, 60, 60, 3]), torch.tensor([101.0, 99.0, 100.0, 7000.0])
    assert nearest_first(classes, distances).tolist() == [3, 1, 2, 0]
