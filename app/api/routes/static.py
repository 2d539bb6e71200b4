"""Static files of the page and of Swagger UI, both part of Python packages, and the OpenAPI document.

Browsers load nothing from other hosts.
"""

import gzip
import json
import re
from dataclasses import dataclass
from functools import cached_property, lru_cache
from importlib import resources

import anyio.to_thread
from fastapi import APIRouter, FastAPI, Request, Response
from starlette.exceptions import HTTPException

from app.api.guarded_route import GuardedRoute
from app.problems import conditional
from app.schemas.links import prefix

MEDIA_TYPES = {
    "css": "text/css; charset=utf-8",
    "html": "text/html; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "png": "image/png",
    "svg": "image/svg+xml",
}

OWN = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; connect-src 'self'; "
NOWHERE_ELSE = "base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
NOTHING = "default-src 'none'; frame-ancestors 'none'"
PAGE_POLICY = f"{OWN}{NOWHERE_ELSE}; require-trusted-types-for 'script'"
# Swagger UI needs inline styles, and data: URLs for its icons.
DOCS_POLICY = (
    OWN.replace("style-src 'self'", "style-src 'self' 'unsafe-inline'").replace("blob:", "data:") + NOWHERE_ELSE
)


@dataclass(frozen=True)
class File:
    data: bytes
    headers: dict[str, str]

    @classmethod
    def of(cls, data: bytes, media_type: str, policy: str) -> "File":
        headers = {
            **conditional.validators(data),
            "Content-Type": media_type,
            "Vary": "Accept-Encoding",
            "Content-Security-Policy": policy,
            "Referrer-Policy": "no-referrer",
            "X-Content-Type-Options": "nosniff",
        }
        return cls(data, headers)

    @cached_property
    def packed(self) -> "File":
        """The file compressed with gzip, on first use; the file itself if that is not smaller."""
        data = gzip.compress(self.data, 9, mtime=0)
        if len(data) >= len(self.data):
            return self
        named = {"Content-Encoding": "gzip", "ETag": f'{self.headers["ETag"][:-1]}-gzip"'}
        return File(data, self.headers | named)


def folder(package: str, part: str, policy: str) -> dict[str, File]:
    """Read every file of a package's folder that has a known media type."""
    found = {}
    for entry in (resources.files(package) / part).iterdir():
        media_type = MEDIA_TYPES.get(entry.name.rpartition(".")[2])
        if media_type:
            found[entry.name] = File.of(entry.read_bytes(), media_type, policy)
    return found


PAGE = folder("app", "page", PAGE_POLICY)
FOLDERS = {part: folder("app", f"page/{part}", PAGE_POLICY) for part in ("common", "parts", "views")}
DOCS = folder("app", "page/docs", DOCS_POLICY) | folder("fastapi_swagger", "resources", DOCS_POLICY)

router = APIRouter(include_in_schema=False, route_class=GuardedRoute)

TAKES_GZIP = re.compile(r"(?:^|,)\s*gzip\s*(?:;\s*q=(?!0(?:[.]0*)?\s*(?:,|$))[^,]*)?(?:,|$)", re.IGNORECASE)


@router.get("/")
async def page(request: Request) -> Response:
    return await answer(request, PAGE.get("index.html"))


@router.get("/page/schemas")
async def page_schema(request: Request) -> Response:
    """Return the parts of the OpenAPI document from which the page builds its forms: a tenth of it."""
    return await answer(request, page_document(request.app))


@router.get("/page/schemas/training-data")
async def training_data_schema(request: Request) -> Response:
    """Return the options of `PUT /training-data/{name}`, of which the page builds its form."""
    return await answer(request, training_data_document(request.app))


@router.get("/page/{name}")
async def page_file(request: Request, name: str) -> Response:
    return await answer(request, PAGE.get(name))


@router.get("/page/{part}/{name}")
async def page_module(request: Request, part: str, name: str) -> Response:
    """Return a module: `part` is common (used by every view), parts (pieces of views) or views."""
    return await answer(request, FOLDERS.get(part, {}).get(name))


@router.get("/docs")
async def docs(request: Request) -> Response:
    return await answer(request, DOCS.get("docs.html"))


@router.get("/docs/{name}")
async def docs_file(request: Request, name: str) -> Response:
    return await answer(request, DOCS.get(name))


@router.get("/openapi.json")
async def openapi(request: Request) -> Response:
    """Return the OpenAPI document; gzip reduces it to a tenth."""
    return await answer(request, openapi_file(request.app, prefix.get()))


@lru_cache(maxsize=8)  # prefixes come from the settings or from trusted proxies
def openapi_file(app: FastAPI, path: str) -> File:
    document = app.openapi() | {"servers": [{"url": path or "/"}]}
    text = json.dumps(document, ensure_ascii=False, separators=(",", ":"))
    return File.of(f"{text}\n".encode(), "application/json", NOTHING)


@lru_cache(maxsize=8)
def page_document(app: FastAPI) -> File:
    document = app.openapi()
    paths = {path: document["paths"][path] for path in ("/train", "/digits")}
    order = {"schemas": {"TrainingOrder": document["components"]["schemas"]["TrainingOrder"]}}
    text = json.dumps({"paths": paths, "components": order}, ensure_ascii=False, separators=(",", ":"))
    return File.of(f"{text}\n".encode(), "application/json", NOTHING)


@lru_cache(maxsize=8)
def training_data_document(app: FastAPI) -> File:
    parameters = app.openapi()["paths"]["/training-data/{name}"]["put"]["parameters"]
    options = [each for each in parameters if each["in"] == "query"]
    text = json.dumps({"parameters": options}, ensure_ascii=False, separators=(",", ":"))
    return File.of(f"{text}\n".encode(), "application/json", NOTHING)


async def answer(request: Request, file: File | None) -> Response:
    if file is None:
        raise HTTPException(404)
    if TAKES_GZIP.search(request.headers.get("accept-encoding", "")):
        file = await packed(file)
    unchanged = conditional.not_modified(file.headers, request.headers.get("if-none-match"))
    return unchanged or Response(file.data, headers=file.headers)


async def packed(file: File) -> File:
    """Compress a file in a thread on first use: Swagger UI takes a twentieth of a second."""
    if "packed" not in vars(file):
        return await anyio.to_thread.run_sync(lambda: file.packed)
    return file.packed
