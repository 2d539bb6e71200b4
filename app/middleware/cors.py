"""What web pages of `ACGAN_CORS_ORIGINS` may send and read. Browsers add no cookies or other credentials."""

from typing import Any

from starlette.datastructures import MutableHeaders
from starlette.middleware.cors import CORSMiddleware
from starlette.types import Message, Receive, Scope, Send

OPTIONS: dict[str, Any] = {
    "allow_methods": ["GET", "HEAD", "POST", "PUT", "DELETE"],
    "allow_headers": [
        "Authorization",
        "X-API-Key",
        "Content-Type",
        "Idempotency-Key",
        "If-Match",
        "If-None-Match",
        "Last-Event-ID",
        "Range",
        "X-Request-ID",
    ],
    "expose_headers": [
        "Content-Disposition",
        "Content-Range",
        "ETag",
        "Link",
        "Location",
        "RateLimit",
        "RateLimit-Policy",
        "Retry-After",
        "WWW-Authenticate",
        "X-Checkpoint",
        "X-Epochs",
        "X-Index",
        "X-Refused",
        "X-Request-ID",
        "X-Seed",
    ],
    "max_age": 600,
}


class CrossOrigin(CORSMiddleware):
    """Adds `Vary: Origin` to every response, so that no cache returns one without permission to an allowed page."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_with_vary(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(raw=message["headers"])
                if "origin" not in headers.get("vary", "").lower():
                    headers.add_vary_header("Origin")
            await send(message)

        await super().__call__(scope, receive, send_with_vary)
