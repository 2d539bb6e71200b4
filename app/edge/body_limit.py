"""A bound on request bodies, whether their length is declared or not, and on the number of query parameters.

FastAPI's own `max_body_size` does the same, but answers in plain text where every other error here is a problem.
"""

from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.errors import answer_too_long, answer_too_many_parameters

PARAMETERS = 40  # more than twice those of any call


class BodyLimit:
    def __init__(self, app: ASGIApp, limit: int) -> None:
        self.app = app
        self.limit = limit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        if scope["query_string"].count(b"&") >= PARAMETERS:
            return await answer_too_many_parameters(PARAMETERS)(scope, receive, send)
        declared = next((value for name, value in scope["headers"] if name == b"content-length"), b"")
        if declared.isdigit() and int(declared) > self.limit:
            return await answer_too_long()(scope, receive, send)

        read = 0

        async def receive_some() -> Message:
            nonlocal read
            message = await receive()
            read += len(message.get("body", b""))
            if read > self.limit:
                raise HTTPException(413)
            return message

        return await self.app(scope, receive_some, send)
