"""Serves the API under a prefix such as `/acgan`, behind proxies that remove the prefix and proxies that keep it."""

from starlette.datastructures import MutableHeaders
from starlette.responses import RedirectResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from app.middleware.forwarded_headers import FORWARDED_PREFIX
from app.middleware.response_headers import with_headers
from app.schemas.links import prefix, read_root_path


class RootPath:
    """Removes the prefix from the path of each request and adds it to links and to the `Location` header.

    The prefix is `root_path`, or else `X-Forwarded-Prefix` of a trusted proxy. The rest of the application sees paths
    without it. Only `ForwardedHeaders` may be outside of this middleware.
    """

    def __init__(self, app: ASGIApp, root_path: str = "") -> None:
        self.app = app
        self.root_path = root_path

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = self.root_path if scope["type"] != "http" else self.prefix_of(scope)
        if scope["type"] != "http" or not path:
            return await self.app(scope, receive, send)
        if scope["path"] == path:  # relative addresses in the page need the final slash
            return await RedirectResponse(f"{path}/")(scope, receive, send)
        if scope["path"].startswith(f"{path}/"):
            scope["path"] = scope["path"][len(path) :]  # in place: the handler of unexpected errors reads this scope
            scope["raw_path"] = scope.get("raw_path", b"")[len(path) :]

        def add_prefix(headers: MutableHeaders) -> None:
            location = headers.get("location", "")
            if location.startswith("/") and not location.startswith("//"):
                headers["location"] = path + location

        token = prefix.set(path)
        try:
            await self.app(scope, receive, with_headers(send, add_prefix))
        finally:
            prefix.reset(token)

    def prefix_of(self, scope: Scope) -> str:
        if self.root_path:  # no header changes what the operator has set
            return self.root_path
        try:
            return read_root_path(scope.get(FORWARDED_PREFIX, ""))
        except ValueError:
            return ""
