"""Quality figures, as pure functions of a judge's output. Features are (N, F), distances are Euclidean."""

import math
from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch
from torch import Tensor

ROWS = 1000  # rows whose distances to all others are in memory at once
PIXEL_ROWS = 250  # the same for rows of pixels, which are ten times as long and are compared with a training split

Check = Callable[[], None]  # called between parts of a long computation, which ends if it raises


def go_on() -> None:
    """The check of a computation that nothing ends early."""


class Moments(NamedTuple):
    """Mean (F,) and covariance (F, F) of features, float64."""

    mean: Tensor
    covariance: Tensor

    @classmethod
    def of(cls, features: Tensor) -> "Moments":
        x = features.double()
        mean = x.mean(0)
        centred = (x - mean).t()
        return cls(mean, centred @ centred.t() / (len(x) - 1))  # torch.cov reads a value back from the device

    def cpu(self) -> "Moments":
        return Moments(self.mean.cpu(), self.covariance.cpu())


def frechet(a: Moments, b: Moments) -> float:
    """Frechet distance of two Gaussians (Dowson and Landau 1982; Heusel et al. 2017, arXiv 1706.08500).

    |m - n|^2 + tr(A + B - 2 (A B)^(1/2)). The eigenvalues of A B are those of A^(1/2) B A^(1/2), which is symmetric.
    They are computed on the CPU: a GPU takes longer for matrices this small. NaN if moments are not finite, as the
    covariance of a single feature.
    """
    a, b = a.cpu(), b.cpu()
    if not all(bool(each.isfinite().all()) for each in (*a, *b)):
        return math.nan  # eigh would raise an error
    values, vectors = torch.linalg.eigh(a.covariance)
    root = (vectors * values.clamp_min(0).sqrt()) @ vectors.t()
    product = torch.linalg.eigvalsh(root @ b.covariance @ root).clamp_min(0).sqrt().sum()
    apart = (a.mean - b.mean).square().sum()
    return float(apart + a.covariance.trace() + b.covariance.trace() - 2 * product)


def kernel_distance(a: Tensor, b: Tensor, check: Check = go_on) -> float:
    """Squared maximum mean discrepancy under (x.y / F + 1)^3, unbiased (Binkowski et al. 2018, arXiv 1801.01401)."""
    a, b = a.double(), b.double()
    n, m = len(a), len(b)

    def kernel(x: Tensor, y: Tensor) -> Tensor:
        return (x @ y.t() / x.shape[1] + 1) ** 3

    def sums(x: Tensor, y: Tensor) -> Tensor:
        return torch.stack([kernel(rows, y).sum() for rows in _cut(x, check)]).sum()

    def diagonal(x: Tensor) -> Tensor:
        return ((x.square().sum(1) / x.shape[1] + 1) ** 3).sum()

    within = (sums(a, a) - diagonal(a)) / (n * (n - 1)) + (sums(b, b) - diagonal(b)) / (m * (m - 1))
    return float(within - 2 * sums(a, b) / (n * m))


def density_and_coverage(real: Tensor, generated: Tensor, k: int = 5, check: Check = go_on) -> tuple[float, float]:
    """Return density and coverage of the generated digits (Naeem et al. 2020, arXiv 2002.09797).

    A real digit's neighbourhood reaches to its k-th nearest real digit. Density is the mean number of neighbourhoods
    that a generated digit is in, divided by k; coverage is the share of neighbourhoods with at least one of them.
    Both are near 1 if generated digits are distributed like real ones. Of k real digits or fewer, which are at least
    two, all others are neighbours.
    """
    k = min(k, len(real) - 1)
    radius = torch.cat([torch.cdist(rows, real).kthvalue(k + 1, 1).values for rows in _cut(real, check)])  # 0 to itself
    inside = (
        torch.cdist(rows, generated) < reach[:, None]
        for rows, reach in zip(_cut(real, check), radius.split(ROWS), strict=True)
    )  # one at a time: for 47 classes, all of them would take a gigabyte
    counts = torch.stack([torch.stack((part.sum(), part.any(1).sum())) for part in inside]).sum(0)
    held, covered = counts.tolist()
    return held / (k * len(generated)), covered / len(real)


def _cut(x: Tensor, check: Check, size: int = ROWS) -> Iterator[Tensor]:
    for rows in x.split(size):
        check()
        yield rows


def mean_distance(features: Tensor, check: Check = go_on) -> float:
    """Return the mean distance between two of the features, a measure of how much they vary."""
    return float(pairwise_mean(features, check))


def pairwise_mean(features: Tensor, check: Check = go_on) -> Tensor:
    """Compute `mean_distance` as a tensor, float64 (), without reading it back from the features' device."""
    n = len(features)
    total = torch.stack([torch.cdist(rows, features).double().sum() for rows in _cut(features, check)]).sum()
    return total / (n * (n - 1))


def relative(own: float, real: float) -> float:
    """Divide the mean distance of generated digits by that of real ones. NaN if these do not vary, or are too few."""
    return own / real if real else math.nan


def nearest(of: Tensor, among: Tensor, check: Check = go_on) -> tuple[Tensor, Tensor]:
    """Find for each row of (N, F) the nearest row of (M, F): distances (N,) and indices (N,)."""
    found = [torch.cdist(rows, among).min(1) for rows in _cut(of, check, PIXEL_ROWS)]
    return torch.cat([each.values for each in found]), torch.cat([each.indices for each in found])


def nearest_few(of: Tensor, among: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Find the k nearest rows of (M, F) to one row (F,), both uint8: distances (k,) and indices (k,), nearest first.

    The distance is that of `nearest`. It is computed without a matrix product, so that of equal rows is exactly 0; of
    rows at the same distance, the first comes first. ROWS rows are in memory as float32 at once.
    """
    one = of[None].float()
    parts = [
        torch.cdist(one, rows.float(), compute_mode="donot_use_mm_for_euclid_dist")[0] for rows in among.split(ROWS)
    ]
    found = torch.cat(parts).sort(stable=True)
    return found.values[:k], found.indices[:k]


def confusion(labels: Tensor, recognised: Tensor, classes: int) -> Tensor:
    """Count requested labels (rows) against recognised classes (columns): int64 (K, K)."""
    return _count(labels.long() * classes + recognised.long(), classes**2).view(classes, -1)


def split_by_class(features: Tensor, labels: Tensor, classes: int) -> tuple[Tensor, ...]:
    """Split features (N, F) by class into K tensors (n, F) that keep the order. Reads from the device once."""
    sizes = _count(labels.long(), classes)
    parts: tuple[Tensor, ...] = features[labels.argsort(stable=True)].split(sizes.cpu().tolist())
    return parts


def _count(values: Tensor, n: int) -> Tensor:
    """Count each of 0 ... n - 1 among int64 values: (n,). Unlike `bincount`, it does not make the host wait."""
    return torch.zeros(n, dtype=torch.int64, device=values.device).scatter_add_(0, values, torch.ones_like(values))


def wilson(right: float, n: int, z: float = 1.96) -> tuple[float, float]:
    """Return the interval that contains the true share with a probability of 95 % (Wilson 1927)."""
    share, spread = right / n, z**2 / n
    middle = (share + spread / 2) / (1 + spread)
    half = z / (1 + spread) * math.sqrt(share * (1 - share) / n + spread / (4 * n))
    return max(0.0, middle - half), min(1.0, middle + half)  # rounding may lead beyond 0 and 1
