"""The route class of all routers: changes require the role admin by default, and JSON bodies are bounded."""

import re
from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import Request, Response
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException

from app.api.dependencies import may_start, owns_job
from app.middleware.authentication import READING
from app.security.api_keys import Role
from app.security.caller import require
from models.errors import InvalidInput

MAX_FIELDS = 200  # members of all objects and lists in a body
FOR_TRAINERS = frozenset({may_start, owns_job})


class GuardedRoute(APIRoute):
    """The route class of every router. A route that changes something requires the role admin, unless `MayStart` or
    `OwnsJob` is among its dependencies.
    """

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()
        if READING.issuperset(self.methods or ()):
            return handle
        for_trainers = any(dependency.call in FOR_TRAINERS for dependency in self.dependant.dependencies)
        needed = Role.TRAIN if for_trainers else Role.ADMIN

        async def guarded(request: Request) -> Response:
            require(request.scope, needed)
            bounded = BoundedRequest(request.scope, request.receive)
            if self.body_field is not None and not is_json(request) and await bounded.body():
                raise UnsupportedMediaType("the body is not declared as JSON")
            return await handle(bounded)

        return guarded


class UnsupportedMediaType(InvalidInput, code="unsupported-media-type"):
    """The body is not declared as JSON."""


def is_json(request: Request) -> bool:
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    return media_type == "application/json" or re.fullmatch(r"application/[^/]+\+json", media_type) is not None


class BoundedRequest(Request):
    """Rejects JSON bodies with more than `MAX_FIELDS` members: errors for thousands of unknown fields take long."""

    async def json(self) -> Any:
        body = await super().json()
        if count_members(body, MAX_FIELDS) > MAX_FIELDS:
            raise HTTPException(422, f"the body has more than {MAX_FIELDS} members: GET /docs lists the fields")
        return body


def count_members(value: Any, limit: int) -> int:
    """Count the members of objects and lists at every depth, up to a little more than `limit`."""
    count, rest = 0, [value]
    while rest and count <= limit:
        current = rest.pop()
        if isinstance(current, dict | list):
            count += len(current)
            rest += list(current.values() if isinstance(current, dict) else current)[: limit + 1]
    return count
