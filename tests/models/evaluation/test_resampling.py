"""Intervals of figures: they equal the jackknife as it is defined, and contain the true value as often as said."""

import math

import pytest
import torch
from torch import Tensor

from models.evaluation import metrics, resampling
from models.evaluation.metrics import Moments, go_on
from models.evaluation.resampling import GROUPS


@pytest.fixture
def random() -> torch.Generator:
    return torch.Generator().manual_seed(4)


@pytest.fixture
def features(random: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
    """Generated and real features, and the groups of the generated ones."""
    drawn, real = torch.randn(203, 5, generator=random), torch.randn(120, 5, generator=random) + 0.3
    return drawn, real, resampling.groups_of(torch.arange(203) % 4)


def left_out(groups: Tensor, drawn: Tensor) -> list[Tensor]:
    return [drawn[groups != group] for group in range(GROUPS)]


def test_groups_divide_each_class_equally() -> None:
    labels = torch.arange(400) % 4
    groups = resampling.groups_of(labels[torch.randperm(400)])
    assert torch.bincount(groups).tolist() == [40] * GROUPS
    by_class = torch.bincount(resampling.groups_of(labels) * 4 + labels)
    assert by_class.tolist() == [10] * (4 * GROUPS)


def test_each_interval_is_that_of_the_figures_without_each_group(features: tuple[Tensor, Tensor, Tensor]) -> None:
    drawn, real, groups = features
    parts = left_out(groups, drawn)
    moments = Moments.of(real)
    expected = resampling.interval(1.0, [metrics.frechet(Moments.of(part), moments) for part in parts])
    assert resampling.frechet_interval(1.0, drawn, moments, groups, go_on) == pytest.approx(expected)
    value = metrics.kernel_distance(drawn, real)
    expected = resampling.interval(value, [metrics.kernel_distance(part, real) for part in parts])
    assert resampling.kernel_interval(value, drawn, real, groups, go_on) == pytest.approx(expected)
    both = metrics.density_and_coverage(real, drawn)
    without = [metrics.density_and_coverage(real, part) for part in parts]
    found = resampling.density_and_coverage_intervals(both, drawn, real, groups, go_on)
    for at in range(2):
        assert found[at] == pytest.approx(resampling.interval(both[at], [each[at] for each in without]), abs=1e-6)
    distances = resampling.distances_without(drawn, groups, go_on)
    assert distances.tolist() == pytest.approx([metrics.mean_distance(part) for part in parts])


def test_groups_that_leave_fewer_than_two_digits_do_not_count(random: torch.Generator) -> None:
    features = torch.randn(3, 5, generator=random)
    for n in (2, 3):
        value = metrics.mean_distance(features[:n])
        without = resampling.distances_without(features[:n], torch.arange(n), go_on).tolist()
        assert [math.isnan(each) for each in without] == [n == 2] * n + [False] * (GROUPS - n)
        low, high = resampling.interval(value, without)
        assert low <= value + 1e-9
        assert value - 1e-9 <= high
        assert (high - low < 1e-6) == (n == 2)  # two images have one distance: nothing varies
    assert resampling.interval(0.5, [math.nan] * GROUPS) == (0.5, 0.5)
    some = [0.4, 0.5, 0.7]
    assert resampling.interval(0.5, [math.nan, *some]) == resampling.interval(0.5, some)


def test_fewer_real_digits_than_neighbours_are_all_neighbours(features: tuple[Tensor, Tensor, Tensor]) -> None:
    drawn, real, groups = features
    for n in (2, 4, 5):
        assert metrics.density_and_coverage(real[:n], drawn) == metrics.density_and_coverage(real[:n], drawn, k=n - 1)
        both = metrics.density_and_coverage(real[:n], drawn)
        found = resampling.density_and_coverage_intervals(both, drawn, real[:n], groups, go_on)
        assert found == resampling.density_and_coverage_intervals(both, drawn, real[:n], groups, go_on, k=n - 1)
        for value, (low, high) in zip(both, found, strict=True):
            assert low <= value <= high


def test_intervals_contain_the_true_value_in_most_samples(random: torch.Generator) -> None:
    """Of 300 samples of a normal distribution, 95 % of the intervals contain the true mean distance, 2 / sqrt(pi)."""
    groups, true = resampling.groups_of(torch.zeros(200, dtype=torch.int64)), 2 / math.sqrt(math.pi)
    hits = medians = 0
    for _ in range(300):
        sample = torch.randn(200, 1, generator=random)
        low, high = resampling.interval(
            metrics.mean_distance(sample), resampling.distances_without(sample, groups, go_on).tolist()
        )
        hits += low < true < high
        low, high = resampling.median_interval(sample.flatten())
        medians += low < 0 < high
    assert 270 <= hits <= 297
    assert 270 <= medians <= 297


def test_a_check_ends_a_long_computation(features: tuple[Tensor, Tensor, Tensor]) -> None:
    drawn, real, groups = features

    def stop() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        resampling.kernel_interval(0.0, drawn, real, groups, stop)
    with pytest.raises(KeyboardInterrupt):
        metrics.kernel_distance(drawn, real, stop)
