"""Partial content: the `Range` header (RFC 9110, section 14)."""

import re
from typing import NamedTuple

from models.errors import InvalidInput


class NoSuchRange(InvalidInput, code="range-not-satisfiable"):
    """The requested range is outside of the file. The message gives the size of the file."""

    def __init__(self, size: int) -> None:
        super().__init__(f"the requested range is outside of the file, which has {size} bytes")
        self.headers = {"Content-Range": f"bytes */{size}"}


class Cut(NamedTuple):
    """Bytes `start` up to but excluding `end`."""

    start: int
    end: int

    def content_range(self, size: int) -> str:
        return f"bytes {self.start}-{self.end - 1}/{size}"


def wanted(asked: str | None, size: int) -> Cut | None:
    """Parse a `Range` header for a file of `size` bytes.

    Returns None for the whole file: if the header is missing, malformed or has several ranges. Raises NoSuchRange.
    """
    match = re.fullmatch(r"\s*bytes\s*=\s*(\d{0,19})-(\d{0,19})\s*", asked or "", re.ASCII)
    if match is None or not (match[1] or match[2]):
        return None
    if not match[1]:
        cut = Cut(max(0, size - int(match[2])), size)
    else:
        cut = Cut(int(match[1]), min(size, int(match[2]) + 1) if match[2] else size)
        if match[2] and int(match[2]) < int(match[1]):
            return None
    if cut.start >= cut.end:
        raise NoSuchRange(size)
    return cut
