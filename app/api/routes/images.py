"""Routes that return images of any training data, drawn by any checkpoint of it, and explore them."""

from functools import partial
from typing import Annotated

from fastapi import APIRouter, Path, Query, Request, Response

from app.api.dependencies import ServicesDep
from app.api.drawing import Question, answer, answer_again, responses
from app.api.exploration import answers as exploration
from app.api.guarded_route import GuardedRoute
from app.api.routes.digits import Accept
from app.api.routes.training_data import DatasetInPath
from app.middleware.route_cache import RouteCacheMiddleware
from app.problems.conditional import IfNoneMatch
from app.schemas.digits import AllImagesQuery, ImagesQuery
from app.schemas.exploration import NeighboursQuery, TraversalQuery

router = APIRouter(tags=["images"], route_class=GuardedRoute)

LabelInPath = Annotated[
    str,
    Path(
        max_length=300,
        description="The name of a class, or its label, which counts from 0. A name comes first: of the classes `3` "
        "and `8`, `8` is the second. Upper and lower case count only if two names differ in nothing else.",
        examples=["sneaker"],
    ),
]


@router.get("/images/{dataset}/{label}", response_class=Response, responses=responses("Images", "X-Class", "X-Refused"))
async def draw_images(
    request: Request,
    services: ServicesDep,
    dataset: DatasetInPath,
    label: LabelInPath,
    query: Annotated[ImagesQuery, Query()],
    if_none_match: IfNoneMatch = None,
    accept: Accept = "*/*",
) -> Response:
    """Draw images of one class of any training data that has a checkpoint.

    Without `checkpoint`, the newest checkpoint of the data set draws; of the data set that `PUT /serving` names, the
    one being served: then `/images/mnist/7` has the same pixels as `/digits/7`. `X-Class` is the name of the class, in
    percent-encoding. `X-Checkpoint`, `X-Seed` and `X-Index` identify the images: a request with these values returns
    the same ones. With `verify`, `X-Refused` is the number of rejected images.
    """
    question = Question.of(dataset, label, query, accept)
    RouteCacheMiddleware.keep(request, partial(answer_again, question))
    return await answer(services, question, if_none_match)


@router.get("/images/{dataset}", response_class=Response, responses=responses("Images"))
async def draw_all_images(
    request: Request,
    services: ServicesDep,
    dataset: DatasetInPath,
    query: Annotated[AllImagesQuery, Query()],
    if_none_match: IfNoneMatch = None,
    accept: Accept = "*/*",
) -> Response:
    """Draw images of every class of any training data. Each row shows all classes with one latent vector.

    The shape of the numpy array is (n, number of classes, 28, 28). At most 1000 images are drawn.
    """
    question = Question.of(dataset, None, query, accept)
    RouteCacheMiddleware.keep(request, partial(answer_again, question))
    return await answer(services, question, if_none_match)


@router.get(
    "/images/{dataset}/{label}/neighbours",
    response_class=Response,
    responses=exploration.responses("The image, and the training images nearest to it.", "X-Class", "X-Neighbours"),
)
async def draw_image_neighbours(
    services: ServicesDep,
    dataset: DatasetInPath,
    label: LabelInPath,
    query: Annotated[NeighboursQuery, Query()],
    if_none_match: IfNoneMatch = None,
) -> Response:
    """Draw an image of any training data, and show the images nearest to it, as for `/digits/{label}/neighbours`."""
    return await exploration.answer_neighbours(services, exploration.Subject(dataset, label), query, if_none_match)


@router.get(
    "/images/{dataset}/{label}/traversal",
    response_class=Response,
    responses=exploration.responses("A grid of images.", "X-Class", "X-Points"),
)
async def draw_image_traversal(
    services: ServicesDep,
    dataset: DatasetInPath,
    label: LabelInPath,
    query: Annotated[TraversalQuery, Query()],
    if_none_match: IfNoneMatch = None,
) -> Response:
    """Draw images of any training data at points around an address, as for `/digits/{label}/traversal`."""
    return await exploration.answer_traversal(services, exploration.Subject(dataset, label), query, if_none_match)
