"""What web pages of `ACGAN_CORS_ORIGINS` may send and read. Browsers add no cookies or other credentials."""

from typing import Any

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
