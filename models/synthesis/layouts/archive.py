"""Zip archives that are written piece by piece, to a stream. They contain no time."""

import io
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

LEVEL = 1  # a level of 6 takes twice the time and saves a tenth of the bytes
DEFLATER = f"zlib {zlib.ZLIB_RUNTIME_VERSION}"


class Member(NamedTuple):
    name: str
    content: Iterable[bytes]
    is_packed: bool = False  # whether compression would not make it smaller


class Sink(io.RawIOBase):
    """A file that can only be written; `taken` returns what was written since the last call."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        self._pieces.append(bytes(data))
        return len(self._pieces[-1])

    def taken(self) -> bytes:
        data = b"".join(self._pieces)
        self._pieces.clear()
        return data


def write_zip(members: Iterable[Member]) -> Iterator[bytes]:
    """Yield a zip archive. The content of a member is read while the archive is written."""
    sink = Sink()
    with zipfile.ZipFile(sink, "w") as archive:
        for member in members:
            with archive.open(entry(member), "w", force_zip64=True) as file:
                for piece in member.content:
                    file.write(piece)
                    if data := sink.taken():
                        yield data
    yield sink.taken()


def entry(member: Member) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(member.name)
    info.create_system = 3  # Unix, for the permissions
    info.external_attr = 0o644 << 16
    if not member.is_packed:
        info.compress_type = zipfile.ZIP_DEFLATED
        setattr(info, "_compresslevel", LEVEL)  # noqa: B010  # `compress_level` in Python 3.13
    return info
