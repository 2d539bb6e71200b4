"""Headers of responses in the OpenAPI document. Each is described once, in HEADERS.

A route declares only those of its own, with `sends`. `headers_of` derives the others from the rest of the operation.
"""

from collections.abc import Iterable, Iterator
from typing import Any

from app.middleware.authentication import PROBES, READING

COMPONENT = "#/components/headers/"


def header(description: str, example: str, **schema: Any) -> dict[str, Any]:
    return {"description": description, "schema": {"type": "string", **schema}, "example": example}


def number(description: str, example: int) -> dict[str, Any]:
    return {"description": description, "schema": {"type": "integer", "minimum": 0}, "example": example}


HEADERS: dict[str, dict[str, Any]] = {
    "Accept-Ranges": header("`bytes`: requests with `Range` are supported.", "bytes", enum=["bytes"]),
    "Cache-Control": header("How long caches may keep the response.", "no-cache"),
    "Content-Disposition": header("The name for the file on disk.", 'attachment; filename="generator.safetensors"'),
    "Content-Range": header("The part of the file that the body has, and the size of the file.", "bytes 0-99/9912422"),
    "ETag": header("The version, for `If-None-Match`, `If-Match` and `If-Range`.", '"f0e4c2f76c58916e"'),
    "Location": header(
        "The address of the new job, data set, evaluation or checkpoint.", "/jobs/20260131-120000-00001c"
    ),
    "RateLimit": header("Requests left and the seconds until that number is reset.", '"default";r=59;t=60'),
    "RateLimit-Policy": header("The rate limit: requests per number of seconds.", '"default";q=60;w=60'),
    "Repr-Digest": header("The SHA-256 of the whole file (RFC 9530).", "sha-256=:<44 characters of base64>:"),
    "Retry-After": number("Seconds to wait before a retry.", 5),
    "Vary": header("The request headers that the response depends on.", "Accept"),
    "WWW-Authenticate": header("The scheme of keys.", "Bearer"),
    "X-Checkpoint": header("Id of the checkpoint that drew the digits.", "20260131-120000-00001c-e001"),
    "X-Class": header("The name of the class, in percent-encoding.", "sneaker"),
    "X-Dataset": header("The training data of the generator that drew the digits.", "mnist"),
    "X-Digits": header(
        "The address of each digit: seed and index, separated by commas.",
        "5120:17,5120:301",
        pattern="^[0-9]+:[0-9]+(,[0-9]+:[0-9]+)*$",
    ),
    "X-Epochs": header("The epochs that are shown, separated by commas.", "1,2,5,10", pattern="^[0-9]+(,[0-9]+)*$"),
    "X-Index": number("Index of the first digit within the seed.", 0),
    "X-Neighbours": header(
        "Label, index and distance of each training image, nearest first, separated by commas. The index is its "
        "position among the training images, from 0.",
        "7:59012:1432.5,7:31006:1440.2",
        pattern=r"^[0-9]+:[0-9]+:[0-9]+\.[0-9](,[0-9]+:[0-9]+:[0-9]+\.[0-9])*$",
    ),
    "X-Points": header(
        "The coordinates `x:y` of each image, row by row, separated by commas.",
        "-0.3:0,0:0,0.3:0",
        pattern=r"^-?[0-9.]+:-?[0-9.]+(,-?[0-9.]+:-?[0-9.]+)*$",
    ),
    "X-Refused": number("Number of digits that the judge rejected, if the request has `verify`.", 2),
    "X-Request-ID": header("Id of the request, which the log has too: the client's or a new one.", "8f14e45fceea167a"),
    "X-Seed": number("Random seed of the digits.", 4),
}
ADDRESS = ("X-Checkpoint", "X-Dataset", "X-Seed", "X-Index")
RATE = ("RateLimit", "RateLimit-Policy")
OF_ERRORS = {401: ("WWW-Authenticate",), 416: ("Content-Range",), 429: ("Retry-After",), 503: ("Retry-After",)}
COUNTED = frozenset({404, 406, 409, 416, 422, 429, 503})  # errors of requests that a rate limit may count


def sends(*names: str) -> dict[str, Any]:
    """Return the part of a route's `responses[status]` that declares headers of HEADERS. Raises KeyError."""
    return {"headers": {name: {"$ref": COMPONENT + name} for name in names if HEADERS[name]}}


NEW_JOB: dict[int | str, dict[str, Any]] = {202: sends("Location", *RATE)}


def headers_of(path: str, method: str, operation: dict[str, Any], status: int, is_private: bool) -> Iterator[str]:
    """Yield the headers of a successful response that follow from the rest of the operation."""
    yield "X-Request-ID"
    has_validators, has_ranges = ("304" in operation["responses"], "206" in operation["responses"])
    if method.upper() in READING and path not in PROBES:
        yield from RATE
    if has_validators and status in (200, 206, 304):
        yield "ETag"
    if (has_validators and status in (200, 206, 304)) or is_private:
        yield "Cache-Control"
    if has_ranges and status in (200, 206):
        yield "Accept-Ranges"
    if status == 206:
        yield "Content-Range"


def used(responses: Iterable[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Return the rows of HEADERS to which responses refer."""
    names = {name for response in responses for name in response.get("headers", {})}
    return {name: header for name, header in HEADERS.items() if name in names}


def headers_of_error(status: int) -> Iterator[str]:
    yield "X-Request-ID"
    yield from OF_ERRORS.get(status, ())
    if status in COUNTED:
        yield from RATE
