"""The body of every error: a problem of RFC 9457 with a sentence that says what to do."""

from collections.abc import Iterable, Mapping
from http import HTTPStatus
from typing import Any, Self

from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field
from pydantic.config import JsonDict, JsonValue

from app.problems.codes import PREFIX, PROBLEMS
from models.errors import AcganError, Unavailable

Data = Mapping[str, object] | None  # the values that a hint names

STOPS = (".", "?", "!")
RETRY_AFTER = {429: "60", 503: "5"}  # seconds


def schema_of_types(codes: Iterable[str]) -> JsonDict:
    """Return the schema of the `type` of problems with these codes. Generators of clients read `x-enum-varnames`."""
    known = list(codes)
    names: list[JsonValue] = [code.upper().replace("-", "_") for code in known]
    return {"enum": [PREFIX + code for code in known], "x-enum-varnames": names}


class Mistake(BaseModel):
    """One error in a request."""

    field: str = Field(description="The field or parameter, as in `body.epochs` or `query.n`.")
    message: str


class Problem(BaseModel):
    """The body of every error response (RFC 9457)."""

    type: str = Field(
        description="The address of a description of this kind of error. It ends with the code of the error.",
        json_schema_extra=schema_of_types(PROBLEMS),
    )
    title: str = Field(examples=["Not Found"])
    status: int = Field(examples=[404])
    detail: str = Field(description="What went wrong and what to do about it.")
    hint: str | None = Field(None, description="The end of `detail` that names requests of this API, if it does.")
    errors: list[Mistake] | None = Field(None, description="The errors in the fields and parameters of the request.")

    @classmethod
    def of(cls, code: str, message: str, mistakes: list[Mistake] | None = None, data: Data = None) -> Self:
        """Describe an error of a kind in PROBLEMS. `data` are the values that its hint names."""
        status, _, hint = PROBLEMS[code]
        detail, end = full_stop(message) if mistakes else sentence(message), None  # a field's name stays as it is
        if hint:
            detail, end = join(message, hint.format(**(data or {})))
        title = HTTPStatus(status).phrase
        return cls(type=PREFIX + code, title=title, status=status, detail=detail, hint=end, errors=mistakes)


class ProblemDescription(BaseModel):
    """The description of a kind of error, at the address that is the `type` of its problems."""

    code: str
    title: str
    status: int
    description: str

    @classmethod
    def of(cls, code: str) -> Self:
        """Raises KeyError for an unknown code."""
        status, meaning, _ = PROBLEMS[code]
        return cls(code=code, title=HTTPStatus(status).phrase, status=status, description=meaning)


class ProblemResponse(JSONResponse):
    """A problem that ends with a newline, like all other JSON responses (app/middleware/json_newline.py)."""

    media_type = "application/problem+json"

    def render(self, content: Any) -> bytes:
        return super().render(content) + b"\n"


def answer(
    code: str,
    message: str,
    mistakes: list[Mistake] | None = None,
    headers: dict[str, str] | None = None,
    data: Data = None,
) -> JSONResponse:
    body = Problem.of(code, message, mistakes, data)
    headers = dict(headers or {})
    if body.status in RETRY_AFTER:
        headers.setdefault("Retry-After", RETRY_AFTER[body.status])
    return ProblemResponse(body.model_dump(exclude_none=True), body.status, headers=headers)


def answer_error(error: AcganError) -> JSONResponse:
    """Raises the error itself if neither its class nor a base of it is in PROBLEMS."""
    code = code_of(type(error))
    if code is None:
        raise error
    headers = dict(getattr(error, "headers", {}))
    if isinstance(error, Unavailable) and error.retry_after is not None:
        headers["Retry-After"] = f"{error.retry_after:.0f}"
    return answer(code, str(error), headers=headers, data=error.data)


def code_of(kind: type[AcganError]) -> str | None:
    """Return the code with which errors of a class are answered; None for those that no request causes."""
    codes = (base.code for base in kind.__mro__ if issubclass(base, AcganError))
    return next((code for code in codes if code in PROBLEMS), None)


def join(message: str, hint: str) -> tuple[str, str]:
    """Return the detail and the hint as it ends the detail."""
    start = message[:1].upper() + message[1:]
    if message.endswith(STOPS):
        return f"{start} {sentence(hint)}", sentence(hint)
    return f"{start}: {full_stop(hint)}", full_stop(hint)


def sentence(text: str) -> str:
    return full_stop(text[:1].upper() + text[1:])


def full_stop(text: str) -> str:
    return text if text.endswith(STOPS) else f"{text}."
