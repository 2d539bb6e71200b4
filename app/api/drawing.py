"""Answers requests for images of one class or of all classes, for the routes of digits and of other images."""

from functools import partial
from typing import Any, NamedTuple
from urllib.parse import quote

from fastapi import Request, Response
from fastapi.exceptions import RequestValidationError

from app import metrics
from app.api.content import MEDIA_TYPES, negotiate
from app.api.dependencies import Services, services
from app.api.openapi.headers import ADDRESS, sends
from app.api.sample_addresses import Address, answer_address
from app.inference.service import InferenceService, LoadedModel
from app.problems import conditional
from app.schemas.digits import DigitsQuery, SheetQuery
from models.data.class_names import label_of
from models.sampling.formats import FORMATS, Look
from models.sampling.sampler import SampleRange, Samples

MOST_IMAGES = 1000  # in a response


def responses(what: str, *headers: str) -> dict[int | str, dict[str, Any]]:
    return {
        200: {
            "content": {media_type: {} for media_type in MEDIA_TYPES},
            "description": f"{what} of 28 x 28 pixels, in the format that `format` or `Accept` selects.",
            **sends(*ADDRESS, "Vary", *headers),
        },
        304: {"description": f"The {what.lower()} have not changed.", **sends("Vary")},
    }


class Question(NamedTuple):
    """A validated request. Without a data set, digits are drawn; without a label, all classes."""

    dataset: str | None
    label: str | int | None  # the name of a class, or its label
    query: SheetQuery
    form: str
    look: Look

    @classmethod
    def of(cls, dataset: str | None, label: str | int | None, query: SheetQuery, accept: str) -> "Question":
        """Raises NotAcceptable."""
        return cls(dataset, label, query, query.format or negotiate(accept), query.look)

    async def find(self, inference: InferenceService) -> LoadedModel:
        """Return the generator that draws. Raises NotDigits, ClassNotFound, and the errors of finding a generator."""
        if self.dataset is None:
            return await inference.models.find_digits(self.query.checkpoint)
        return await inference.datasets.find(self.dataset, self.query.checkpoint)


class Drawing(NamedTuple):
    """A request and the generator that was found for it."""

    model: LoadedModel
    label: int | None
    question: Question

    @classmethod
    def of(cls, model: LoadedModel, question: Question) -> "Drawing":
        """Raises ClassNotFound, and RequestValidationError if there would be too many images."""
        classes, label = model.manifest.class_names, question.label
        if label is None and question.query.n * len(classes) > MOST_IMAGES:
            most = MOST_IMAGES // len(classes)
            message = f"should be at most {most} for {len(classes)} classes, not {question.query.n}"
            raise RequestValidationError([{"type": "value_error", "loc": ("query", "n"), "msg": message}])
        return cls(model, label_of(label, classes) if isinstance(label, str) else label, question)

    def series(self, seed: int) -> SampleRange:
        query = self.question.query
        return SampleRange(self.label, query.n, seed, query.index, len(self.model.manifest.class_names))

    def encode(self, samples: Samples) -> bytes:
        look = self.question.look
        if self.label is None and look.columns is None:
            look = look._replace(columns=samples.series.classes)  # each row has all classes
        return FORMATS[self.question.form].encode(samples, look)

    def headers(self, address: Address) -> dict[str, str]:
        """Return the headers that identify the images, and those of their file."""
        named = {"Content-Type": FORMATS[self.question.form].media_type}
        if self.question.dataset is not None and self.label is not None:
            named["X-Class"] = quote(self.model.manifest.class_names[self.label], safe="")
        return {**address.headers, **named}

    def validators(self, address: Address, about: str) -> dict[str, str]:
        """Return what a 304 has too. `Vary` is among it, because `Accept` selects the format of either response."""
        return {**address.validators(about), "Vary": "Accept"}

    def describe(self, series: SampleRange) -> str:
        """Return all that determines the bytes of a response apart from the generator."""
        columns, scale, padding, invert = self.question.look
        form = self.question.form
        look = f"{columns} {scale} {padding} {invert}" if FORMATS[form].has_look else ""
        return f"{form} {series} {look}"


async def answer_again(question: Question, request: Request) -> Response:
    """Answer a request that was validated before."""
    return await answer(await services(request), question, request.headers.get("if-none-match"))


async def answer(services: Services, question: Question, if_none_match: str | None) -> Response:
    inference, query = services.inference, question.query
    model = await question.find(inference)
    drawing = Drawing.of(model, question)
    verify = query.verify if isinstance(query, DigitsQuery) else None
    if verify is None and query.seed is None and query.index == 0 and drawing.label is not None:
        work = FORMATS[question.form].work(query.n, question.look)
        series, file = await inference.draw_any(model, drawing.label, query.n, drawing.encode, work)
        address = Address(model, series.seed, series.index, named=False, fixed=False)
        return count(question.form, Response(file, headers=drawing.validators(address, "") | drawing.headers(address)))
    address = Address.of(model, query, query.checkpoint)
    series = drawing.series(address.seed)
    if verify is not None:
        return await answer_verified(inference, drawing, address, series, verify, if_none_match)

    async def make() -> bytes:
        return await inference.draw(model, series, drawing.encode)

    validators = drawing.validators(address, drawing.describe(series))
    found = await answer_address(inference, validators, if_none_match, make, drawing.headers(address))
    return count(question.form, found)


async def answer_verified(
    inference: InferenceService,
    drawing: Drawing,
    address: Address,
    series: SampleRange,
    least: float,
    if_none_match: str | None,
) -> Response:
    """Return images that pass the judge; `X-Refused` is the number of rejected ones."""
    verifier = await inference.find_verifier(address.model)
    validators = drawing.validators(address, f"{drawing.describe(series)} verify {least} {verifier.checksum}")
    if unchanged := conditional.not_modified(validators, if_none_match):
        return unchanged
    verified = await inference.draw_verified(address.model, verifier, series, least)
    samples = Samples(series, verified.digits, verified.indices)
    work = FORMATS[drawing.question.form].work(len(verified.indices), drawing.question.look)
    file = await inference.encode(partial(drawing.encode, samples), work)
    about = {"X-Index": str(verified.indices[0]), "X-Refused": str(verified.refused)}
    return count(drawing.question.form, Response(file, headers=validators | drawing.headers(address) | about))


def count(form: str, response: Response) -> Response:
    if response.body:  # there is none if the client has the images
        metrics.DRAWING_BYTES[form].inc(len(response.body))
    return response
