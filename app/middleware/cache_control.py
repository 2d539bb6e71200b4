"""`Cache-Control` of responses that need a key: shared caches must not store them, and no cache stores records."""

from starlette.types import Message, Send

CONTROL = b"cache-control"
STATIC = ("/docs", "/openapi.json")  # the same for every key
RECORDS = (b"application/json", b"application/problem+json", b"text/")  # jobs, losses, figures, events


def keep_private(send: Send, path: str) -> Send:
    """Wrap `send` to replace `public` with `private`, and to send records with `no-store`."""

    async def send_private(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = message["headers"]
            control = control_of(dict(headers), is_static=path.startswith(STATIC))
            message = {**message, "headers": [*(one for one in headers if one[0] != CONTROL), (CONTROL, control)]}
        await send(message)

    return send_private


def control_of(headers: dict[bytes, bytes], is_static: bool) -> bytes:
    content, control = headers.get(b"content-type", b""), headers.get(CONTROL, b"")
    if b"no-store" in control or (content.startswith(RECORDS) and not is_static):
        return b"no-store"
    kept = [part.strip() for part in control.split(b",") if part.strip() not in (b"", b"public", b"private")]
    return b", ".join([b"private", *kept])
