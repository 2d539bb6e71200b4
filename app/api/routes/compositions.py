"""Routes that return pictures made of digits: numbers, morphs and evolutions."""

from collections.abc import Iterable, Sequence
from functools import partial
from typing import Annotated, Any

import numpy as np
from fastapi import APIRouter, Path, Query, Response
from fastapi.exceptions import RequestValidationError

from app.api.dependencies import JobId, ServicesDep
from app.api.guarded_route import GuardedRoute
from app.api.openapi.headers import ADDRESS, sends
from app.api.sample_addresses import BUILD, Address, answer_address
from app.inference.service import InferenceService
from app.problems import conditional
from app.problems.conditional import IfNoneMatch
from app.schemas.compositions import NUMBER, EvolutionQuery, FilmQuery, MorphQuery, NumberQuery
from models.data.class_names import ClassNotFound, label_of
from models.sampling.animation import ANIMATIONS, back_and_forth, encode_film
from models.sampling.formats import FORMATS, Look, encode_npy
from models.sampling.grid import sheet
from models.sampling.interpolation import Ends, morph
from models.sampling.number_layout import set_number
from models.sampling.png import encode_png
from models.sampling.sampler import SampleList, fresh_seed

router = APIRouter(tags=["digits"], route_class=GuardedRoute)

PICTURES = {"png": "image/png"} | {name: animation.media_type for name, animation in ANIMATIONS.items()}
LAYOUT = 8  # the work of placing the digits of a number and of encoding them, as a multiple of encoding them
NUMBERS = {name: FORMATS[name].media_type for name in ("png", "npy")}


def responses(
    description: str, media_types: Iterable[str], headers: Iterable[str] = ADDRESS
) -> dict[int | str, dict[str, Any]]:
    content: dict[str, dict[str, Any]] = {media_type: {} for media_type in media_types}
    return {
        200: {"content": content, "description": description, **sends(*headers)},
        304: {"description": "Not modified."},
    }


@router.get(
    "/numbers/{number}",
    response_class=Response,
    responses=responses("The number, white on black, or its digits.", NUMBERS.values(), [*ADDRESS, "X-Digits"]),
)
async def draw_number(
    services: ServicesDep,
    number: Annotated[str, Path(pattern=NUMBER, description="Up to 40 decimal digits.", examples=["31415"])],
    query: Annotated[NumberQuery, Query()],
    if_none_match: IfNoneMatch = None,
) -> Response:
    """Draw a number in one style of writing, which `seed` and `index` choose. The spacing follows the digits' shapes.

    `X-Digits` has the address of each digit, in their order: `seed:index`, separated by commas. `/digits/{label}` draws
    the same pixels with this seed, this index and `X-Checkpoint`. `X-Seed` and `X-Index` are those of the style.

    The styles of a generator's digits are measured when the first number needs them, once per process. Requests wait
    for that; after 20 seconds the response is 503.
    """
    inference = services.inference
    address = Address.of(await inference.models.find_digits(query.checkpoint), query, query.checkpoint)
    labels = [int(digit) for digit in number]
    validators = address.validators(await describe_number(inference, address, number, query))
    if unchanged := conditional.not_modified(validators, if_none_match):
        return unchanged

    def encode(digits: np.ndarray) -> bytes:
        if query.format == "npy":
            return encode_npy(digits)
        return encode_png(set_number(digits, query.scale, query.padding, query.invert))

    if query.style == "hand":
        addresses, digits = await inference.choose_digits(address.model, labels, address.seed, address.index)
        work = LAYOUT * FORMATS["png"].work(len(digits), Look(scale=query.scale, padding=query.padding))
        make = partial(inference.encode, partial(encode, digits), work)
    else:
        addresses = SampleList(labels, address.seed, [address.index] * len(labels))
        distinct, positions = addresses.distinct()
        make = partial(inference.draw_batch, address.model.generator, distinct, lambda drawn: encode(drawn[positions]))
    headers = {**address.headers, "X-Digits": addresses.names, "Content-Type": NUMBERS[query.format]}
    return await answer_address(inference, validators, if_none_match, make, headers)


async def describe_number(inference: InferenceService, address: Address, number: str, query: NumberQuery) -> str:
    """Return all that determines the bytes of a number apart from the generator."""
    look = query.look if query.format == "png" else query.format
    about = f"{address.seed} {address.index} number {number} {look}"
    return about if query.style == "latent" else f"{about} hand {await inference.style_version(address.model)}"


