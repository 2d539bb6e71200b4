"""Answers every error of a route with an RFC 9457 problem, whose detail says what to do."""

import logging
from difflib import get_close_matches
from typing import Any
from urllib.parse import quote

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, RedirectResponse
from starlette.exceptions import HTTPException
from starlette.routing import Match

from app.api.event_stream import NothingFollows
from app.api.routes.training import VISIBLE_ASCII
from app.problems.device_health import DEVICE_ERRORS
from app.problems.problem import Mistake, answer, answer_error, full_stop
from app.problems.redis_diagnosis import explain_error
from app.problems.refusals import TOO_LONG
from app.problems.validation_messages import but_is, reason, shown
from app.schemas.checkpoints import ORDER_TAGS
from app.schemas.compositions import NUMBER
from app.schemas.datasets import FILE_NAME
from models.bounded_reading import FileInvalid
from models.errors import AcganError
from worker.jobs.errors import StoreUnavailable

logger = logging.getLogger(__name__)

EXPECTED = (AcganError, OSError, *DEVICE_ERRORS)
HTTP = {  # statuses of exceptions of Starlette and FastAPI: the code of the problem and its message
    400: ("unreadable-body", "the body cannot be read"),
    404: ("path-not-found", "there is nothing at this path"),
    405: ("method-not-allowed", "this path does not support this method"),
    413: ("body-too-long", TOO_LONG),
}
UNREADABLE = "The checkpoints cannot be read at the moment: retry later, or inform the operator."
AS_JSON = "with the header Content-Type: application/json"
SECRET_FIELDS = ("webhook",)  # their values are not shown
METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")  # of all routes
MISTAKES = 10  # explained in one response
PATTERNS = {  # of parameters that only the API has: the message about a value that does not match
    NUMBER: "should be a number of 1 to 40 decimal digits",
    FILE_NAME: "there is no such file: GET /datasets/{id} lists the files",
    VISIBLE_ASCII: "should be visible ASCII characters, without spaces",
}


def add_error_handlers(app: FastAPI) -> None:
    for error in EXPECTED:
        app.add_exception_handler(error, answer_known)
    app.add_exception_handler(NothingFollows, answer_nothing)
    app.add_exception_handler(RequestValidationError, answer_invalid)
    app.add_exception_handler(HTTPException, answer_http)
    app.add_exception_handler(Exception, answer_unexpected)


async def answer_known(request: Request, error: Exception) -> JSONResponse:
    health = request.app.state.device_health
    health.note(error)
    if isinstance(error, DEVICE_ERRORS):
        logger.error("%s %s: %s", request.method, request.url.path, error)
        error = health.explain()
    if isinstance(error, StoreUnavailable):
        logger.warning("%s %s: Redis: %s", request.method, request.url.path, error)
        return answer("redis-unavailable", explain_error(error, request.app.state.redis_folder))
    if isinstance(error, OSError) and not isinstance(error, FileInvalid):  # not shown: it may contain an address
        logger.error("%s %s: %s", request.method, request.url.path, error)
        return answer("store-unavailable", UNREADABLE)
    assert isinstance(error, AcganError)
    return answer_error(error)


async def answer_nothing(_request: Request, _error: Exception) -> Response:
    """Return 204, which is not an error: after any other status, browsers would reconnect to the stream."""
    return Response(status_code=204)


