"""What is made of digits: numbers in one hand, and digits that turn into others."""

from functools import partial
from typing import Annotated, Any

import numpy as np
from fastapi import APIRouter, Path, Query, Response

from app.addresses import Address, answer
from app.dependencies import ServicesDep
from app.queries import NUMBER, MorphQuery, NumberQuery
from app.routes.digits import IfNoneMatch
from models.drawing import Series
from models.films import ENCODER, back_and_forth, encode_film
from models.images import encode_png, sheet
from models.morphs import Ends, morph
from models.numbers import set_number

router = APIRouter(tags=["digits"])

PICTURES = {"png": "image/png", "gif": "image/gif", "webp": "image/webp"}
UNCHANGED: dict[int | str, dict[str, Any]] = {304: {"description": "It has not changed."}}


@router.get(
    "/numbers/{number}",
    response_class=Response,
    responses={200: {"content": {"image/png": {}}, "description": "The number, white on black."}, **UNCHANGED},
)
async def numbers(
    services: ServicesDep,
    number: Annotated[str, Path(pattern=NUMBER, description="Up to 40 decimal digits.", examples=["31415"])],
    query: Annotated[NumberQuery, Query()],
    if_none_match: IfNoneMatch = None,
) -> Response:
    """Write a number in one hand: one latent for all of its digits, set side by side as their ink allows.

    Each digit's pixels are those of `/digits/{label}` at the same `seed` and `index`.
    """
    address = Address.of(await services.gallery.find(query.checkpoint), query, query.checkpoint)
    labels = [int(digit) for digit in number]

    def encode(digits: np.ndarray) -> bytes:
        return encode_png(set_number(digits[labels], query.scale, query.padding, query.invert))

    async def make() -> bytes:
        every = Series(None, 1, address.seed, address.index)  # all ten by one hand: whichever are needed
        return await services.drawing.batcher.draw(address.exhibit.generator, every, encode)

    return await answer(services.drawing, address, "image/png", f"number {number} {query.look}", if_none_match, make)


@router.get(
    "/morph/{first}/{last}",
    response_class=Response,
    responses={
        200: {"content": {media_type: {} for media_type in PICTURES.values()}, "description": "The way, as a film."},
        **UNCHANGED,
    },
)
async def morphs(
    services: ServicesDep,
    first: Annotated[int, Path(ge=0, le=9, description="The digit that it begins as.")],
    last: Annotated[int, Path(ge=0, le=9, description="The digit that it becomes.")],
    query: Annotated[MorphQuery, Query()],
    if_none_match: IfNoneMatch = None,
) -> Response:
    """Turn a digit into another: in one hand, or with `to_seed` from one hand to another.

    The ends are digits of `/digits/{label}` at the same addresses, to the last pixel.
    """
    address = Address.of(await services.gallery.find(query.checkpoint), query, query.checkpoint)
    to_seed = address.seed if query.to_seed is None else query.to_seed
    ends = Ends((first, last), (address.seed, to_seed), address.index)

    async def make() -> bytes:
        generator, stations = morph(address.exhibit.generator, ends, query.steps)
        digits = await services.drawing.batcher.draw(generator, stations, np.copy)
        return await services.drawing.studio.make(partial(film, digits, query))

    about = f"morph {ends} {query.steps} {query.format} {query.milliseconds} {query.look} {ENCODER}"
    return await answer(services.drawing, address, PICTURES[query.format], about, if_none_match, make)


def film(digits: np.ndarray, query: MorphQuery) -> bytes:
    """Show digits one after the other, there and back; or as PNG side by side."""
    if query.format == "png":
        return encode_png(sheet(digits, len(digits), query.scale, query.padding, query.invert))
    frames = [sheet(digit[None], 1, query.scale, query.padding, query.invert) for digit in digits]
    return encode_film(back_and_forth(np.stack(frames)), query.format, query.milliseconds)
