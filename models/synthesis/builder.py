"""Generated data sets: digits in the four files that every loader of MNIST reads. Free of torch.

    <folder>/{train,t10k}-images-idx3-ubyte.gz, {train,t10k}-labels-idx1-ubyte.gz
    <folder>/{train,t10k}-redraws-idx1-ubyte.gz     if digits are verified
    <folder>/manifest.json      description and checksums; written last
    <folder>/parts/             the digits drawn so far; deleted after the manifest is written

Labels repeat from 0 to K - 1, so each digit has an address: example k of a split is digit `first + k // K` of label
k % K. A digit that the judge refuses is drawn again at an index that is higher by `stride` and that no other example
uses; the redraws file counts these redraws. Images are drawn and stored part by part: after an interruption only the
parts are drawn that are missing, damaged, or drawn by another generator, code version or device type. The files are the
same.
"""

import hashlib
import shutil
import struct
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, NamedTuple

from models.atomic_files import replacing, write_durably
from models.bounded_reading import FileMissing, FileTooLarge, read_bounded
from models.config import IMAGE_SIZE
from models.data.catalog import DIGITS

if TYPE_CHECKING:  # numpy is slow to import, and code that only orders a data set does not need it
    import numpy as np

from models.synthesis.order import (
    MANIFEST,
    PARTS,
    DatasetFile,
    DatasetManifest,
    DatasetOrder,
    Part,
    Provenance,
    Split,
    part_limit,
    read_manifest,
)

GZIP_HEAD = (
    b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff"  # without name and time, so that the same digits give the same bytes
)
DEFLATE_END = b"\x03\x00"

# (n, first index) -> n digits of each class, labels 0 to K - 1 repeated, uint8 (n * K, 28, 28), and redraws (n * K,)
Draw = Callable[[int, int], "tuple[np.ndarray, np.ndarray]"]

# The missing parts -> each of them once: this worker draws it, unless its file is then in the folder
Share = Callable[[list["Part"]], Iterator["Part"]]

# Calls a function that makes the data set visible, if the job is still held.
Place = Callable[[Callable[[], None]], None]


# ----------------------------------------------------------------------------
# Making a data set.


def make(
    folder: Path,
    order: DatasetOrder,
    origin: Provenance,
    draw: Draw,
    share: Share = iter,
    place: Place = lambda write: write(),
    classes: Sequence[str] = DIGITS,
) -> Iterator[int]:
    """Make a data set, or its missing files. Yields the number of digits so far after each part.

    `classes` are the names of the labels that `draw` draws.

    `place` is called with a function that writes the manifest; it may raise an error instead of calling that function.
    If the caller stops the iteration, the next call reuses the finished files. Raises OSError if the disk is full.
    """
    if read_manifest(folder) is not None:
        return
    done, missing, helpers = 0, list[Part](), Counter[str]()
    splits = order.splits_of(len(classes))
    for part in order.parts_of(len(classes)):
        if (kept := read_part(part_path(folder, part), part, origin)) is None:
            missing.append(part)
        else:
            helpers.update(kept.origin.helpers)
            done += part.digits
            yield done
    for part in share(missing):
        if (kept := read_part(part_path(folder, part), part, origin)) is None:
            write_durably(part_path(folder, part), pack_part(origin, *draw(part.n, part.first)))
        else:
            helpers.update(kept.origin.helpers)
        done += part.digits
        yield done
    files: dict[str, DatasetFile] = {}
    for split in splits:
        files[split.images] = write_images(folder, split, origin)
        yield done
        files[split.labels] = write_bytes(folder, split, split.labels, bytes(range(split.classes)) * split.n)
        if order.verify is not None:
            redraws = b"".join(kept_part(folder, part, origin).redraws for part in split.parts)
            files[split.redraws] = write_bytes(folder, split, split.redraws, redraws)
        yield done
    made_by = dict(origin) | {"helpers": dict(helpers)}
    named = {"order": order, "created_at": datetime.now(UTC), "files": files, "classes": list(classes)}
    manifest = DatasetManifest.model_validate({**named, **made_by})
    place(lambda: write_durably(folder / MANIFEST, manifest.model_dump_json(indent=2).encode()))
    shutil.rmtree(folder / PARTS, ignore_errors=True)


def part_path(folder: Path, part: Part) -> Path:
    return folder / PARTS / part.name


class KeptPart(NamedTuple):
    origin: Provenance
    redraws: bytes
    deflated: bytes  # the pixels
    pixels: bytes


