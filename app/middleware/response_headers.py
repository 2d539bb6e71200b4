"""Changes the headers of responses."""

from collections.abc import Callable

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

LIMITS = "acgan.limits"  # in the scope: the RateLimit headers, which a route fills in when it counts the request


def with_headers(send: Send, change: Callable[[MutableHeaders], None]) -> Send:
    """Return a `send` that calls `change` with a copy of the response's headers and sends the result."""

    async def send_changed(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(raw=list(message["headers"]))
            change(headers)
            message = {**message, "headers": headers.raw}
        await send(message)

    return send_changed


class RateHeaders:
    """Adds the RateLimit headers to each response to a request that a route counted, also to an error."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["method"] not in ("GET", "HEAD"):
            limits: dict[str, str] = {}
            scope[LIMITS] = limits
            send = with_headers(send, lambda headers: headers.update(limits))
        await self.app(scope, receive, send)
