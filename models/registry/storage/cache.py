"""A local cache of object storage with a byte budget. Every copy is verified by its checksum when it is read."""

import hashlib
import os
from contextlib import suppress
from pathlib import Path

from models.atomic_files import names_in, replacing

SUM = 32  # bytes of SHA-256 before the data


class Cache:
    """A cache folder that processes share. Errors count as a missing copy."""

    def __init__(self, folder: Path, limit: int) -> None:
        self.folder = folder
        self.limit = limit

    def get(self, key: str, limit: int | None = None) -> bytes | None:
        """Return the copy; None if there is none, it has more than `limit` bytes or is damaged."""
        path = self._path(key)
        with suppress(OSError):
            with path.open("rb") as file:
                size = os.fstat(file.fileno()).st_size
                kept = b"" if limit is not None and size > SUM + limit else file.read(size)
            data = kept[SUM:]
            if hashlib.sha256(data).digest() == kept[:SUM]:
                os.utime(path)  # recently used copies are kept longest
                return data
            path.unlink(missing_ok=True)
        return None

    def part(self, key: str, start: int, end: int | None) -> bytes | None:
        """Return bytes `start` to `end` of the copy, as `get` verified or `keep` wrote it; None if there is none."""
        with suppress(OSError), self._path(key).open("rb") as file:
            file.seek(SUM + start)
            return file.read(-1 if end is None else end - start)
        return None

    def keep(self, key: str, data: bytes) -> None:
        """Store a copy, unless it alone exceeds the budget, and delete the least recently used ones."""
        if SUM + len(data) > self.limit:
            return
        with suppress(OSError):
            with replacing(self._path(key), 0o600, is_durable=False) as file:
                file.write(hashlib.sha256(data).digest() + data)
            self._make_room()

    def forget(self, key: str) -> None:
        with suppress(OSError):
            self._path(key).unlink(missing_ok=True)

    def _make_room(self) -> None:
        kept = list[tuple[int, int, Path]]()
        for path in [self.folder / name for name in names_in(self.folder)]:
            with suppress(FileNotFoundError):  # another process has deleted or renamed it
                found = path.stat()
                kept.append((found.st_mtime_ns, found.st_size, path))
        total = sum(size for _, size, _ in kept)
        for _, size, path in sorted(kept):
            if total <= self.limit:
                return
            path.unlink(missing_ok=True)
            total -= size

    def _path(self, key: str) -> Path:
        return self.folder / hashlib.sha256(key.encode()).hexdigest()