def deflate(data: bytes) -> bytes:
    """Compress to a piece of a raw deflate stream that ends on a byte (RFC 1951) and refers to no earlier data."""
    stream = zlib.compressobj(6, zlib.DEFLATED, -zlib.MAX_WBITS)
    return stream.compress(data) + stream.flush(zlib.Z_FULL_FLUSH)


def pack_part(origin: Provenance, digits: "np.ndarray", redraws: "np.ndarray") -> bytes:
    """Serialise a part: a line of JSON (its origin), then a checksum of the rest, redraws, and deflated pixels.

    `redraws` takes one byte for each digit.
    """
    pixels, redrawn = digits.tobytes(), redraws.astype("uint8").tobytes()
    head = origin.model_dump_json().encode() + b"\n"
    return head + struct.pack("<I", zlib.crc32(pixels, zlib.crc32(redrawn))) + redrawn + deflate(pixels)


def read_part(path: Path, part: Part, origin: Provenance) -> KeptPart | None:
    """Read a part; None if it is missing, damaged, or drawn by another generator, code version or device type."""
    try:
        return unpack_part(read_bounded(path, part_limit(part)), part, origin)
    except (FileMissing, FileTooLarge):
        return None


def unpack_part(data: bytes, part: Part, origin: Provenance) -> KeptPart | None:
    """Parse a part; None if it is damaged, or drawn by another generator, code version or device type."""
    size = part.digits * IMAGE_SIZE**2
    head, _, body = data.partition(b"\n")
    redraws, deflated = body[4 : 4 + part.digits], body[4 + part.digits :]
    try:
        drawn_by = Provenance.model_validate_json(head)
        pixels = zlib.decompressobj(-zlib.MAX_WBITS).decompress(deflated, size + 1)
    except (ValueError, zlib.error):
        return None
    intact = len(pixels) == size and body[:4] == struct.pack("<I", zlib.crc32(pixels, zlib.crc32(redraws)))
    return KeptPart(drawn_by, redraws, deflated, pixels) if intact and drawn_by.draws_like(origin) else None


def kept_part(folder: Path, part: Part, origin: Provenance) -> KeptPart:
    kept = read_part(part_path(folder, part), part, origin)
    if kept is None:
        raise OSError(f"part {part.name} was damaged after it was drawn: resume the job to draw it again")
    return kept


def write_images(folder: Path, split: Split, origin: Provenance) -> DatasetFile:
    with writing_gzip(folder / split.images) as file:
        file.add(struct.pack(">IIII", 0x0803, split.examples, IMAGE_SIZE, IMAGE_SIZE))
        for part in split.parts:
            kept = kept_part(folder, part, origin)
            file.add(kept.pixels, kept.deflated)
    return file.record(split)


def write_bytes(folder: Path, split: Split, name: str, data: bytes) -> DatasetFile:
    """Write an IDX file with one byte for each example."""
    with writing_gzip(folder / name) as file:
        file.add(struct.pack(">II", 0x0801, split.examples))
        file.add(data)
    return file.record(split)


@contextmanager
def writing_gzip(path: Path) -> Iterator["GzipWriter"]:
    """Write a gzip file, which appears only when the block has ended. Two workers may write the same file at once."""
    with replacing(path) as file:
        writer = GzipWriter(file)
        yield writer
        writer.finish()


class GzipWriter:
    """Writes a gzip file, and computes its checksums."""

    def __init__(self, file: BinaryIO) -> None:
        self.packed, self.unpacked = hashlib.sha256(), hashlib.sha256()
        self.size = self.length = self.crc = 0
        self._file = file
        self._write(GZIP_HEAD)

    def add(self, data: bytes, deflated: bytes | None = None) -> None:
        """Append bytes; `deflated` is their compressed form, if it exists already."""
        self.unpacked.update(data)
        self.crc = zlib.crc32(data, self.crc)
        self.length += len(data)
        self._write(deflate(data) if deflated is None else deflated)

    def _write(self, data: bytes) -> None:
        self.packed.update(data)
        self.size += len(data)
        self._file.write(data)

    def finish(self) -> None:
        self._write(DEFLATE_END + struct.pack("<II", self.crc, self.length % 2**32))

    def record(self, split: Split) -> DatasetFile:
        return DatasetFile(
            sha256=self.packed.hexdigest(),
            size=self.size,
            unpacked_sha256=self.unpacked.hexdigest(),
            examples=split.examples,
            first_index=split.first,
        )
