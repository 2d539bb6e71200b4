"""Planes of latents: right angles, equal lengths, the distribution of latents, and bits of one point alone."""

import math

import numpy as np
import pytest
import torch

from models.errors import Conflict
from models.networks.acgan import Generator, initialize
from models.networks.inference import FoldedGenerator
from models.sampling.interpolation import to_normal
from models.sampling.sampler import draw, draw_digits, latents, prepare
from models.sampling.traversal import Plane, Point, Traversal, points_around


@pytest.fixture(scope="module")
def generator() -> FoldedGenerator:
    untaught = Generator()
    initialize(untaught, torch.Generator().manual_seed(1))
    return prepare(untaught.eval(), torch.device("cpu"))


@pytest.mark.parametrize("latent_size", [3, 100])
@pytest.mark.parametrize("directions", [0, 5])
def test_both_directions_are_orthogonal_to_the_latent_and_as_long(latent_size: int, directions: int) -> None:
    plane = Plane.of(4, 7, directions, latent_size)
    vectors = torch.stack((plane.normal, plane.across, plane.down))
    length = float(plane.normal.square().sum())
    assert (vectors @ vectors.T).numpy() == pytest.approx(length * np.eye(3), abs=1e-9 * length)


def test_another_number_is_another_pair_of_directions() -> None:
    first, other = Plane.of(4, 7, 0, 100), Plane.of(4, 7, 1, 100)
    assert not torch.equal(first.across, other.across)
    assert torch.equal(first.latent, other.latent)


def test_a_point_is_turned_by_its_distance_from_the_address() -> None:
    plane = Plane.of(4, 7, 0, 100)
    assert torch.equal(plane.at(Point(0, 0)), latents(4, 7, 1, 100)[0])
    for x, y in ((0.3, 0.4), (-0.5, 0), (0, math.pi / 2)):
        turned = to_normal(plane.at(Point(x, y)))
        cosine = float(turned @ plane.normal / (turned.norm() * plane.normal.norm()))
        assert cosine == pytest.approx(math.cos(math.hypot(x, y)), abs=1e-4)


def test_points_have_the_distribution_of_latents() -> None:
    """Uniform in [-1, 1): deciles contain a tenth each."""
    plane = Plane.of(1, 0, 0, 40_000)
    for point in (Point(0.3, 0), Point(0.6, -0.6), Point(0, 1.57)):
        latent = plane.at(point)
        assert latent.min() >= -1
        assert latent.max() <= 1
        shares = torch.histc(latent, 10, -1, 1) / len(latent)
        assert (shares - 0.1).abs().max() < 0.006


def test_a_grid_has_its_centre_in_the_middle_and_texts_that_are_exact() -> None:
    points = points_around(Point.of(0.3, -0.3), 0.1, rows=3, columns=5)
    assert [str(point) for point in points[5:10]] == ["0.1:-0.3", "0.2:-0.3", "0.3:-0.3", "0.4:-0.3", "0.5:-0.3"]
    assert [str(point) for point in points[2::5]] == ["0.3:-0.4", "0.3:-0.3", "0.3:-0.2"]
    assert str(points_around(Point.of(0.1, 0.3), 0.1, 7, 3)[9]) == "0:0.3"  # not -0, and not 0.30000000000000004
    for point in points_around(Point.of(1 / 3, -2 / 3), 0.777, 11, 11):
        assert Point.of(*map(float, str(point).split(":"))) == point


def test_an_image_is_the_same_alone_and_in_any_grid(generator: FoldedGenerator) -> None:
    plane = Plane.of(4, 7, 0, generator.latent_size)
    points = points_around(Point(0, 0), 0.3, 9, 9)  # more than one batch
    together = draw(generator, *Traversal(3, plane, points).cut(0, 81, generator.latent_size))
    for place in (0, 13, 40, 63, 64, 80):
        alone = Traversal(3, Plane.of(4, 7, 0, generator.latent_size), [points[place]])
        assert np.array_equal(draw(generator, *alone.cut(0, 1, generator.latent_size))[0], together[place])
    assert np.array_equal(together[40], draw_digits(generator, 3, 1, 4, 7)[0])
    assert len({digit.tobytes() for digit in together}) == 81


def test_a_latent_of_two_numbers_has_no_plane() -> None:
    with pytest.raises(Conflict, match="a latent of 2 numbers has no two directions"):
        Plane.of(4, 0, 0, 2)
