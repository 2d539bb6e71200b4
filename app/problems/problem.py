"""The body of every error: a problem of RFC 9457 with a sentence that says what to do."""

from http import HTTPStatus
from typing import Any

from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field

RETRY_AFTER = {429: "60", 503: "5"}  # seconds


class Mistake(BaseModel):
    """One error in a request."""

    field: str = Field(description="The field or parameter, as in `body.epochs` or `query.n`.")
    message: str


class Problem(BaseModel):
    """The body of every error response (RFC 9457)."""

    type: str = "about:blank"
    title: str = Field(examples=["Not Found"])
    status: int = Field(examples=[404])
    detail: str = Field(description="What went wrong and what to do about it.")
    errors: list[Mistake] | None = Field(None, description="The errors in the fields and parameters of the request.")


class ProblemResponse(JSONResponse):
    """A problem that ends with a newline, like all other JSON responses (app/middleware/json_newline.py)."""

    media_type = "application/problem+json"

    def render(self, content: Any) -> bytes:
        return super().render(content) + b"\n"


def problem(
    status: int, detail: str, mistakes: list[Mistake] | None = None, headers: dict[str, str] | None = None
) -> JSONResponse:
    body = Problem(title=HTTPStatus(status).phrase, status=status, detail=detail, errors=mistakes)
    headers = dict(headers or {})
    if status in RETRY_AFTER:
        headers.setdefault("Retry-After", RETRY_AFTER[status])
    return ProblemResponse(body.model_dump(exclude_none=True), status, headers=headers)


def sentence(text: str) -> str:
    return full_stop(text[:1].upper() + text[1:])


def full_stop(text: str) -> str:
    return text if text.endswith((".", "?", "!")) else f"{text}."
