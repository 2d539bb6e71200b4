"""Sends files, or the ranges that requests ask for, piece by piece. A whole file is checked against its SHA-256.

The last piece is read, and the checksum compared, before it is sent: a client never receives a damaged file completely.
"""

import base64
import hashlib
import re
from collections.abc import Awaitable, Callable, Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Annotated, Any, NamedTuple

import anyio.to_thread
from fastapi import Depends, Header, Response
from fastapi.responses import StreamingResponse
from pydantic import BaseModel
from starlette.types import Receive, Scope, Send

from app.api.openapi.headers import sends
from app.problems import conditional, ranges
from app.problems.conditional import IfNoneMatch

PIECE = 2**20  # bytes
SHA256 = re.compile("[0-9a-f]{64}")


class Conditions(NamedTuple):
    """The headers of a request that decide which part of a file is sent, or none."""

    if_none_match: str | None
    range: str | None
    if_range: str | None


async def conditions(
    if_none_match: IfNoneMatch = None,
    range_: Annotated[str | None, Header(alias="Range", include_in_schema=False)] = None,
    if_range: Annotated[str | None, Header(include_in_schema=False)] = None,
) -> Conditions:
    return Conditions(if_none_match, range_, if_range)


ConditionsDep = Annotated[Conditions, Depends(conditions)]


@dataclass(frozen=True)
class Content:
    """A file to send. `read`, with the first byte and the one after the last, is called in a thread."""

    name: str  # for messages
    size: int  # bytes
    sha256: str
    read: Callable[[int, int], bytes]
    media_type: str
    headers: dict[str, str]  # an ETag among them
    fault: Callable[[str], Exception] = OSError  # raised with a message if the bytes do not agree with size and SHA-256
    being_read: Callable[[], AbstractContextManager[None]] = field(default=nullcontext)


def of_bytes(name: str, data: bytes, sha256: str, media_type: str, headers: dict[str, str]) -> Content:
    return Content(name, len(data), sha256, lambda start, end: data[start:end], media_type, headers)


def described(
    file: str, media_types: Iterable[str], model: type[BaseModel] | None = None, headers: Iterable[str] = ()
) -> dict[int | str, dict[str, Any]]:
    """Return the responses of a route that sends files, for OpenAPI.

    `file` describes what it sends, `model` its JSON files. `headers` are those that also a 304 has.
    """
    json: dict[str, Any] = {"model": model} if model else {}
    content: dict[str, dict[str, Any]] = {media_type: {} for media_type in media_types}
    sent = sends("Repr-Digest", *headers)
    return {
        200: {**json, "content": deepcopy(content), "description": file, **sent},
        206: {"content": content, "description": "The part of the file that `Range` requests.", **sent},
        304: {"description": "Not modified.", **sends(*headers)},
    }


async def deliver(content: Content, asked: Conditions, check: Callable[[], Awaitable[None]] | None = None) -> Response:
    """Return 200, 206 or 304. Awaits `check` before the first byte is read. Raises NoSuchRange.

    Raises the errors of `check`, of reading, and the content's `fault`. After the response has begun, these errors end
    the connection.
    """
    if not SHA256.fullmatch(content.sha256):
        raise content.fault(f"the manifest has no SHA-256 of {content.name}")
    digest = base64.b64encode(bytes.fromhex(content.sha256)).decode()
    if unchanged := conditional.not_modified(content.headers, asked.if_none_match):
        return unchanged
    headers = {**content.headers, "Accept-Ranges": "bytes", "Repr-Digest": f"sha-256=:{digest}:"}
    cut = ranges.wanted(asked.range, content.size) if asked.if_range in (None, headers["ETag"]) else None
    pieces = Pieces(content, cut or ranges.Cut(0, content.size))
    if check is not None:
        await check()
    first = await anyio.to_thread.run_sync(pieces.read)
    headers |= {"Content-Length": str(pieces.length)}
    headers |= {"Content-Range": cut.content_range(content.size)} if cut else {}
    return Download(content.being_read, pieces.after(first), 206 if cut else 200, headers, content.media_type)


class Download(StreamingResponse):
    """Prevents deletion of the file until the last byte has been sent."""

    def __init__(self, being_read: Callable[[], AbstractContextManager[None]], *response: Any) -> None:
        super().__init__(*response)
        self.being_read = being_read

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        with self.being_read():
            await super().__call__(scope, receive, send)


class Pieces:
    """A file, or a range of it, read piece by piece."""

    def __init__(self, content: Content, cut: ranges.Cut) -> None:
        self.content = content
        self.at, self.end = cut
        self.length = self.end - self.at
        self.sha256 = hashlib.sha256() if self.length == content.size else None

    def read(self) -> bytes:
        """Return the next piece. Raises the content's `fault` if it is short, or the last of a file that is damaged."""
        until = min(self.end, self.at + PIECE)
        piece = self.content.read(self.at, until)
        if len(piece) != until - self.at:
            raise self.content.fault(f"{self.content.name} is damaged: it is shorter than in its manifest")
        self.at = until
        if self.sha256 is not None:
            self.sha256.update(piece)
            if self.at == self.end and self.sha256.hexdigest() != self.content.sha256:
                raise self.content.fault(f"{self.content.name} is damaged: its checksum differs")
        return piece

    def after(self, piece: bytes) -> Iterator[bytes]:
        """Yield `piece`, then the rest of the file. Starlette reads each piece in a thread."""
        yield piece
        while self.at < self.end:
            yield self.read()