async def answer_invalid(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    errors = error.errors()
    mistakes = [mistake(found, request) for found in errors[:MISTAKES]]
    detail = " ".join(f"{each.field}: {full_stop(each.message)}" for each in mistakes)
    if len(errors) > MISTAKES:
        detail += f" There are {len(errors) - MISTAKES} more errors."
    return answer("invalid-input", detail, mistakes)


async def answer_http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    if error.status_code == 404 and (path := without_slash(request)):
        return RedirectResponse(path)
    code, message = HTTP.get(error.status_code, ("invalid-input", str(error.detail)))
    headers = dict(error.headers or {})
    if error.status_code == 405:
        headers["Allow"] = ", ".join(sorted(methods_of(request)))
    return answer(code, message, headers=headers)


def methods_of(request: Request) -> set[str]:
    """Return the methods that any route supports at this path. Starlette's `Allow` has those of one route only."""
    routes = request.app.router.routes
    scopes = {method: {**request.scope, "method": method} for method in METHODS}
    found = {method for method, scope in scopes.items() if any(r.matches(scope)[0] is Match.FULL for r in routes)}
    return found | {"HEAD"} if "GET" in found else found  # app/middleware/head.py


def without_slash(request: Request) -> str | None:
    """Return the relative URL of the route that matches the path without its final slash; None if none does."""
    path = request.scope["path"].rstrip("/")
    if not path or path == request.scope["path"] or path.startswith("//") or "route" in request.scope:
        return None
    scope = {**request.scope, "path": path}
    if all(route.matches(scope)[0] is Match.NONE for route in request.app.router.routes):
        return None
    query = f"?{request.url.query}" if request.url.query else ""
    return quote(request.scope.get("root_path", "") + path) + query


async def answer_unexpected(request: Request, error: Exception) -> JSONResponse:
    """Return 500 with the request id; uvicorn logs the traceback."""
    request.app.state.device_health.note(error)
    name = request.scope.get("request_id", "unknown")  # set here, because this response bypasses our middleware
    detail = f"An internal error occurred. The log has the details under request {name}. Please report it."
    headers = {"X-Request-ID": name, "Connection": "close"}  # uvicorn closes the connection
    return answer("internal-error", detail, headers=headers)


def known_fields(request: Request) -> list[str]:
    """Return the names of all parameters and body fields of the operation, to suggest one for a misspelt name."""
    document = request.app.openapi()
    operations = document["paths"].get(getattr(request.scope.get("route"), "path", ""), {})
    described, schemas = operations.get(request.method.lower(), {}), document["components"]["schemas"]
    names = [each["name"] for each in described.get("parameters", ())]
    for content in described.get("requestBody", {}).get("content", {}).values():
        wanted = content["schema"]
        for each in (wanted, *wanted.get("anyOf", ()), *wanted.get("oneOf", ())):
            names += schemas.get(each.get("$ref", "").rpartition("/")[2], {}).get("properties", {})
    return names


def mistake(found: dict[str, Any], request: Request) -> Mistake:
    """Convert one of pydantic's errors to a message for the caller."""
    loc = [shown(str(part)) for part in found["loc"]]
    inner = [part for part in loc[1:-1] if part not in ORDER_TAGS]  # the tag of a union is not a field
    field = ".".join(loc[:1] + inner + loc[1:][-1:])
    match found["type"]:
        case "json_invalid":
            why = found.get("ctx", {}).get("error", "")
            return Mistake(field="body", message=f'this is not JSON ({why}): send an object such as {{"epochs": 5}}')
        case "string_pattern_mismatch" if message := PATTERNS.get(found["ctx"]["pattern"]):
            return Mistake(field=field, message=message)
        case "extra_forbidden":
            near = get_close_matches(loc[-1], known_fields(request), n=1)
            meant = f"do you mean {near[0]}?" if near else "GET /docs lists the fields"
            return Mistake(field=field, message=f"there is no such field: {meant}")
        case "missing":
            return Mistake(field=field, message="is missing")
        case "union_tag_invalid" | "union_tag_not_found" if isinstance(found["input"], dict):
            return Mistake(
                field="body.policy",
                message="should be 'newest', 'best' or 'pinned'" + but_is(found["input"].get("policy")),
            )
        case "union_tag_invalid" | "union_tag_not_found":
            return Mistake(field="body", message=f'send a JSON object such as {{"policy": "newest"}}, {AS_JSON}')
        case "model_attributes_type" | "dict_type" | "model_type":
            return Mistake(field="body", message=f'send a JSON object such as {{"epochs": 5}}, {AS_JSON}')
    shown_value = "" if loc[-1] in SECRET_FIELDS else but_is(found.get("input"))
    return Mistake(field=field, message=reason(found) + shown_value)
