"""Responses that a client can request again: the headers that identify them, and their ETags."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import torch
from fastapi import Response

from app.inference.service import InferenceService, LoadedModel
from app.problems import conditional
from app.schemas.compositions import SeedQuery
from app.schemas.digits import SheetQuery
from models.sampling.png import ENCODER
from models.sampling.sampler import fresh_seed

DRAWING_VERSION = 2  # part of every ETag; incremented when the same address returns other bytes
BUILD = f"{DRAWING_VERSION} {torch.__version__} {ENCODER}"


@dataclass(frozen=True, slots=True)
class Address:
    """Generator, seed and index: together they identify a digit."""

    model: LoadedModel
    seed: int
    index: int
    named: bool  # whether the request has a seed; if not, the service chose one
    fixed: bool  # whether the request has a checkpoint id, which always refers to the same checkpoint

    @classmethod
    def of(cls, model: LoadedModel, query: SeedQuery | SheetQuery, checkpoint: str) -> "Address":
        named, seed = query.seed is not None, fresh_seed() if query.seed is None else query.seed
        return cls(model, seed, query.index, named, fixed=checkpoint == model.id)

    @property
    def headers(self) -> dict[str, str]:
        return {
            "X-Checkpoint": self.model.id,
            "X-Dataset": self.model.manifest.config.dataset,
            "X-Seed": str(self.seed),
            "X-Index": str(self.index),
        }

    def validators(self, about: str) -> dict[str, str]:
        """Return the validators of a response; `about` is everything else that determines its bytes."""
        name = f"{BUILD} {self.model.generator.device.type} {self.model.checksum}"
        return conditional.validators(f"{name} {about}".encode() if self.named else None, self.fixed)


async def answer_address(
    inference: InferenceService,
    validators: dict[str, str],
    if_none_match: str | None,
    make: Callable[[], Awaitable[bytes]],
    headers: dict[str, str],
) -> Response:
    """Return 304 if the client has this version, else the cached body or the result of `make`, with `headers` too."""
    if unchanged := conditional.not_modified(validators, if_none_match):
        return unchanged
    body = await inference.cached(validators.get("ETag"), make)
    return Response(body, headers={**validators, **headers})
