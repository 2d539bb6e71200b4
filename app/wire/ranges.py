"""Parts of a file, as `Range` asks for them (RFC 9110, section 14)."""

import re
from typing import NamedTuple


class NoSuchRange(Exception):
    """Nothing of the file is in the range that was asked for. The message says how long the file is."""

    def __init__(self, size: int) -> None:
        super().__init__(f"there is no such range: the file has {size} bytes")
        self.size = size


class Cut(NamedTuple):
    """Bytes `start` to `end`, which is not among them."""

    start: int
    end: int

    def told(self, size: int) -> str:
        return f"bytes {self.start}-{self.end - 1}/{size}"


def wanted(asked: str | None, size: int) -> Cut | None:
    """Find what is to be sent; None where that is the whole file: what cannot be understood, or names several parts.

    Raises NoSuchRange.
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
