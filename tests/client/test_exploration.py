"""The client's calls for the nearest training images and for traversals, against a real service."""

from collections.abc import Iterator

import httpx2
import numpy as np
import pytest

from acgan_client import Client, DrawnNeighbours, DrawnTraversal, NotFound, NotUnderstood
from app.settings import AppSettings
from models.registry.store import CheckpointStore
from tests.app.conftest import publish_trained
from tests.support.serving import serving
from tests.support.training_sets import bring

TEN = "20360101-000000-aaaaaa"
CHECKPOINT = f"{TEN}-e001"


@pytest.fixture
def service(settings: AppSettings, store: CheckpointStore) -> Iterator[Client]:
    publish_trained(store, TEN, bring(store.training_data, "ten", tuple("0123456789")))
    with serving(settings) as address, Client(address) as client:
        yield client


def test_classes_whose_names_are_dots_are_drawn(settings: AppSettings, store: CheckpointStore) -> None:
    """An address without an escape loses such a part."""
    publish_trained(store, TEN, bring(store.training_data, "marks", (".", "..", "x")))
    with serving(settings) as address, Client(address) as client:
        drawn = [client.image_pixels("marks", name, n=2, seed=4) for name in (".", "..", "x")]
    assert [each.shape for each in drawn] == [(2, 28, 28)] * 3
    assert len({each.tobytes() for each in drawn}) == 3


def test_neighbours_are_described(service: Client) -> None:
    found = service.neighbours(7, seed=4, n=5, checkpoint=CHECKPOINT, format="npy")
    images = found.array().astype(float)
    distances = np.sqrt(((images[1:] - images[0]) ** 2).sum((1, 2)))
    assert [each.distance for each in found.neighbours] == pytest.approx(distances, abs=0.06)
    assert all(each.label == each.index % 10 for each in found.neighbours)  # as the images of the set are ordered
    assert (found.checkpoint, found.seed, found.index) == (CHECKPOINT, 4, 0)
    same = service.image_neighbours("ten", "7", seed=4, n=5, padding=1)
    assert same.neighbours == found.neighbours
    assert same.image().size == (6 * 29 + 1, 30)
    with pytest.raises(NotFound, match="on the machine of this service"):
        service.neighbours(7)


def test_each_point_of_a_traversal_is_drawn_again(service: Client) -> None:
    grid = service.traversal(7, seed=4, rows=3, columns=3, checkpoint=CHECKPOINT, format="npy")
    assert grid.points[:5] == ((-0.3, -0.3), (0, -0.3), (0.3, -0.3), (-0.3, 0), (0, 0))
    x, y = grid.points[2]
    one = service.image_traversal("ten", 7, seed=4, x=x, y=y, rows=1, columns=1, format="npy")
    assert (one.array()[0] == grid.array()[2]).all()
    assert (service.pixels(7, seed=4, checkpoint=CHECKPOINT)[0] == grid.array()[4]).all()


@pytest.mark.parametrize("text", ["", "7:1", "7:1:2", "7:1:2.5,", "a:1:2.5", "7:1:2.5;7:1:2.5", "7:1:2.5," * 101])
def test_another_description_of_neighbours_is_not_understood(text: str) -> None:
    with pytest.raises(NotUnderstood, match="without a description of the training images"):
        DrawnNeighbours.of(answer("X-Neighbours", text))


@pytest.mark.parametrize("text", ["", "1", "1:2:3", "1:2,", "nan:0", "1:2;3:4", "1e9:0", "0:0," * 1001])
def test_other_coordinates_are_not_understood(text: str) -> None:
    with pytest.raises(NotUnderstood, match="without the coordinates"):
        DrawnTraversal.of(answer("X-Points", text))


def answer(name: str, text: str) -> httpx2.Response:
    headers = {"X-Checkpoint": CHECKPOINT, "X-Seed": "1", "X-Index": "0", "Content-Type": "image/png", name: text}
    return httpx2.Response(200, headers=headers, request=httpx2.Request("GET", "http://service/digits/7"))
