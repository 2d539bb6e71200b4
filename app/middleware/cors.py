"""What web pages of `ACGAN_CORS_ORIGINS` may send and read. Browsers add no cookies or other credentials."""

from typing import Any

from starlette.datastructures import MutableHeaders
from starlette.middleware.cors import CORSMiddleware
from starlette.types import Receive, Scope, Send

from app.middleware.response_headers import with_headers

OPTIONS: dict[str, Any] = {
    "allow_methods": ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"],
    "allow_headers": [
        "Authorization",
        "X-API-Key",
        "Content-Type",
        "Idempotency-Key",
        "If-Match",
        "If-None-Match",
        "If-Range",
        "Last-Event-ID",
        "Range",
        "X-Request-ID",
    ],
    "expose_headers": [
        "Accept-Ranges",
        "Content-Disposition",
        "Content-Range",
        "ETag",
        "Link",
        "Location",
        "RateLimit",
        "RateLimit-Policy",
        "Repr-Digest",
        "Retry-After",
        "WWW-Authenticate",
        "X-Checkpoint",
        "X-Class",
        "X-Dataset",
        "X-Digits",
        "X-Epochs",
        "X-Index",
        "X-Neighbours",
        "X-Points",
        "X-Refused",
        "X-Request-ID",
        "X-Seed",
    ],
    "max_age": 600,
}


class CrossOrigin(CORSMiddleware):
    """Adds `Vary: Origin` to every response, so that no cache returns one without permission to an allowed page."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await super().__call__(scope, receive, with_headers(send, vary_by_origin))


def vary_by_origin(headers: MutableHeaders) -> None:
    if "origin" not in headers.get("vary", "").lower():
        headers.add_vary_header("Origin")
