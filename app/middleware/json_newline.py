"""Adds a newline to every JSON response, so that a terminal shows the prompt on a new line."""

from starlette.types import ASGIApp, Message, Receive, Scope, Send

Headers = list[tuple[bytes, bytes]]
JSON, LENGTH = (b"content-type", b"application/json"), b"content-length"
OF_FILES = {b"accept-ranges", b"vary"}  # partial or compressed responses, whose bytes must not change


class JSONNewlineMiddleware:
    """Placed inside `RouteCacheMiddleware`, so that cached routes skip it. Problems have a newline already."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        adds = False

        async def send_line(message: Message) -> None:
            nonlocal adds
            if message["type"] == "http.response.start":
                headers = message["headers"]
                if JSON in headers and (longer := with_one_more(headers)):
                    adds, message["headers"] = True, longer
            elif adds and not message.get("more_body"):
                message["body"] = message.get("body", b"") + b"\n"
            await send(message)

        await self.app(scope, receive, send_line if scope["type"] == "http" else send)


def with_one_more(headers: Headers) -> Headers | None:
    """Increase Content-Length by one; None if the response is a file or has no length."""
    fields = dict(headers)
    if LENGTH not in fields or not OF_FILES.isdisjoint(fields):
        return None
    return [*(header for header in headers if header[0] != LENGTH), (LENGTH, b"%d" % (int(fields[LENGTH]) + 1))]