@router.get(
    "/morph/{first}/{last}",
    response_class=Response,
    responses=responses("Animation or strip.", PICTURES.values()),
)
async def draw_morph(
    services: ServicesDep,
    first: Annotated[int, Path(ge=0, le=9, description="The first digit.")],
    last: Annotated[int, Path(ge=0, le=9, description="The last digit.")],
    query: Annotated[MorphQuery, Query()],
    if_none_match: IfNoneMatch = None,
) -> Response:
    """Morph a digit into another, with the latent vector of one seed or, with `to_seed`, between those of two seeds.

    The first and the last digit have the same pixels as those of `/digits/{label}` with the same seed and index.
    """
    address = Address.of(await services.inference.models.find_digits(query.checkpoint), query, query.checkpoint)
    to_seed = address.seed if query.to_seed is None else query.to_seed
    ends = Ends((first, last), (address.seed, to_seed), address.index)

    async def make() -> bytes:
        generator, stations = morph(address.model.generator, ends, query.steps)
        digits = await services.inference.draw_batch(generator, stations, np.copy)
        return await services.inference.render(partial(show_morph, digits, query))

    about = f"{address.seed} {address.index} morph {ends} {query.steps} {query.film} {query.look}"
    headers = {**address.headers, "Content-Type": PICTURES[query.format]}
    return await answer_address(services.inference, address.validators(about), if_none_match, make, headers)


def show_morph(digits: np.ndarray, query: MorphQuery) -> bytes:
    """Encode a morph: an animation to the last digit and back, or, as PNG, a strip from the first digit to the last."""
    if query.format == "png":
        return encode_png(sheet(digits, len(digits), query.scale, query.padding, query.invert))
    return encode_film(back_and_forth(frames(digits, query)), query.format, query.milliseconds)


def frames(digits: np.ndarray, query: FilmQuery) -> np.ndarray:
    return np.stack([sheet(digit[None], 1, query.scale, query.padding, query.invert) for digit in digits])


@router.get(
    "/jobs/{job_id}/evolution/{label}",
    response_class=Response,
    responses=responses("One image per epoch.", PICTURES.values(), ["X-Epochs", "X-Seed", "X-Index"]),
)
async def draw_evolution(
    services: ServicesDep,
    job_id: JobId,
    label: Annotated[
        str, Path(max_length=300, description="The name of a class of the run, or its label.", examples=["7"])
    ],
    query: Annotated[EvolutionQuery, Query()],
    if_none_match: IfNoneMatch = None,
) -> Response:
    """Draw one image with the checkpoint of every epoch of a run, in order. It shows how it changed in training.

    `X-Epochs` lists the epochs. They include refused epochs, which are not served otherwise. If an epoch's weights are
    not finite, its image is black.
    """
    epochs = await services.inference.epochs(job_id, query.epochs)
    drawn = find_label(label, epochs[0].class_names)
    seed = fresh_seed() if query.seed is None else query.seed

    async def make() -> bytes:
        digits = await services.inference.draw_epochs(epochs, drawn, seed, query.index)
        return await services.inference.render(partial(show_evolution, digits, query))

    drawn_by = [epoch.files[epoch.draws].sha256 for epoch in epochs if epoch.draws in epoch.files]
    about = (
        f"{services.inference.models.device.type} {drawn_by} {drawn} {seed} {query.index} {query.columns} {query.film}"
    )
    headers = {
        "X-Epochs": ",".join(str(epoch.epoch) for epoch in epochs),
        "X-Seed": str(seed),
        "X-Index": str(query.index),
        "Content-Type": PICTURES[query.format],
    }
    key = None if query.seed is None else f"evolution {BUILD} {about} {query.look}".encode()
    return await answer_address(services.inference, conditional.validators(key), if_none_match, make, headers)


def find_label(text: str, classes: Sequence[str]) -> int:
    """Return the label of a class of a run. Raises RequestValidationError."""
    try:
        return label_of(text, classes)
    except ClassNotFound as error:
        mistake = {"type": "value_error", "loc": ("path", "label"), "msg": str(error)}
        raise RequestValidationError([mistake]) from None


def show_evolution(digits: np.ndarray, query: EvolutionQuery) -> bytes:
    """Encode an evolution: an animation that shows the last epoch longer, or as PNG a sheet, row by row."""
    if query.format == "png":
        return encode_png(sheet(digits, query.columns, query.scale, query.padding, query.invert))
    return encode_film(frames(digits, query), query.format, query.milliseconds, last_milliseconds=1000)
