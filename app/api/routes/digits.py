"""Routes that return digits, drawn by the generator being served or by any other checkpoint."""

from functools import partial
from typing import Annotated, Any, NamedTuple

import anyio.to_thread
from fastapi import APIRouter, Header, Path, Query, Request, Response

from app import metrics
from app.api.content import MEDIA_TYPES, Format, negotiate, write
from app.api.dependencies import Services, ServicesDep, services
from app.api.guarded_route import GuardedRoute
from app.api.sample_addresses import FOR_EVER, name_of
from app.inference.model_manager import LoadedModel
from app.inference.verified import draw_verified, verifier_of
from app.middleware.route_cache import RouteCacheMiddleware
from app.problems import conditional
from app.schemas.jobs import AllDigitsQuery, DigitsQuery, SheetQuery
from models.sampling.sampler import SampleRange, fresh_seed

ANSWERS: dict[int | str, dict[str, Any]] = {
    200: {
        "content": {media_type: {} for media_type in MEDIA_TYPES.values()},
        "description": "A sheet of 28 x 28 pixel digits, row by row; an archive of one file per digit; or an array.",
    },
    304: {"description": "The digits have not changed."},
}
IfNoneMatch = Annotated[str | None, Header(max_length=1000)]
Accept = Annotated[str, Header(max_length=1000)]


class Question(NamedTuple):
    """A validated request."""

    label: int | None
    query: SheetQuery
    form: Format


router = APIRouter(tags=["digits"], route_class=GuardedRoute)


@router.get("/digits/{label}", response_class=Response, responses=ANSWERS)
async def digits(
    request: Request,
    services: ServicesDep,
    label: Annotated[int, Path(ge=0, le=9, description="The digit.")],
    query: Annotated[DigitsQuery, Query()],
    if_none_match: IfNoneMatch = None,
    accept: Accept = "*/*",
) -> Response:
    """Draw digits of one class.

    The headers `X-Checkpoint`, `X-Seed` and `X-Index` identify the digits: a request with these values returns the
    same ones. With `verify`, `X-Refused` is the number of rejected digits.
    """
    question = Question(label, query, query.format or negotiate(accept))
    RouteCacheMiddleware.keep(request, partial(answer_again, question))
    return await answer(services, question, if_none_match)


@router.get("/digits", response_class=Response, responses=ANSWERS)
async def all_digits(
    request: Request,
    services: ServicesDep,
    query: Annotated[AllDigitsQuery, Query()],
    if_none_match: IfNoneMatch = None,
    accept: Accept = "*/*",
) -> Response:
    """Draw digits of every class. Each row shows the ten classes with one latent vector, as in the plots of a run.

    The shape of the numpy array is (n, 10, 28, 28).
    """
    question = Question(None, query, query.format or negotiate(accept))
    RouteCacheMiddleware.keep(request, partial(answer_again, question))
    return await answer(services, question, if_none_match)


async def answer_again(question: Question, request: Request) -> Response:
    return await answer(await services(request), question, request.headers.get("if-none-match"))


async def answer(services: Services, question: Question, if_none_match: str | None) -> Response:
    label, query, form = question
    exhibit = await services.model_manager.find(query.checkpoint)
    if isinstance(query, DigitsQuery) and query.verify is not None:
        return await answer_verified(services, exhibit, question, query.verify, if_none_match)
    encode = partial(write, form, query)
    if query.seed is None and query.index == 0 and label is not None:
        series, file = await services.drawing.draw_any(exhibit, label, query.n, encode)
        return respond(file, exhibit, series, form, {"Cache-Control": "no-store"})
    if query.seed is None:
        series = SampleRange(label, query.n, fresh_seed(), query.index)
        file = await services.drawing.draw(exhibit, series, encode)
        return respond(file, exhibit, series, form, {"Cache-Control": "no-store"})

    series = SampleRange(label, query.n, query.seed, query.index)
    tag = etag(exhibit, form, series, query)
    fixed = query.checkpoint == exhibit.id
    headers = {"ETag": tag, "Cache-Control": FOR_EVER if fixed else "no-cache"}
    if conditional.is_known(tag, if_none_match):
        return Response(status_code=304, headers=headers)
    drawn = services.drawing.files.get(tag)
    if drawn is None:
        drawn = await services.drawing.draw(exhibit, series, encode)
        services.drawing.files.keep(tag, drawn, len(drawn))
    return respond(drawn, exhibit, series, form, headers)


async def answer_verified(
    services: Services, exhibit: LoadedModel, question: Question, least: float, if_none_match: str | None
) -> Response:
    """Return digits that pass the judge; `X-Refused` is the number of rejected ones."""
    label, query, form = question
    verifier = await verifier_of(exhibit)
    series = SampleRange(label, query.n, fresh_seed() if query.seed is None else query.seed, query.index)
    headers = {"Cache-Control": "no-store"}
    if query.seed is not None:
        tag = etag(exhibit, form, series, query, f" verify {least} {verifier.checksum}")
        headers = {"ETag": tag, "Cache-Control": FOR_EVER if query.checkpoint == exhibit.id else "no-cache"}
        if conditional.is_known(tag, if_none_match):
            return Response(status_code=304, headers=headers)
    found = await draw_verified(services.drawing.batcher, exhibit, verifier, series, least)
    encode = partial(write, form, query, series, found.digits, found.indices)
    file = await anyio.to_thread.run_sync(encode)
    first = SampleRange(label, query.n, series.seed, found.indices[0])
    return respond(file, exhibit, first, form, {**headers, "X-Refused": str(found.refused)})


def respond(file: bytes, exhibit: LoadedModel, series: SampleRange, form: Format, headers: dict[str, str]) -> Response:
    metrics.DRAWING_BYTES[form].inc(len(file))
    address = {"X-Checkpoint": exhibit.id, "X-Seed": str(series.seed), "X-Index": str(series.index), "Vary": "Accept"}
    return Response(file, media_type=MEDIA_TYPES[form], headers={**headers, **address})


def etag(exhibit: LoadedModel, form: Format, series: SampleRange, query: SheetQuery, more: str = "") -> str:
    """Return the ETag of a response before it is drawn, from everything that determines its bytes."""
    look = "" if form == "npy" else f"{query.columns} {query.scale} {query.padding} {query.invert}"
    key = f"{name_of(exhibit)} {form} {series} {look}{more}"
    return conditional.name(key.encode())
