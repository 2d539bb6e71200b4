"""`Cache-Control` of responses that need a key: shared caches must not store them, and no cache stores records."""

from starlette.datastructures import MutableHeaders
from starlette.types import Send

from app.middleware.response_headers import with_headers

CONTROL = b"cache-control"
STATIC = ("/docs", "/openapi.json")  # the same for every key
RECORDS = (b"application/json", b"application/problem+json", b"text/")  # jobs, losses, figures, events


def keep_private(send: Send, path: str) -> Send:
    """Wrap `send` to replace `public` with `private`, and to send records with `no-store`."""

    def change(headers: MutableHeaders) -> None:
        control = control_of(dict(headers.raw), is_static=path.startswith(STATIC))
        headers["Cache-Control"] = control.decode("latin-1")

    return with_headers(send, change)


def control_of(headers: dict[bytes, bytes], is_static: bool) -> bytes:
    content, control = headers.get(b"content-type", b""), headers.get(CONTROL, b"")
    if b"no-store" in control or (content.startswith(RECORDS) and not is_static):
        return b"no-store"
    kept = [part.strip() for part in control.split(b",") if part.strip() not in (b"", b"public", b"private")]
    return b", ".join([b"private", *kept])
