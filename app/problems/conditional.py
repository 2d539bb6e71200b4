"""Conditional requests: strong ETags, and 304 for a client that has the current version (RFC 9110, section 13)."""

import hashlib
from collections.abc import Mapping
from typing import Annotated

from fastapi import Header, Response

FOR_EVER = "public, max-age=31536000, immutable"

IfNoneMatch = Annotated[str | None, Header(max_length=1000)]


def validators(content: bytes | None, immutable: bool = False) -> dict[str, str]:
    """Return the headers of a version, which is determined by `content`; None if a response is never the same again."""
    if content is None:
        return {"Cache-Control": "no-store"}
    tag = f'"{hashlib.sha256(content).hexdigest()[:32]}"'
    return {"ETag": tag, "Cache-Control": FOR_EVER if immutable else "no-cache"}


def not_modified(headers: Mapping[str, str], if_none_match: str | None) -> Response | None:
    """Return 304 with these headers if the client has the version that their `ETag` names."""
    if not if_none_match or "ETag" not in headers:
        return None
    known = {tag.strip().removeprefix("W/") for tag in if_none_match.split(",")}
    return Response(status_code=304, headers=dict(headers)) if known & {headers["ETag"], "*"} else None
