"""What is made of digits: numbers in one hand."""

from typing import Annotated, Any

import numpy as np
from fastapi import APIRouter, Path, Query, Response

from app.addresses import Address, answer
from app.dependencies import ServicesDep
from app.queries import NUMBER, NumberQuery
from app.routes.digits import IfNoneMatch
from models.drawing import Series
from models.images import encode_png
from models.numbers import set_number

router = APIRouter(tags=["digits"])

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
    address = Address.of(await services.gallery.find(query.checkpoint), query)
    labels = [int(digit) for digit in number]

    def encode(digits: np.ndarray) -> bytes:
        return encode_png(set_number(digits[labels], query.scale, query.padding, query.invert))

    async def make() -> bytes:
        every = Series(None, 1, address.seed, address.index)  # all ten by one hand: whichever are needed
        return await services.drawing.batcher.draw(address.exhibit.generator, every, encode)

    return await answer(services.drawing, address, "image/png", f"number {number} {query.look}", if_none_match, make)
