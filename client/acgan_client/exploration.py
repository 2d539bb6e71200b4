"""The nearest training images of an address, and points around it: parameters, and what the service draws."""

import re
from dataclasses import dataclass
from typing import Literal, Self

import httpx2

from acgan_client.calls import PictureQuery, at
from acgan_client.errors import NotUnderstood
from acgan_client.pictures import Drawn

NEIGHBOURS = re.compile(r"([0-9]{1,3}:[0-9]{1,9}:[0-9]{1,6}\.[0-9](,(?=.)|$)){1,100}")
POINTS = re.compile(r"(-?[0-9]{1,4}(\.[0-9]{1,6})?:-?[0-9]{1,4}(\.[0-9]{1,6})?(,(?=.)|$)){1,1000}")


class NeighboursQuery(PictureQuery, total=False):
    n: int
    checkpoint: str
    format: Literal["png", "npy"]


class TraversalQuery(PictureQuery, total=False):
    x: float
    y: float
    step: float
    rows: int
    columns: int
    directions: int
    checkpoint: str
    format: Literal["png", "npy"]


@dataclass(frozen=True)
class Neighbour:
    """A training image: its label, its position among the training images from 0, and its Euclidean distance."""

    label: int
    index: int
    distance: float


@dataclass(frozen=True, repr=False)
class DrawnNeighbours(Drawn):
    """An image, followed by the training images nearest to it. `neighbours` describes these, nearest first."""

    neighbours: tuple[Neighbour, ...]

    @classmethod
    def of(cls, response: httpx2.Response) -> Self:
        drawn = Drawn.of(response)
        parts = described(response, "X-Neighbours", NEIGHBOURS, "a description of the training images")
        found = tuple(Neighbour(int(label), int(index), float(distance)) for label, index, distance in parts)
        return cls(drawn.file, drawn.media_type, drawn.checkpoint, drawn.seed, drawn.index, found)


@dataclass(frozen=True, repr=False)
class DrawnTraversal(Drawn):
    """Images at points around an address. `points` has the coordinates (x, y) of each, row by row."""

    points: tuple[tuple[float, float], ...]

    @classmethod
    def of(cls, response: httpx2.Response) -> Self:
        drawn = Drawn.of(response)
        pairs = described(response, "X-Points", POINTS, "the coordinates of its images")
        points = tuple((float(x), float(y)) for x, y in pairs)
        return cls(drawn.file, drawn.media_type, drawn.checkpoint, drawn.seed, drawn.index, points)


def described(response: httpx2.Response, header: str, form: re.Pattern[str], what: str) -> list[list[str]]:
    """Return the parts of each entry of a header. Raises NotUnderstood if it does not have this form."""
    text = response.headers.get(header, "")
    if not form.fullmatch(text):
        raise NotUnderstood(f"{response.url} answers, but without {what}")
    return [each.split(":") for each in text.split(",")]


def exploration_path(what: str, label: int | str, dataset: str | None = None) -> str:
    return at("digits", label, what) if dataset is None else at("images", dataset, label, what)
