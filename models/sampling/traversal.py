"""Latent traversals: grids of points around an address, in a plane of latents. Each point is an address of its own.

As for morphs (interpolation.py), a latent is mapped to a normal vector g, and back. Two directions u and v are made of
random normal vectors: orthogonal to g and to each other, and as long as g. The point (x, y) is

    cos(r) g + sin(r) (x u + y v) / r    with r = sqrt(x^2 + y^2),

which is g, turned by r radians in the direction (x, y). It is as long as g, so every point has the distribution of
latents, and a point at an angle of pi / 2 is independent of the address. (0, 0) is the address, to the last bit.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from models.errors import Conflict
from models.sampling.interpolation import to_normal
from models.sampling.sampler import latents

DIRECTION_SEED = 2**53 + 1  # of the random vectors; seeds of requests are smaller
DECIMALS = 4  # of a coordinate, so that its text is exact
LEAST_SIZE = 3  # of a latent that has two directions orthogonal to it


class Point(NamedTuple):
    """Coordinates in a plane around an address, in radians: x to the right, y down."""

    x: float
    y: float

    @classmethod
    def of(cls, x: float, y: float) -> "Point":
        return cls(round(x, DECIMALS) + 0.0, round(y, DECIMALS) + 0.0)  # + 0.0 turns -0.0 into 0.0

    def __str__(self) -> str:
        return f"{self.x:g}:{self.y:g}"


def points_around(centre: Point, step: float, rows: int, columns: int) -> list[Point]:
    """Return rows * columns points, row by row, `step` radians apart, with `centre` in the middle."""
    return [
        Point.of(centre.x + (column - (columns - 1) / 2) * step, centre.y + (row - (rows - 1) / 2) * step)
        for row in range(rows)
        for column in range(columns)
    ]


@dataclass(frozen=True, slots=True)
class Plane:
    """A latent (L,), the same as a normal vector (L,), and two directions (L,), float64."""

    latent: Tensor
    normal: Tensor
    across: Tensor
    down: Tensor

    @classmethod
    def of(cls, seed: int, index: int, directions: int, latent_size: int) -> "Plane":
        """Return the plane of an address. Each number `directions` chooses another pair of directions.

        Raises Conflict if latents have fewer than three numbers.
        """
        if latent_size < LEAST_SIZE:
            raise Conflict(f"a latent of {latent_size} numbers has no two directions that are orthogonal to it")
        latent = latents(seed, index, 1, latent_size)[0]
        normal = to_normal(latent)
        first, second = (to_normal(each) for each in latents(DIRECTION_SEED, 2 * directions, 2, latent_size))
        length = math.sqrt(product(normal, normal))
        across = scaled(without(first, normal), length)
        return cls(latent, normal, across, scaled(without(without(second, normal), across), length))

    def at(self, point: Point) -> Tensor:
        """Return the latent (L,) of a point. Its bits do not depend on other points."""
        angle = math.hypot(*point)
        if angle == 0:
            return self.latent
        way = self.across * (point.x / angle) + self.down * (point.y / angle)
        turned = self.normal * math.cos(angle) + way * math.sin(angle)
        latent: Tensor = (2 * torch.special.ndtr(turned) - 1).float()
        return latent


def product(a: Tensor, b: Tensor) -> float:
    """Return the scalar product of two float64 vectors, rounded once: the same on every processor."""
    return math.fsum((a * b).tolist())


def without(vector: Tensor, direction: Tensor) -> Tensor:
    """Return the part of a vector that is orthogonal to a direction."""
    return vector - direction * (product(vector, direction) / product(direction, direction))


def scaled(vector: Tensor, length: float) -> Tensor:
    return vector * (length / math.sqrt(product(vector, vector)))


@dataclass(frozen=True, slots=True)
class Traversal:
    """Images of one label at points in the plane of an address."""

    label: int
    plane: Plane
    points: Sequence[Point]

    @property
    def digits(self) -> int:
        return len(self.points)

    def cut(self, start: int, stop: int, _latent_size: int) -> tuple[Tensor, Tensor]:
        """Return noise (stop - start, L) and labels (stop - start,) of the points start ... stop - 1."""
        noise = torch.stack([self.plane.at(point) for point in self.points[start:stop]])
        return noise, torch.full((stop - start,), self.label)

    @property
    def names(self) -> str:
        """The coordinates of each point, as in `-0.3:0,0:0,0.3:0`."""
        return ",".join(map(str, self.points))
