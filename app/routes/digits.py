"""Digits: drawn by the newest generator, or by any other."""

import hashlib
import secrets
from typing import Annotated

import torch
from fastapi import APIRouter, Header, Path, Query, Response

from app.dependencies import ServicesDep
from app.gallery import Exhibit
from app.schemas import DigitsQuery

router = APIRouter(tags=["digits"])

DRAWING_VERSION = 1  # part of every ETag; goes up when the same address comes to mean other pixels


@router.get(
    "/digits/{label}",
    response_class=Response,
    responses={
        200: {"content": {"image/png": {}}, "description": "One sheet of 28 x 28 pixel digits, row by row."},
        304: {"description": "The digits have not changed."},
    },
)
async def digits(
    services: ServicesDep,
    label: Annotated[int, Path(ge=0, le=9, description="Which digit.")],
    query: Annotated[DigitsQuery, Query()],
    if_none_match: Annotated[str | None, Header()] = None,
) -> Response:
    """Draw digits.

    `X-Checkpoint`, `X-Seed` and `X-Index` tell how to have the very same ones again.
    """
    exhibit = await services.gallery.find(query.checkpoint)
    seed = secrets.randbits(53) if query.seed is None else query.seed
    headers = {"X-Checkpoint": exhibit.id, "X-Seed": str(seed), "X-Index": str(query.index)}
    if query.seed is None:
        headers["Cache-Control"] = "no-store"
    else:
        headers["ETag"] = etag(exhibit, label, query)
        fixed = query.checkpoint == exhibit.id
        headers["Cache-Control"] = "public, max-age=31536000, immutable" if fixed else "no-cache"
        if if_none_match and headers["ETag"] in if_none_match:
            return Response(status_code=304, headers=headers)
    png = await services.gallery.draw(exhibit, label, seed, query)
    return Response(png, media_type="image/png", headers=headers)


def etag(exhibit: Exhibit, label: int, query: DigitsQuery) -> str:
    """Name the answer before it is drawn, by all that decides its bytes."""
    shown = query.model_dump_json(exclude={"checkpoint"})
    build = f"{DRAWING_VERSION} {torch.__version__} {exhibit.generator.dense.weight.device.type}"
    key = f"{build} {exhibit.checksum} {label} {shown}"
    return f'"{hashlib.sha256(key.encode()).hexdigest()[:32]}"'
