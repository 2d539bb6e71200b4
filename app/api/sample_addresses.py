"""Responses that a client can request again: the headers that identify them, and their ETags."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from fastapi import Response

from app.inference.model_manager import LoadedModel
from app.inference.service import Drawing
from app.problems import conditional
from app.schemas.compositions import HandQuery
from models.sampling.images import ENCODER
from models.sampling.sampler import fresh_seed

DRAWING_VERSION = 2  # part of every ETag; incremented when the same address returns other bytes
BUILD = f"{DRAWING_VERSION} {torch.__version__} {ENCODER}"
FOR_EVER = "public, max-age=31536000, immutable"


@dataclass(frozen=True)
class Address:
    """Generator, seed and index: together they identify a digit."""

    exhibit: LoadedModel
    seed: int
    index: int
    named: bool  # whether the request has a seed; if not, the service chose one
    fixed: bool  # whether the request has a checkpoint id, which always refers to the same checkpoint

    @classmethod
    def of(cls, exhibit: LoadedModel, query: HandQuery, checkpoint: str) -> "Address":
        named, seed = query.seed is not None, fresh_seed() if query.seed is None else query.seed
        return cls(exhibit, seed, query.index, named, fixed=checkpoint == exhibit.id)

    def told(self, media_type: str, about: str) -> "ResponseMeta":
        """Return the metadata of a response; `about` is everything else that determines its bytes."""
        headers = {"X-Checkpoint": self.exhibit.id, "X-Seed": str(self.seed), "X-Index": str(self.index)}
        key = f"{name_of(self.exhibit)} {self.seed} {self.index} {about}"
        return ResponseMeta(media_type, headers, conditional.name(key.encode()) if self.named else None, self.fixed)


def name_of(exhibit: LoadedModel) -> str:
    """Return a name that changes if the pixels of this generator's digits may change."""
    return f"{BUILD} {exhibit.generator.device.type} {exhibit.checksum}"


class ResponseMeta(NamedTuple):
    """The metadata of a response, known before its body."""

    media_type: str
    headers: dict[str, str]
    tag: str | None  # None if the same request may return other bytes
    fixed: bool = False


async def answer(
    drawing: Drawing, told: ResponseMeta, if_none_match: str | None, make: Callable[[], Awaitable[bytes]]
) -> Response:
    """Return 304 if the client has this version, else the cached body or the result of `make`."""
    media_type, headers, tag, fixed = told
    if tag is None:
        return Response(await make(), media_type=media_type, headers={**headers, "Cache-Control": "no-store"})
    named = {"ETag": tag, "Cache-Control": FOR_EVER if fixed else "no-cache"}
    if conditional.is_known(tag, if_none_match):
        return Response(status_code=304, headers=named)
    made = drawing.files.get(tag)
    if made is None:
        made = await make()
        drawing.files.keep(tag, made, len(made))
    return Response(made, media_type=media_type, headers={**named, **headers})
