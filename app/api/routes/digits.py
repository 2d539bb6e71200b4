"""Routes that return digits, drawn by the generator being served or by any other checkpoint."""

from functools import partial
from typing import Annotated, Any, NamedTuple

import anyio.to_thread
from fastapi import APIRouter, Header, Path, Query, Request, Response

from app import metrics
from app.api.content import MEDIA_TYPES, negotiate
from app.api.dependencies import Services, ServicesDep, services
from app.api.guarded_route import GuardedRoute
from app.api.openapi.headers import ADDRESS, sends
from app.api.sample_addresses import Address, answer_address
from app.inference.service import InferenceService
from app.middleware.route_cache import RouteCacheMiddleware
from app.problems import conditional
from app.problems.conditional import IfNoneMatch
from app.schemas.digits import AllDigitsQuery, DigitsQuery, SheetQuery
from models.sampling.formats import FORMATS, Look
from models.sampling.sampler import SampleRange, Samples


def responses(*headers: str) -> dict[int | str, dict[str, Any]]:
    return {
        200: {
            "content": {media_type: {} for media_type in MEDIA_TYPES},
            "description": "Digits of 28 x 28 pixels, in the format that `format` or `Accept` selects.",
            **sends(*ADDRESS, "Vary", *headers),
        },
        304: {"description": "The digits have not changed."},
    }


Accept = Annotated[str, Header(max_length=1000)]


class Question(NamedTuple):
    """A validated request."""

    label: int | None
    query: SheetQuery
    form: str
    look: Look

    @classmethod
    def of(cls, label: int | None, query: SheetQuery, accept: str) -> "Question":
        """Raises NotAcceptable."""
        return cls(label, query, query.format or negotiate(accept), query.look)


router = APIRouter(tags=["digits"], route_class=GuardedRoute)


@router.get("/digits/{label}", response_class=Response, responses=responses("X-Refused"))
async def draw_digits(
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
    question = Question.of(label, query, accept)
    RouteCacheMiddleware.keep(request, partial(answer_again, question))
    return await answer(services, question, if_none_match)


@router.get("/digits", response_class=Response, responses=responses())
async def draw_all_digits(
    request: Request,
    services: ServicesDep,
    query: Annotated[AllDigitsQuery, Query()],
    if_none_match: IfNoneMatch = None,
    accept: Accept = "*/*",
) -> Response:
    """Draw digits of every class. Each row shows the ten classes with one latent vector, as in the plots of a run.

    The shape of the numpy array is (n, 10, 28, 28).
    """
    question = Question.of(None, query, accept)
    RouteCacheMiddleware.keep(request, partial(answer_again, question))
    return await answer(services, question, if_none_match)


async def answer_again(question: Question, request: Request) -> Response:
    return await answer(await services(request), question, request.headers.get("if-none-match"))


async def answer(services: Services, question: Question, if_none_match: str | None) -> Response:
    label, query, form, look = question
    inference = services.inference
    model = await inference.models.find(query.checkpoint)

    def encode(samples: Samples) -> bytes:
        return FORMATS[form].encode(samples, look)

    verify = query.verify if isinstance(query, DigitsQuery) else None
    if verify is None and query.seed is None and query.index == 0 and label is not None:
        series, file = await inference.draw_any(model, label, query.n, encode)
        address = Address(model, series.seed, series.index, named=False, fixed=False)
        return count(form, Response(file, headers=address.validators("") | headers_of(form, address)))
    address = Address.of(model, query, query.checkpoint)
    if verify is not None:
        return await answer_verified(inference, question, address, verify, if_none_match)
    series = SampleRange(label, query.n, address.seed, query.index)

    async def make() -> bytes:
        return await inference.draw(model, series, encode)

    validators = address.validators(describe(question, series))
    found = await answer_address(inference, validators, if_none_match, make, headers_of(form, address))
    return count(form, found)


async def answer_verified(
    inference: InferenceService, question: Question, address: Address, least: float, if_none_match: str | None
) -> Response:
    """Return digits that pass the judge; `X-Refused` is the number of rejected ones."""
    label, query, form, look = question
    series = SampleRange(label, query.n, address.seed, query.index)
    verifier = await inference.find_verifier(address.model)
    validators = address.validators(f"{describe(question, series)} verify {least} {verifier.checksum}")
    if unchanged := conditional.not_modified(validators, if_none_match):
        return unchanged
    verified = await inference.draw_verified(address.model, verifier, series, least)
    samples = Samples(series, verified.digits, verified.indices)
    file = await anyio.to_thread.run_sync(FORMATS[form].encode, samples, look)
    about = {"X-Index": str(verified.indices[0]), "X-Refused": str(verified.refused)}
    return count(form, Response(file, headers=validators | headers_of(form, address) | about))


def describe(question: Question, series: SampleRange) -> str:
    """Return all that determines the bytes of a response apart from the generator."""
    _, _, form, (columns, scale, padding, invert) = question
    look = f"{columns} {scale} {padding} {invert}" if FORMATS[form].has_look else ""
    return f"{form} {series} {look}"


def headers_of(form: str, address: Address) -> dict[str, str]:
    return {**address.headers, "Content-Type": FORMATS[form].media_type, "Vary": "Accept"}


def count(form: str, response: Response) -> Response:
    if response.body:  # there is none if the client has the digits
        metrics.DRAWING_BYTES[form].inc(len(response.body))
    return response
