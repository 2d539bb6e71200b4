"""Completes FastAPI's OpenAPI document: keys, headers, media types, and the errors and examples of each operation."""

import re
from collections.abc import Iterable
from typing import Any

from fastapi import FastAPI
from fastapi.routing import APIRoute

from app.api.openapi.error_responses import SCHEMAS, add_error, add_problem, errors_of
from app.api.openapi.examples import ANSWERS, TEXTS
from app.api.openapi.headers import headers_of, sends, used
from app.middleware.authentication import PROBES, READING, is_public

INFO = {
    "description": "Trains an Auxiliary Classifier GAN on handwritten digits, and draws digits of a requested class. "
    "Errors are problems of RFC 9457 (`application/problem+json`): `type` ends with the code of the error, and "
    "`detail` says what to do.",
    "contact": {"name": "The acgan maintainers"},
    "license": {"name": "MIT", "identifier": "MIT"},
}
TAGS = {
    "training": "Start, cancel, resume, retry, reorder and delete runs.",
    "jobs": "The record, events, losses and plots of each run.",
    "digits": "Images of digits. A checkpoint, seed and index always give the same pixels.",
    "images": "Images of any training data that has a checkpoint, by the name of the class.",
    "datasets": "Generated data sets, as the four files of MNIST.",
    "evaluations": "Measurements of generators, as jobs.",
    "training-data": "What runs train on: the built-in sets, and those that users brought.",
    "checkpoints": "The published generators, and which of them is served.",
    "operations": "Health probes, metrics and the descriptions of errors.",
}
SCHEMES = {
    "bearer": {"type": "http", "scheme": "bearer", "description": "A key, as printed by `acgan key NAME`."},
    "key": {"type": "apiKey", "in": "header", "name": "X-API-Key", "description": "The same key, in another header."},
}
WAYS: list[dict[str, list[str]]] = [{name: []} for name in SCHEMES]
UNUSED = ("HTTPValidationError", "ValidationError")  # FastAPI's error schemas; this API returns problems instead


def describe(app: FastAPI, needed: bool, for_reading: bool) -> None:
    """Complete the app's OpenAPI document when it is first read. Keys are optional if this service has none."""
    described = app.openapi

    def describe_all() -> dict[str, Any]:
        if app.openapi_schema is None:
            complete(described(), needed, for_reading)
        return app.openapi_schema or {}

    app.openapi = describe_all  # type: ignore[method-assign]  # the documented way to extend FastAPI's document


def complete(document: dict[str, Any], needed: bool, for_reading: bool) -> None:
    document["info"] |= INFO
    document["tags"] = [{"name": name, "description": description} for name, description in TAGS.items()]
    components = document["components"]
    components |= {"securitySchemes": SCHEMES, "responses": {}}
    add_problem(components)
    for unused in UNUSED:
        components["schemas"].pop(unused, None)
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            operation["summary"] = heading(operation.get("description", operation["summary"]))
            is_open = path in PROBES or is_public(path)
            keys = method.upper() not in READING or (for_reading and not is_open)
            operation["security"] = [] if is_open else WAYS if needed and keys else [{}, *WAYS]
            remove_null(operation.get("parameters", ()))
            add_media_types(operation)
            add_headers(path, method, operation, is_private=for_reading and not is_open)
            operation["responses"].pop("422", None)  # FastAPI's default
            for status in sorted({*errors_of(path, method, operation), *((401,) if keys else ())}):
                add_error(components, path, operation, status)
            add_examples(operation)
    operations = [operation for methods in document["paths"].values() for operation in methods.values()]
    own = [response for operation in operations for response in operation["responses"].values()]
    components["headers"] = used([*own, *components["responses"].values()])
    remove_titles([document["paths"], components])


def operation_id(route: APIRoute) -> str:
    """Return the name of the route's function, which names the call in generated clients."""
    return route.name


def heading(description: str) -> str:
    """Return the summary of an operation: the first clause of its description."""
    return re.split(r"[.:;](?: |$)", " ".join(description.split()))[0].replace("`", "")


def remove_null(parameters: Iterable[dict[str, Any]]) -> None:
    """Remove the type null of optional parameters: a query or header cannot have it."""
    for parameter in parameters:
        schema = parameter["schema"]
        types = [each for each in schema.get("anyOf", ()) if each != {"type": "null"}]
        if len(types) == 1:
            del schema["anyOf"]
            schema |= types[0]


def remove_titles(node: Any) -> None:
    """Remove the titles that pydantic derives from the names of fields: they say nothing, and the page loads them."""
    if isinstance(node, list):
        for each in node:
            remove_titles(each)
    elif isinstance(node, dict):
        if isinstance(node.get("title"), str) and node.get("type") != "object":
            del node["title"]
        for name, value in node.items():
            if name not in ("example", "examples", "default", "const", "enum"):
                remove_titles(value)


def add_media_types(operation: dict[str, Any]) -> None:
    """Describe bodies that are not JSON. Generators read `format`; OpenAPI 3.1 has `contentMediaType`."""
    for response in operation["responses"].values():
        for media_type, content in response.get("content", {}).items():
            content.pop("itemSchema", None)  # FastAPI adds it to streams of events, but OpenAPI 3.1 does not have it
            if not content.get("schema"):
                is_text = media_type.startswith("text/")
                binary = {} if is_text else {"format": "binary", "contentMediaType": media_type}
                content["schema"] = {"type": "string", **binary}


def add_headers(path: str, method: str, operation: dict[str, Any], is_private: bool) -> None:
    for status, response in operation["responses"].items():
        if status < "4":
            names = headers_of(path, method, operation, int(status), is_private)
            response["headers"] = response.get("headers", {}) | sends(*names)["headers"]


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
