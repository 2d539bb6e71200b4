"""Additions to FastAPI's OpenAPI document: which operations need keys, the errors of each operation, and examples."""

import re
from collections.abc import Iterator
from typing import Any

from fastapi import FastAPI

from app.api.openapi_examples import ANSWERS, ERRORS, TEXTS
from app.middleware.authentication import PROBES, READING, is_public
from app.problems.problem import RETRY_AFTER, Problem

SCHEMES = {
    "bearer": {"type": "http", "scheme": "bearer", "description": "A key, as printed by `acgan key NAME`."},
    "key": {"type": "apiKey", "in": "header", "name": "X-API-Key", "description": "The same key, in another header."},
}
WAYS: list[dict[str, list[str]]] = [{name: []} for name in SCHEMES]
SCHEMAS = "#/components/schemas/"
UNUSED = ("HTTPValidationError", "ValidationError")  # FastAPI's error schemas; this API returns problems instead

ANYWHERE = (400, 408, 431, 503)  # returned by the server for any request


def describe(app: FastAPI, needed: bool, for_reading: bool) -> None:
    """Add keys and errors to the app's OpenAPI document. Keys are optional if this service has none."""
    described = app.openapi

    def describe_all() -> dict[str, Any]:
        if app.openapi_schema is None:
            document = described()
            components = document["components"]
            components["securitySchemes"] = SCHEMES
            components["responses"] = {name(error.status): response_of(*error) for error in ERRORS}
            problem = Problem.model_json_schema(ref_template=SCHEMAS + "{model}")
            components["schemas"] |= {**problem.pop("$defs"), "Problem": problem}
            for unused in UNUSED:
                components["schemas"].pop(unused, None)
            for path, methods in document["paths"].items():
                for method, operation in methods.items():
                    operation["summary"] = heading(operation.get("description", operation["summary"]))
                    keys = method.upper() not in READING or (for_reading and path not in PROBES and not is_public(path))
                    if keys:
                        operation["security"] = WAYS if needed else [{}, *WAYS]
                    add_errors(operation, {*errors_of(path, method, operation), *((401,) if keys else ())})
                    add_examples(operation)
        return app.openapi_schema or {}

    app.openapi = describe_all  # type: ignore[method-assign]  # the documented way to extend FastAPI's document


def heading(description: str) -> str:
    """Return the summary of an operation: the first clause of its description."""
    return re.split(r"[.:;](?: |$)", " ".join(description.split()))[0].replace("`", "")


def errors_of(path: str, method: str, operation: dict[str, Any]) -> Iterator[int]:
    """Yield the error statuses that an operation can return, except 401.

    They are derived from its path, parameters and tags, so a new route needs no entry here.
    """
    yield from ANYWHERE
    digits, changes = "digits" in operation.get("tags", ()), method.upper() not in READING
    if path not in PROBES:
        yield 421
        yield 429
    if changes:
        yield 403
    if "requestBody" in operation:
        yield 413
        yield 415
    if "requestBody" in operation or operation.get("parameters"):
        yield 422
    if "{" in path or digits or path in ("/jobs", "/datasets") or (changes and path == "/serving"):
        yield 404
    if path.endswith("/{file}"):
        yield from (416, 501) if "/exports/" in path else (416,)
    if changes and path == "/serving":
        yield 412
    if path.startswith("/digits"):
        yield 406  # these have several formats
    is_history = path.startswith("/jobs/{job_id}/history")  # 409 if another version wrote the record
    if (
        digits
        or is_history
        or "/exports/" in path
        or "datasets" in operation.get("tags", ())
        or (changes and path != "/train")
    ):
        yield 409


def name(status: int) -> str:
    return f"Error{status}"


def response_of(status: int, meaning: str, examples_: dict[str, Problem]) -> dict[str, Any]:
    examples = {title: {"value": problem.model_dump(exclude_none=True)} for title, problem in examples_.items()}
    response: dict[str, Any] = {
        "description": meaning,
        "content": {"application/problem+json": {"schema": {"$ref": f"{SCHEMAS}Problem"}, "examples": examples}},
    }
    if status in RETRY_AFTER:
        seconds = {"schema": {"type": "integer"}, "description": "Seconds to wait before a retry."}
        response["headers"] = {"Retry-After": seconds}
    if status == 401:
        response["headers"] = {"WWW-Authenticate": {"schema": {"type": "string"}}}
    return response


def add_errors(operation: dict[str, Any], statuses: set[int]) -> None:
    responses = operation["responses"]
    responses.pop("422", None)  # FastAPI's default
    for status in sorted(statuses):
        own = responses.get(str(status))
        if own is None:
            responses[str(status)] = {"$ref": f"#/components/responses/{name(status)}"}
        else:  # the route documents this status itself
            own["content"] |= {"application/problem+json": {"schema": {"$ref": f"{SCHEMAS}Problem"}}}


def add_examples(operation: dict[str, Any]) -> None:
    for status, response in operation["responses"].items():
        if not status.startswith("2"):
            continue
        for media_type, content in response.get("content", {}).items():
            schema = content.get("schema", {})
            usual = schema.get("anyOf", [schema])[0]  # the others are records that another version wrote
            known = ANSWERS.get(usual.get("$ref", "").removeprefix(SCHEMAS))
            if known is not None:
                content["example"] = known
            elif media_type in TEXTS:
                content["example"] = TEXTS[media_type]
