"""A way past routing, parsing and checking for what was asked before in the same words: they cost more than answers."""

from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple

from fastapi import Request, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from app.errors import STATUS, answer_known
from app.serving.memory import Memory

Words = tuple[str, bytes, str]  # path, query and `Accept`, as they came
KNOWN = tuple(STATUS)


class Known(NamedTuple):
    """What some words were found to mean: always the same question, to whichever answer just now."""

    route: Any  # for whoever counts by route
    answer: Callable[[Request], Awaitable[Response]]


class Shortcut:
    """The innermost layer: whoever is let in, counted and limited has been already."""

    known = Memory[Words, Known](limit=4_000_000)  # bytes, about

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] != "GET":
            return await self.app(scope, receive, send)
        request = Request(scope)
        known = self.known.get(words(request))
        if known is None:
            return await self.app(scope, receive, send)
        scope["route"] = known.route
        try:
            response = await known.answer(request)
        except KNOWN as error:
            response = await answer_known(request, error)
        return await response(scope, receive, send)

    @classmethod
    def keep(cls, request: Request, answer: Callable[[Request], Awaitable[Response]]) -> None:
        """Answer the words of this request so from now on."""
        path, query, accept = words(request)
        weight = 600 + len(path) + 2 * len(query) + len(accept)
        cls.known.keep((path, query, accept), Known(request.scope["route"], answer), weight)


def words(request: Request) -> Words:
    return request.scope["path"], request.scope["query_string"], request.headers.get("accept", "*/*")
