"""Routes that return digits, drawn by the generator being served or by any other checkpoint, and explore them."""

from functools import partial
from typing import Annotated

from fastapi import APIRouter, Header, Path, Query, Request, Response

from app.api.dependencies import ServicesDep
from app.api.drawing import Question, answer, answer_again, responses
from app.api.exploration import answers as exploration
from app.api.guarded_route import GuardedRoute
from app.middleware.route_cache import RouteCacheMiddleware
from app.problems.conditional import IfNoneMatch
from app.schemas.digits import AllDigitsQuery, DigitsQuery
from app.schemas.exploration import NeighboursQuery, TraversalQuery

Accept = Annotated[str, Header(max_length=1000)]
Digit = Annotated[int, Path(ge=0, le=9, description="The digit.")]

router = APIRouter(tags=["digits"], route_class=GuardedRoute)


@router.get("/digits/{label}", response_class=Response, responses=responses("Digits", "X-Refused"))
async def draw_digits(
    request: Request,
    services: ServicesDep,
    label: Digit,
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


@router.get(
    "/digits/{label}/neighbours",
    response_class=Response,
    responses=exploration.responses("The digit, and the training images nearest to it.", "X-Neighbours"),
)
async def draw_digit_neighbours(
    services: ServicesDep,
    label: Digit,
    query: Annotated[NeighboursQuery, Query()],
    if_none_match: IfNoneMatch = None,
) -> Response:
    """Draw a digit, and show the training images of its checkpoint that are nearest to it, nearest first.

    The distance is Euclidean: the root of the sum of the squared differences of all 784 pixels, which are 0 to 255. It
    is that of `nearest_distance` and `copies` of evaluations. `X-Neighbours` has the label, the index and the distance
    of each image. All classes are searched. 404 if the training images are not on the machine of the service.
    """
    return await exploration.answer_neighbours(services, exploration.Subject(None, label), query, if_none_match)


@router.get(
    "/digits/{label}/traversal",
    response_class=Response,
    responses=exploration.responses("A grid of digits.", "X-Points"),
)
async def draw_digit_traversal(
    services: ServicesDep,
    label: Digit,
    query: Annotated[TraversalQuery, Query()],
    if_none_match: IfNoneMatch = None,
) -> Response:
    """Draw digits at points around an address: a traversal of latents, along two directions orthogonal to its latent.

    `X-Points` has the coordinates of each digit, row by row. With `rows=1`, `columns=1` and these as `x` and `y`, the
    response is this digit alone, with the same pixels. At 0:0 it is the digit of `/digits/{label}`.
    """
    return await exploration.answer_traversal(services, exploration.Subject(None, label), query, if_none_match)
