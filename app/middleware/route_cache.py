"""Caches validated requests: routing, parsing and validation take longer than the response itself."""

from collections.abc import Awaitable, Callable, Iterable
from typing import Any, NamedTuple

from cachetools import LRUCache
from fastapi import Request, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from app.middleware.telemetry import name_span

Words = tuple[str, bytes, str]  # path, query and `Accept`, unparsed
AnswerError = Callable[[Request, Exception], Awaitable[Response]]


class Known(NamedTuple):
    """The route of a request and the function that computes its current response."""

    route: Any  # for metrics
    answer: Callable[[Request], Awaitable[Response]]
    size: int  # bytes, approximately


class RouteCacheMiddleware:
    """An inner middleware: authentication, metrics and limits apply before it."""

    known = LRUCache[Words, Known](4_000_000, lambda known: known.size)

    def __init__(self, app: ASGIApp, errors: Iterable[type[Exception]], answer_error: AnswerError) -> None:
        """`answer_error` makes the responses to exceptions of the classes `errors`."""
        self.app = app
        self.errors = tuple(errors)
        self.answer_error = answer_error

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] != "GET":
            return await self.app(scope, receive, send)
        request = Request(scope)
        known = self.known.get(words(request))
        if known is None:
            return await self.app(scope, receive, send)
        scope["route"] = known.route
        name_span(scope["method"], known.route.path)
        try:
            response = await known.answer(request)
        except self.errors as error:
            response = await self.answer_error(request, error)
        return await response(scope, receive, send)

    @classmethod
    def keep(cls, request: Request, answer: Callable[[Request], Awaitable[Response]]) -> None:
        """Use `answer` for all later requests with the same path, query and `Accept`."""
        path, query, accept = words(request)
        size = 600 + len(path) + 2 * len(query) + len(accept)
        cls.known[path, query, accept] = Known(request.scope["route"], answer, size)


def words(request: Request) -> Words:
    return request.scope["path"], request.scope["query_string"], request.headers.get("accept", "*/*")
