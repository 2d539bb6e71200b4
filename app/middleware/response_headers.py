"""Changes the headers of responses."""

from collections.abc import Callable

from starlette.datastructures import MutableHeaders
from starlette.types import Message, Send


def with_headers(send: Send, change: Callable[[MutableHeaders], None]) -> Send:
    """Return a `send` that calls `change` with a copy of the response's headers and sends the result."""

    async def send_changed(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(raw=list(message["headers"]))
            change(headers)
            message = {**message, "headers": headers.raw}
        await send(message)

    return send_changed
