"""Strong ETags, and the comparison with `If-None-Match` (RFC 9110, section 13.1.2)."""

import hashlib


def name(what_decides_it: bytes) -> str:
    return f'"{hashlib.sha256(what_decides_it).hexdigest()[:32]}"'


def is_known(tag: str, if_none_match: str | None) -> bool:
    if not if_none_match:
        return False
    known = {one.strip().removeprefix("W/") for one in if_none_match.split(",")}
    return bool(known & {tag, "*"})
