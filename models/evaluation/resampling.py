"""Intervals of figures of generated digits by the jackknife (Efron and Stein 1981; Quenouille 1956).

The digits are divided into GROUPS groups of equal classes, and a figure is computed again without each of them. If
t_g is the figure without group g, its variance is (G - 1) / G * sum of (t_g - mean)^2. The figures without a group come
from sums over pairs of groups, so that each distance is computed once.
"""

import math
from collections.abc import Callable, Iterable, Sequence

import torch
from torch import Tensor

from models.evaluation.metrics import ROWS, Moments, frechet

GROUPS = 10
STUDENT = 2.262  # 97.5 % quantile of Student's t with GROUPS - 1 degrees of freedom
Interval = tuple[float, float]
Check = Callable[[], None]


def groups_of(labels: Tensor) -> Tensor:
    """Return the group 0 ... GROUPS - 1 of each digit, int64 (N,). Each class is divided equally."""
    order = labels.long().argsort(stable=True)
    groups = torch.empty_like(order)
    groups[order] = torch.arange(len(order), device=order.device) % GROUPS
    return groups


def interval(value: float, without: Sequence[float]) -> Interval:
    """Return the 95 % interval of a figure, given the figures without each group.

    A group without which the figure is not defined (NaN) does not count. If none counts, there is no interval: both
    ends are the figure.
    """
    without = [each for each in without if not math.isnan(each)]
    if not without:
        return value, value
    mean = sum(without) / len(without)
    spread = sum((each - mean) ** 2 for each in without)
    half = STUDENT * math.sqrt((len(without) - 1) / len(without) * spread)
    return value - half, value + half


def one_hot(groups: Tensor) -> Tensor:
    return torch.nn.functional.one_hot(groups, GROUPS).double()


def moments_without(features: Tensor, groups: Tensor) -> list[Moments]:
    """Return the moments of features (N, F) without each group, on the CPU. The groups are those of `groups_of`.

    The sums of each group are computed once, about the common mean, which keeps their precision.
    """
    n = len(features)
    sizes = [len(range(group, n, GROUPS)) for group in range(GROUPS)]  # known without reading from the device
    x = features[groups.argsort(stable=True)].double()
    mean = x.mean(0)
    parts = (x - mean).split(sizes)
    sums, squares = (
        torch.stack(each) for each in ([part.sum(0) for part in parts], [part.t() @ part for part in parts])
    )
    left = n - torch.tensor(sizes, dtype=x.dtype, device=x.device)[:, None]
    sums, squares = sums.sum(0) - sums, squares.sum(0) - squares
    outer = sums[:, :, None] * sums[:, None, :] / left[:, :, None]
    means, covariances = mean + sums / left, (squares - outer) / (left[:, :, None] - 1)
    return [Moments(*each) for each in zip(means.cpu(), covariances.cpu(), strict=True)]


def frechet_interval(value: float, drawn: Tensor, target: Moments, groups: Tensor, check: Check) -> Interval:
    """Return the interval of the Frechet distance of features `drawn` (N, F) to those of these moments."""
    without = []
    for moments in moments_without(drawn, groups):
        check()
        without.append(frechet(moments, target))
    return interval(value, without)


def kernel_interval(value: float, drawn: Tensor, real: Tensor, groups: Tensor, check: Check) -> Interval:
    """Return the interval of `metrics.kernel_distance(drawn, real)`, in which the real digits stay the same."""
    a, b, member = drawn.double(), real.double(), one_hot(groups)
    size = a.shape[1]
    pairs, across = torch.zeros(GROUPS, GROUPS, dtype=a.dtype, device=a.device), member.new_zeros(GROUPS)
    for rows, mine in zip(a.split(ROWS), member.split(ROWS), strict=True):
        check()
        pairs += mine.t() @ ((rows @ a.t() / size + 1) ** 3) @ member
        across += mine.t() @ ((rows @ b.t() / size + 1) ** 3).sum(1)
    own = member.t() @ ((a.square().sum(1) / size + 1) ** 3)
    counts = member.sum(0)

    def part(keep: Tensor) -> Tensor:
        n = (counts * keep).sum()
        within = (keep @ pairs @ keep - (own * keep).sum()) / (n * (n - 1))
        return within - 2 * (across * keep).sum() / (n * len(b))

    everything = torch.ones(GROUPS, dtype=a.dtype, device=a.device)
    whole = part(everything)  # without the term of the real digits, which cancels
    changes = [part(everything - row) - whole for row in torch.eye(GROUPS, dtype=a.dtype, device=a.device)]
    return interval(value, [value + change for change in torch.stack(changes).cpu().tolist()])


def density_and_coverage_intervals(
    values: tuple[float, float], drawn: Tensor, real: Tensor, groups: Tensor, check: Check, k: int = 5
) -> tuple[Interval, Interval]:
    """Return the intervals of `metrics.density_and_coverage(real, drawn, k)`."""
    k = min(k, len(real) - 1)
    member = one_hot(groups).float()
    held, covered = member.new_zeros(GROUPS).double(), member.new_zeros(GROUPS).double()
    for rows in real.split(ROWS):
        check()
        reach = torch.cdist(rows, real).kthvalue(k + 1, 1).values
        inside = (torch.cdist(rows, drawn) < reach[:, None]).float() @ member  # (rows, GROUPS)
        held += inside.sum(0)
        covered += (inside.sum(1, keepdim=True) - inside > 0).sum(0)
    counts = member.sum(0).double()
    densities = (held.sum() - held) / (k * (counts.sum() - counts))
    without = torch.stack([densities, covered / len(real)]).cpu().tolist()
    return interval(values[0], without[0]), interval(values[1], without[1])


def distances_without(features: Tensor, groups: Tensor, check: Check) -> Tensor:
    """Return `metrics.mean_distance` of features (N, F) without each group: float64 (GROUPS,).

    It is NaN without a group that leaves fewer than two of the features.
    """
    member = one_hot(groups)
    pairs = torch.zeros(GROUPS, GROUPS, dtype=member.dtype, device=member.device)
    for rows, mine in zip(features.split(ROWS), member.split(ROWS), strict=True):
        check()
        pairs += mine.t() @ torch.cdist(rows, features).double() @ member
    counts = member.sum(0)
    left = pairs.sum() - pairs.sum(0) - pairs.sum(1) + pairs.diagonal()
    n = counts.sum() - counts
    return torch.where(n > 1, left / (n * (n - 1)), math.nan)


def variety_without(
    by_class: Iterable[Tensor], groups: Iterable[Tensor], real: Sequence[float], check: Check
) -> Tensor:
    """Return the variety of each class without each group: float64 (K, GROUPS), on the features' device; may be NaN.

    `by_class` and `groups` have the features (N, F) and the groups (N,) of each class, `real` the mean distance between
    two of its real images; if that is 0 or NaN, so is the variety NaN.
    """
    classes = zip(by_class, groups, real, strict=True)
    return torch.stack(
        [distances_without(features, group, check) / (theirs or math.nan) for features, group, theirs in classes]
    )


def median_interval(values: Tensor) -> Interval:
    """Return the 95 % interval of the median of values (N,), by their order (Conover 1999, section 3.2)."""
    ordered, n = values.sort().values, len(values)
    half = 1.96 * math.sqrt(n) / 2
    low, high = math.floor(n / 2 - half), math.ceil(n / 2 + half)
    return float(ordered[max(0, low)]), float(ordered[min(n - 1, high)])
