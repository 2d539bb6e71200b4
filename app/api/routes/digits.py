"""Routes that return digits, drawn by the generator being served or by any other checkpoint of digits."""

from functools import partial
from typing import Annotated

from fastapi import APIRouter, Header, Path, Query, Request, Response

from app.api.dependencies import ServicesDep
from app.api.drawing import Question, answer, answer_again, responses
from app.api.guarded_route import GuardedRoute
from app.middleware.route_cache import RouteCacheMiddleware
from app.problems.conditional import IfNoneMatch
from app.schemas.digits import AllDigitsQuery, DigitsQuery

Accept = Annotated[str, Header(max_length=1000)]

router = APIRouter(tags=["digits"], route_class=GuardedRoute)


@router.get("/digits/{label}", response_class=Response, responses=responses("Digits", "X-Refused"))
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
    question = Question.of(None, label, query, accept)
    RouteCacheMiddleware.keep(request, partial(answer_again, question))
    return await answer(services, question, if_none_match)


@router.get("/digits", response_class=Response, responses=responses("Digits"))
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
    question = Question.of(None, None, query, accept)
    RouteCacheMiddleware.keep(request, partial(answer_again, question))
    return await answer(services, question, if_none_match)
