"""HEAD for every address that takes GET: `curl -I` shows an answer's headers, as probes and caches expect."""

from starlette.types import ASGIApp, Message, Receive, Scope, Send


class HeadAsGet:
    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] != "HEAD":
            return await self.app(scope, receive, send)

        async def send_no_body(message: Message) -> None:
            """End with the headers: the server then tells whoever would stream on that nobody listens."""
            if message["type"] == "http.response.start":
                await send(message)
                await send({"type": "http.response.body", "body": b""})

        as_get = {**scope, "method": "GET"}
        try:
            await self.app(as_get, receive, send_no_body)
        finally:
            scope["route"] = as_get.get("route")  # for whoever counts by route
