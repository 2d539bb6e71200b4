"""Answers requests for the nearest training images of an address and for points around it."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple
from urllib.parse import quote

import numpy as np
import torch
from fastapi import Response

from app.api.dependencies import Services
from app.api.exploration.training_images import TrainingImagesCache
from app.api.openapi.headers import ADDRESS, sends
from app.api.sample_addresses import Address, answer_address
from app.inference.service import InferenceService, LoadedModel
from app.problems import conditional
from app.schemas.exploration import FARTHEST, FORMATS, ExplorationQuery, NeighboursQuery, TraversalQuery
from models.config import IMAGE_SIZE
from models.data.class_names import label_of
from models.evaluation.metrics import nearest_few
from models.registry.store import Manifest
from models.sampling.formats import encode_npy
from models.sampling.grid import sheet
from models.sampling.png import encode_png
from models.sampling.sampler import SampleRange
from models.sampling.traversal import Plane, Point, Traversal, points_around


def responses(what: str, *headers: str) -> dict[int | str, dict[str, Any]]:
    return {
        200: {
            "content": {media_type: {} for media_type in FORMATS.values()},
            "description": what,
            **sends(*ADDRESS, *headers),
        },
        304: {"description": "Not modified."},
    }


class Subject(NamedTuple):
    """What is explored. Without a data set, a digit; else a class, by its name or label."""

    dataset: str | None
    label: str | int

    async def find(self, inference: InferenceService, checkpoint: str) -> tuple[LoadedModel, int]:
        """Return the generator and the label. Raises NotDigits, ClassNotFound, and errors of finding a generator."""
        if self.dataset is None:
            return await inference.models.find_digits(checkpoint), int(self.label)
        model = await inference.datasets.find(self.dataset, checkpoint)
        return model, label_of(str(self.label), model.manifest.class_names)

    def headers(self, address: Address, label: int, query: ExplorationQuery) -> dict[str, str]:
        headers = {**address.headers, "Content-Type": FORMATS[query.format]}
        if self.dataset is not None:
            headers["X-Class"] = quote(address.model.manifest.class_names[label], safe="")
        return headers


# ----------------------------------------------------------------------------
# The nearest training images.


class Neighbours(NamedTuple):
    """The training images nearest to a digit, nearest first: uint8 (n, 28, 28), with index, label and distance."""

    images: np.ndarray
    indices: list[int]
    labels: list[int]
    distances: list[float]

    @property
    def names(self) -> str:
        """Label, index and distance of each, as in `7:59012:1432.5`."""
        each = zip(self.labels, self.indices, self.distances, strict=True)
        return ",".join(f"{label}:{index}:{distance:.1f}" for label, index, distance in each)


async def answer_neighbours(
    services: Services, subject: Subject, query: NeighboursQuery, if_none_match: str | None
) -> Response:
    inference = services.inference
    model, label = await subject.find(inference, query.checkpoint)
    address = Address.of(model, query, query.checkpoint)
    about = f"{address.seed} {address.index} neighbours {label} {query.n} {query.format} {query.look}"
    validators = address.validators(about)
    if unchanged := conditional.not_modified(validators, if_none_match):
        return unchanged
    one = SampleRange(label, 1, address.seed, address.index, len(model.manifest.class_names))
    drawn = await inference.draw_batch(model.generator, one, np.copy)
    content, names = await inference.search(partial(picture, services.training_images, model.manifest, drawn, query))
    return Response(content, headers=validators | subject.headers(address, label, query) | {"X-Neighbours": names})


def picture(
    cache: TrainingImagesCache, manifest: Manifest, drawn: np.ndarray, query: NeighboursQuery
) -> tuple[bytes, str]:
    """Encode the drawn image, (1, 28, 28), followed by its neighbours, and name these. Raises as `search`."""
    found = search(cache, manifest, drawn[0], query.n)
    images = np.concatenate((drawn, found.images))
    return encoder(query, len(images))(images), found.names


def search(cache: TrainingImagesCache, manifest: Manifest, digit: np.ndarray, n: int) -> Neighbours:
    """Raises TrainingDataNotFound, Conflict, FileInvalid, OSError."""
    known = cache.load(manifest)
    distances, indices = nearest_few(torch.from_numpy(digit).flatten(), known.images, n)
    images = known.images[indices].view(-1, IMAGE_SIZE, IMAGE_SIZE).numpy()
    return Neighbours(images, indices.tolist(), known.labels[indices].tolist(), distances.tolist())


# ----------------------------------------------------------------------------
# Points around an address.


async def answer_traversal(
    services: Services, subject: Subject, query: TraversalQuery, if_none_match: str | None
) -> Response:
    centre = Point.of(query.x, query.y)
    points = [within_reach(point) for point in points_around(centre, query.step, query.rows, query.columns)]
    inference = services.inference
    model, label = await subject.find(inference, query.checkpoint)
    address = Address.of(model, query, query.checkpoint)
    plane = Plane.of(address.seed, address.index, query.directions, model.generator.latent_size)
    traversal = Traversal(label, plane, points)
    headers = subject.headers(address, label, query) | {"X-Points": traversal.names}

    async def make() -> bytes:
        return await inference.draw_batch(model.generator, traversal, encoder(query, query.columns))

    shape = f"{query.rows} {query.columns} {query.format} {query.look}"
    about = f"{address.seed} {address.index} traversal {label} {query.directions} {traversal.names} {shape}"
    return await answer_address(inference, address.validators(about), if_none_match, make, headers)


def within_reach(point: Point) -> Point:
    """Return the nearest point whose coordinates a request may have."""
    return Point(*(max(-FARTHEST, min(FARTHEST, value)) for value in point))


def encoder(query: ExplorationQuery, columns: int) -> Callable[[np.ndarray], bytes]:
    """Return a function that encodes images in the requested format."""
    if query.format == "npy":
        return encode_npy
    return lambda images: encode_png(sheet(images, columns, query.scale, query.padding, query.invert))
