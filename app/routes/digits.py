"""Digits: drawn by the generator being served, or by any other."""

import hashlib
from functools import partial
from typing import Annotated, Any

import torch
from fastapi import APIRouter, Header, Path, Query, Response

from app.dependencies import Services, ServicesDep
from app.drawing import fresh_seed
from app.formats import MEDIA_TYPES, Format, negotiate, write
from app.gallery import Exhibit
from app.schemas import AllDigitsQuery, DigitsQuery, SheetQuery
from models.drawing import Series
from models.images import ENCODER

router = APIRouter(tags=["digits"])

DRAWING_VERSION = 2  # part of every ETag; goes up when the same address comes to mean other bytes
BUILD = f"{DRAWING_VERSION} {torch.__version__} {ENCODER}"

ANSWERS: dict[int | str, dict[str, Any]] = {
    200: {
        "content": {media_type: {} for media_type in MEDIA_TYPES.values()},
        "description": "One sheet of 28 x 28 pixel digits, row by row; or one file a digit; or their pixels.",
    },
    304: {"description": "The digits have not changed."},
}
IfNoneMatch = Annotated[str | None, Header(max_length=1000)]
Accept = Annotated[str, Header(max_length=1000)]


@router.get("/digits/{label}", response_class=Response, responses=ANSWERS)
async def digits(
    services: ServicesDep,
    label: Annotated[int, Path(ge=0, le=9, description="Which digit.")],
    query: Annotated[DigitsQuery, Query()],
    if_none_match: IfNoneMatch = None,
    accept: Accept = "*/*",
) -> Response:
    """Draw digits of one class.

    `X-Checkpoint`, `X-Seed` and `X-Index` tell how to have the very same ones again.
    """
    return await answer(services, label, query, if_none_match, accept)


@router.get("/digits", response_class=Response, responses=ANSWERS)
async def all_digits(
    services: ServicesDep,
    query: Annotated[AllDigitsQuery, Query()],
    if_none_match: IfNoneMatch = None,
    accept: Accept = "*/*",
) -> Response:
    """Draw digits of every class: each row shows one hand write all ten, as in the plots of a run.

    As a numpy array they are (n, 10, 28, 28).
    """
    return await answer(services, None, query, if_none_match, accept)


async def answer(
    services: Services, label: int | None, query: SheetQuery, if_none_match: str | None, accept: str
) -> Response:
    form = query.format or negotiate(accept)
    exhibit = await services.gallery.find(query.checkpoint)
    encode = partial(write, form, query)
    if query.seed is None and query.index == 0 and label is not None:
        series, file = await services.drawing.draw_any(exhibit, label, query.n, encode)
        return respond(file, exhibit, series, form, {"Cache-Control": "no-store"})

    series = Series(label, query.n, fresh_seed() if query.seed is None else query.seed, query.index)
    headers = {"Cache-Control": "no-store"}
    if query.seed is not None:
        fixed = query.checkpoint == exhibit.id
        headers = {
            "ETag": etag(exhibit, form, series, query),
            "Cache-Control": "public, max-age=31536000, immutable" if fixed else "no-cache",
        }
        if if_none_match and matches(if_none_match, headers["ETag"]):
            return Response(status_code=304, headers=headers)
    return respond(await services.drawing.draw(exhibit, series, encode), exhibit, series, form, headers)


def respond(file: bytes, exhibit: Exhibit, series: Series, form: Format, headers: dict[str, str]) -> Response:
    told = {"X-Checkpoint": exhibit.id, "X-Seed": str(series.seed), "X-Index": str(series.index), "Vary": "Accept"}
    return Response(file, media_type=MEDIA_TYPES[form], headers={**headers, **told})


def etag(exhibit: Exhibit, form: Format, series: Series, query: SheetQuery) -> str:
    """Name the answer before it is drawn, by all that decides its bytes."""
    look = "" if form == "npy" else f"{query.columns} {query.scale} {query.padding} {query.invert}"
    key = f"{BUILD} {exhibit.generator.device.type} {exhibit.checksum} {form} {series} {look}"
    return f'"{hashlib.sha256(key.encode()).hexdigest()[:32]}"'


def matches(if_none_match: str, tag: str) -> bool:
    known = {one.strip().removeprefix("W/") for one in if_none_match.split(",")}
    return bool(known & {tag, "*"})
