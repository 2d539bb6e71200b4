"""Limits on the size of request bodies, with or without a declared length, and on the number of query parameters.

FastAPI's `max_body_size` also limits bodies, but returns plain text instead of a problem. The bodies of uploads are
files, which app/api/uploads/receiving.py limits.
"""

import re

from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.problems.refusals import answer_too_long, answer_too_many_parameters

PARAMETERS = 40  # more than twice the maximum of any route
UPLOADS = {  # the ends of the paths of the routes that receive files, by method
    "POST": re.compile(r"/checkpoints\Z"),
    "PUT": re.compile(r"/training-data/[^/]+\Z"),
}
ADMIT = "acgan.admit_body"  # in the scope: a function that ends the server's own time limit of the body


def is_upload(method: str, path: str) -> bool:
    """Return whether the body of a request is a file. A path may begin with that under which a proxy serves the API."""
    pattern = UPLOADS.get(method)
    return pattern is not None and pattern.search(path) is not None


class BodyLimit:
    def __init__(self, app: ASGIApp, limit: int) -> None:
        self.app = app
        self.limit = limit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        if scope["query_string"].count(b"&") >= PARAMETERS:
            return await answer_too_many_parameters(PARAMETERS)(scope, receive, send)
        if is_upload(scope["method"], scope["path"]):
            return await self.app(scope, receive, send)
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
