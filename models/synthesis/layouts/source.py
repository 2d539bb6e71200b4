"""Reads the files of a finished data set piece by piece, for layouts. Memory does not depend on its size."""

import hashlib
import zlib
from collections.abc import Callable, Iterable, Iterator
from math import prod
from typing import NamedTuple

from models.bounded_reading import PIECE, WINDOW, FileDamaged, FileTorn
from models.config import IMAGE_SIZE
from models.synthesis.order import DatasetManifest, Split


class DatasetSource(NamedTuple):
    """A finished data set. `read` gets a file's name, the first byte, and the byte after the last one."""

    manifest: DatasetManifest
    read: Callable[[str, int, int], bytes]

    def stored(self, name: str) -> Iterator[bytes]:
        """Yield a file as it is stored. Raises FileDamaged, after the last piece, and the errors of `read`."""
        file, checksum = self.manifest.files[name], hashlib.sha256()
        for start in range(0, file.size, PIECE):
            piece = self.read(name, start, min(start + PIECE, file.size))
            checksum.update(piece)
            yield piece
        if checksum.hexdigest() != file.sha256:
            raise FileDamaged(f"{name} of a data set does not match its checksum")

    def unpacked(self, name: str) -> Iterator[bytes]:
        """Yield the content of a gzip file. Raises FileTorn, FileDamaged and the errors of `read`."""
        stream = zlib.decompressobj(WINDOW)
        try:
            for pending in self.stored(name):
                piece = stream.decompress(pending, PIECE)
                while piece:
                    yield piece
                    piece = stream.decompress(stream.unconsumed_tail, PIECE)
        except zlib.error as error:
            raise FileTorn(f"{name} of a data set is a damaged gzip file: {error}") from error
        if not stream.eof:
            raise FileTorn(f"{name} of a data set ends early")

    def images(self, split: Split, digits: int) -> Iterator[bytes]:
        """Yield the pixels of a split, `digits` digits of 784 bytes at once. Raises the errors of `unpacked`."""
        return self._values(split.images, (split.examples, IMAGE_SIZE, IMAGE_SIZE), digits)

    def labels(self, split: Split, digits: int) -> Iterator[bytes]:
        """Yield the labels of a split, `digits` bytes at once. Raises the errors of `unpacked`."""
        return self._values(split.labels, (split.examples,), digits)

    def _values(self, name: str, shape: tuple[int, ...], digits: int) -> Iterator[bytes]:
        from models.data.idx import idx_header  # loads numpy

        header, left = idx_header(shape), prod(shape)
        pieces = regrouped(self.unpacked(name), len(header), digits * prod(shape[1:]))
        if next(pieces, b"") != header:
            raise FileDamaged(f"{name} of a data set does not have the shape {shape}")
        for piece in pieces:
            left -= len(piece)
            yield piece
        if left:
            raise FileDamaged(f"{name} of a data set has {abs(left)} bytes too {'few' if left > 0 else 'many'}")


def regrouped(pieces: Iterable[bytes], head: int, size: int) -> Iterator[bytes]:
    """Yield the same bytes: first a piece of `head` bytes, then pieces of `size` bytes; the last may be shorter."""
    pending, wanted = bytearray(), head
    for piece in pieces:
        pending += piece
        while len(pending) >= wanted:
            yield bytes(pending[:wanted])
            del pending[:wanted]
            wanted = size
    if pending:
        yield bytes(pending)
