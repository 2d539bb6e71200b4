"""Request ids, metrics and the request log."""

import logging
import random
import re
from collections.abc import Iterable
from time import perf_counter

from starlette.types import ASGIApp, Message, Receive, Scope, Send
from structlog.contextvars import bind_contextvars

from app import metrics
from app.middleware.authentication import offered
from app.problems.validation_messages import shown
from app.security.api_keys import PREFIX, digest_of

logger = logging.getLogger("app.requests")

UNMATCHED = "unmatched"
READING = ("GET", "HEAD", "OPTIONS")
PATH = 200  # characters of a path in a log line
SANE = re.compile(rb"[\x21-\x7e]{1,128}")


class RequestLogMiddleware:
    """The outermost middleware.

    The time of a request ends at the start of its response, so streams and slow clients do not count.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        request_id = scope["request_id"] = find_id(scope["headers"])
        bind_contextvars(request_id=request_id)  # for the task of this request
        header = (b"x-request-id", request_id.encode())
        status, answered_at = 500, 0.0

        async def send_named(message: Message) -> None:
            nonlocal status, answered_at
            if message["type"] == "http.response.start":
                status, answered_at = message["status"], perf_counter()
                message = {**message, "headers": [*message["headers"], header]}
            await send(message)

        metrics.REQUESTS_IN_FLIGHT.inc()
        began = perf_counter()
        try:
            await self.app(scope, receive, send_named)
        finally:
            seconds = (answered_at or perf_counter()) - began
            metrics.REQUESTS_IN_FLIGHT.dec()
            method, route = scope["method"], route_of(scope)
            metrics.answered(method, route, status, seconds)
            log_request(scope, route, status, seconds)


def route_of(scope: Scope) -> str:
    """Return the template of the route, not the path, so that the number of metric series is bounded."""
    route = scope.get("route")
    return UNMATCHED if route is None else str(route.path)


def find_id(headers: Iterable[tuple[bytes, bytes]]) -> str:
    """Return the client's X-Request-ID if it is 1 to 128 visible ASCII characters, else a new id."""
    for name, value in headers:
        if name == b"x-request-id" and SANE.fullmatch(value):
            return value.decode()
    return f"{random.getrandbits(64):016x}"


def log_request(scope: Scope, route: str, status: int, seconds: float) -> None:
    """Log each change at INFO and each error at WARNING; successful reads at DEBUG."""
    method = scope["method"]
    went_well = logging.DEBUG if method in READING else logging.INFO
    level = went_well if status < 400 else logging.WARNING
    if logger.isEnabledFor(level):
        fields = {"method": method, "route": route, "status": status, "milliseconds": round(1e3 * seconds, 3)}
        if status >= 400:
            fields |= audit(scope)
        logger.log(level, "%s %s %d", method, route, status, extra=fields)


def audit(scope: Scope) -> dict[str, str]:
    """Return the log fields of a refused request: the client's address, the path without query, the key's digest."""
    client, key = scope.get("client"), offered(scope["headers"])
    fields = {"peer": str(client[0]) if client else "unknown", "path": shown(scope["path"], PATH)}
    return fields | ({"key_digest": digest_of(key)[:PREFIX].decode()} if key else {})
