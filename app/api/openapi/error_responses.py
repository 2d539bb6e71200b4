"""The error responses of each operation in the OpenAPI document: statuses, codes, headers and examples."""

import re
from collections.abc import Iterator
from typing import Any

from app.api.openapi.examples import ERRORS
from app.api.openapi.headers import headers_of_error, sends
from app.middleware.authentication import PROBES, READING
from app.problems.codes import PREFIX, PROBLEMS
from app.problems.problem import Problem, schema_of_types

SCHEMAS = "#/components/schemas/"
RESPONSES = "#/components/responses/"
PROBLEM_JSON = "application/problem+json"

ANYWHERE = (400, 408, 431, 503)  # returned by the server for any request

# Operations that read one record or manifest and need all of it: another version may have written it.
READ_WHOLE = re.compile(
    r"/jobs/\{job_id\}/(history\..+|epochs/.+)|/checkpoints/\{checkpoint\}(/.+)?|/evaluations/\{job_id\}"
)

# The codes of 404 by path. An operation whose path matches no row can have every code of the status.
NOT_FOUND = (
    (r"/jobs/\{job_id\}/(epochs|evolution)/.+", ("job-not-found", "checkpoint-not-found")),
    (r"/jobs(/\{job_id\}(/[a-z.]+)?)?", ("job-not-found",)),
    (r"/train|/checkpoints", ("training-data-not-found",)),
    (r"/digits/\{label\}/neighbours", ("checkpoint-not-found", "training-data-not-found")),
    (r"/images/.+/neighbours", ("checkpoint-not-found", "class-not-found", "training-data-not-found")),
    (r"/(digits|numbers|morph)(/.+)?", ("checkpoint-not-found",)),
    (r"/images/.+", ("checkpoint-not-found", "class-not-found")),
    (r"/datasets", ("dataset-not-found", "checkpoint-not-found")),
    (r"/datasets/\{job_id\}", ("dataset-not-found", "job-not-found")),
    (r"/datasets/\{job_id\}/(archive|\{file\})", ("dataset-not-found", "dataset-file-not-found")),
    (r"/evaluations", ("evaluation-not-found", "checkpoint-not-found", "training-data-not-found")),
    (r"/evaluations/.+", ("evaluation-not-found",)),
    (r"/checkpoints/\{checkpoint\}|/serving", ("checkpoint-not-found",)),
    (r"/checkpoints/\{checkpoint\}/.+", ("checkpoint-not-found", "checkpoint-file-not-found")),
    (r"/training-data/.+", ("training-data-not-found",)),
    (r"/problems/\{code\}", ("path-not-found",)),
)


def errors_of(path: str, method: str, operation: dict[str, Any]) -> Iterator[int]:
    """Yield the error statuses that an operation can return, except 401.

    They are derived from its path, parameters and tags, so a new route needs no entry here.
    """
    yield from ANYWHERE
    digits, changes = is_drawn(operation), method.upper() not in READING
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
    names = path in ("/jobs", "/datasets", "/train", "/evaluations") or (
        changes and path in ("/serving", "/checkpoints")
    )
    if "{" in path or digits or names:
        yield 404
    yield from errors_of_files(path, operation)
    if changes and path == "/serving":
        yield 412
    if path.startswith(("/digits", "/images")) and not path.endswith(("/neighbours", "/traversal")):
        yield 406  # these have several formats
    if changes or can_conflict(path, operation):
        yield 409


def errors_of_files(path: str, operation: dict[str, Any]) -> Iterator[int]:
    if "206" in operation["responses"]:
        yield 416
    if "/exports/" in path or path.endswith("/archive"):
        yield 501


def can_conflict(path: str, operation: dict[str, Any]) -> bool:
    """Return whether a request that changes nothing can have 409: what it reads has a state or a version."""
    return READ_WHOLE.fullmatch(path) is not None or is_drawn(operation) or "datasets" in operation.get("tags", ())


def is_drawn(operation: dict[str, Any]) -> bool:
    return not {"digits", "images"}.isdisjoint(operation.get("tags", ()))


def codes_of(path: str, status: int) -> tuple[str, ...]:
    """Return the codes of an operation's problems with a status."""
    if status == 404:
        for pattern, codes in NOT_FOUND:
            if re.fullmatch(pattern, path):
                return codes
    return tuple(code for code, kind in PROBLEMS.items() if kind.status == status)


def name_of(path: str, status: int) -> str:
    """Return the name of the component: `Error404`, or the codes if the path has only some of the status."""
    codes = codes_of(path, status)
    return f"Error{status}" if codes == codes_of("", status) else "Or".join(map(pascal_case, codes))


def pascal_case(code: str) -> str:
    return "".join(part.capitalize() for part in code.split("-"))


def add_problem(components: dict[str, Any]) -> None:
    problem = Problem.model_json_schema(ref_template=SCHEMAS + "{model}")
    components["schemas"] |= {**problem.pop("$defs"), "Problem": problem}


def add_error(components: dict[str, Any], path: str, operation: dict[str, Any], status: int) -> None:
    """Add an error response to an operation, and its component if that is new."""
    name = name_of(path, status)
    if name not in components["responses"]:
        components["schemas"][f"{name}Problem"] = schema_of(path, status)
        components["responses"][name] = response_of(path, status)
    own = operation["responses"].get(str(status))
    if own is None:
        operation["responses"][str(status)] = {"$ref": RESPONSES + name}
    else:  # the route documents this status itself
        own["content"] |= {PROBLEM_JSON: {"schema": {"$ref": f"{SCHEMAS}{name}Problem"}}}
        own.setdefault("headers", {}).update(sends(*headers_of_error(status))["headers"])


def schema_of(path: str, status: int) -> dict[str, Any]:
    types = {"type": "string", **schema_of_types(codes_of(path, status))}
    narrowed = {"type": "object", "properties": {"type": types}, "required": ["type"]}
    return {"allOf": [{"$ref": f"{SCHEMAS}Problem"}, narrowed]}


def response_of(path: str, status: int) -> dict[str, Any]:
    _, meaning, problems = next(error for error in ERRORS if error.status == status)
    types = {PREFIX + code for code in codes_of(path, status)}
    examples = {
        title: {"value": problem.model_dump(exclude_none=True)}
        for title, problem in problems.items()
        if problem.type in types
    }
    schema = {"$ref": f"{SCHEMAS}{name_of(path, status)}Problem"}
    content: dict[str, Any] = {"schema": schema} | ({"examples": examples} if examples else {})
    return {"description": meaning, "content": {PROBLEM_JSON: content}, **sends(*headers_of_error(status))}
