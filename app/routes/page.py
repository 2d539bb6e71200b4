"""The page, and Swagger UI: files that lie in packages, served as they are. Nothing is fetched from elsewhere."""

from importlib import resources
from typing import Annotated, NamedTuple

from fastapi import APIRouter, Header, Response
from starlette.exceptions import HTTPException

from app.wire import etags

MEDIA_TYPES = {
    "css": "text/css; charset=utf-8",
    "html": "text/html; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "png": "image/png",
    "svg": "image/svg+xml",
}

OWN = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; connect-src 'self'; "
NOWHERE_ELSE = "base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
PAGE_POLICY = f"{OWN}{NOWHERE_ELSE}; require-trusted-types-for 'script'"
# Swagger UI sets styles of its own, and draws icons from addresses that hold them.
DOCS_POLICY = (
    OWN.replace("style-src 'self'", "style-src 'self' 'unsafe-inline'").replace("blob:", "data:") + NOWHERE_ELSE
)


class File(NamedTuple):
    data: bytes
    headers: dict[str, str]


def folder(package: str, part: str, policy: str) -> dict[str, File]:
    """Read every file of a package's folder that browsers have a use for."""
    found = {}
    for entry in (resources.files(package) / part).iterdir():
        media_type = MEDIA_TYPES.get(entry.name.rpartition(".")[2])
        if media_type:
            data = entry.read_bytes()
            found[entry.name] = File(
                data,
                {
                    "Content-Type": media_type,
                    "ETag": etags.name(data),
                    "Cache-Control": "no-cache",  # asked for again each time, and answered with 304
                    "Content-Security-Policy": policy,
                    "Referrer-Policy": "no-referrer",
                    "X-Content-Type-Options": "nosniff",
                },
            )
    return found


PAGE = folder("app", "page", PAGE_POLICY)
DOCS = folder("app", "page/docs", DOCS_POLICY) | folder("fastapi_swagger", "resources", DOCS_POLICY)

router = APIRouter(include_in_schema=False)

IfNoneMatch = Annotated[str | None, Header(max_length=1000)]


@router.get("/")
async def page(if_none_match: IfNoneMatch = None) -> Response:
    return answer(PAGE, "index.html", if_none_match)


@router.get("/page/{name}")
async def page_file(name: str, if_none_match: IfNoneMatch = None) -> Response:
    return answer(PAGE, name, if_none_match)


@router.get("/docs")
async def docs(if_none_match: IfNoneMatch = None) -> Response:
    return answer(DOCS, "docs.html", if_none_match)


@router.get("/docs/{name}")
async def docs_file(name: str, if_none_match: IfNoneMatch = None) -> Response:
    return answer(DOCS, name, if_none_match)


def answer(files: dict[str, File], name: str, if_none_match: str | None) -> Response:
    if name not in files:
        raise HTTPException(404)
    file = files[name]
    if etags.is_known(file.headers["ETag"], if_none_match):
        return Response(status_code=304, headers=file.headers)
    return Response(file.data, headers=file.headers)
