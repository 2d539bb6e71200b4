"""Answers that can be had again: what tells their address, and what names their bytes."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from fastapi import Response

from app.serving.drawing import Drawing
from app.serving.gallery import Exhibit
from app.wire import etags
from app.wire.queries import HandQuery
from models.drawing import fresh_seed
from models.images import ENCODER

DRAWING_VERSION = 2  # part of every ETag; goes up when the same address comes to mean other bytes
BUILD = f"{DRAWING_VERSION} {torch.__version__} {ENCODER}"
FOR_EVER = "public, max-age=31536000, immutable"


@dataclass(frozen=True)
class Address:
    """Whose hand draws, by which generator."""

    exhibit: Exhibit
    seed: int
    index: int
    named: bool  # whether the seed was named; else any would have done
    fixed: bool  # whether the checkpoint was named by its id, so that it always means the same one

    @classmethod
    def of(cls, exhibit: Exhibit, query: HandQuery, checkpoint: str) -> "Address":
        named, seed = query.seed is not None, fresh_seed() if query.seed is None else query.seed
        return cls(exhibit, seed, query.index, named, fixed=checkpoint == exhibit.id)

    def told(self, media_type: str, about: str) -> "Told":
        """What is told of an answer; `about` is all that decides its bytes beside the address."""
        headers = {"X-Checkpoint": self.exhibit.id, "X-Seed": str(self.seed), "X-Index": str(self.index)}
        key = f"{name_of(self.exhibit)} {self.seed} {self.index} {about}"
        return Told(media_type, headers, etags.name(key.encode()) if self.named else None, self.fixed)


def name_of(exhibit: Exhibit) -> str:
    """Name the pixels of a generator's digits."""
    return f"{BUILD} {exhibit.generator.device.type} {exhibit.checksum}"


class Told(NamedTuple):
    """What is told of an answer before it is made."""

    media_type: str
    headers: dict[str, str]
    tag: str | None  # none where nobody can ask for it again in the same words
    fixed: bool = False


async def answer(
    drawing: Drawing, told: Told, if_none_match: str | None, make: Callable[[], Awaitable[bytes]]
) -> Response:
    """Answer with what `make` makes; or say that somebody has it, or take what was made lately."""
    media_type, headers, tag, fixed = told
    if tag is None:
        return Response(await make(), media_type=media_type, headers={**headers, "Cache-Control": "no-store"})
    named = {"ETag": tag, "Cache-Control": FOR_EVER if fixed else "no-cache"}
    if etags.is_known(tag, if_none_match):
        return Response(status_code=304, headers=named)
    made = drawing.files.get(tag)
    if made is None:
        made = await make()
        drawing.files.keep(tag, made, len(made))
    return Response(made, media_type=media_type, headers={**named, **headers})
