"""Generated data sets: digits in the four files that every loader of MNIST reads. Free of torch.

    <folder>/{train,t10k}-images-idx3-ubyte.gz, {train,t10k}-labels-idx1-ubyte.gz
    <folder>/{train,t10k}-redraws-idx1-ubyte.gz     if digits are verified
    <folder>/manifest.json      description and checksums; written last
    <folder>/parts/             the digits drawn so far; deleted after the manifest is written

Labels repeat from 0 to 9, so each digit has an address: example k of a split is digit `first + k // 10` of label
k % 10. A digit that the judge refuses is drawn again `stride` indices further, at an index that no other example uses;
the redraws file holds how often. Images are drawn and stored part by part: after an interruption only the parts that
are missing or damaged are drawn, and the files are the same.
"""

import hashlib
import os
import re
import shutil
import struct
import zlib
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, BinaryIO, NamedTuple

from pydantic import BaseModel, ConfigDict, Field

from models.atomic_files import sync_folder, write_durably
from models.bounded_reading import FileMissing, FileTooLarge, parse_record, printable, read_bounded
from models.config import IMAGE_SIZE, NUM_CLASSES, WHOLE

if TYPE_CHECKING:  # numpy is slow to import, and code that only orders a data set does not need it
    import numpy as np

MANIFEST = "manifest.json"
MANIFEST_LIMIT = 1 << 20  # bytes; one has 3 KB
PARTS = "parts"
PART = 500  # digits of each class in a part: about a second of drawing
MOST = 500_000  # digits of each class: five million in total

# An IDX file is one gzip member (RFC 1952). Its deflate stream joins those of the parts, each flushed to a whole byte.
GZIP_HEAD = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff"  # no name, no time: the same digits are the same bytes
DEFLATE_END = b"\x03\x00"

# (n, first index) -> n digits of each class, labels 0 to 9 repeated, uint8 (n * 10, 28, 28), and redraws (n * 10,)
Draw = Callable[[int, int], "tuple[np.ndarray, np.ndarray]"]

# The missing parts -> each of them once, as soon as this worker is to draw it or another worker has drawn it
Share = Callable[[list["Part"]], Iterator["Part"]]

# Calls a function that makes the data set visible, if the job is still held.
Place = Callable[[Callable[[], None]], None]


class DatasetOrder(BaseModel):
    """Which digits to generate."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

    per_class: Annotated[int, Field(ge=1, le=MOST), WHOLE] = Field(6000, description="Training digits of each class.")
    test_per_class: Annotated[int, Field(ge=1, le=MOST), WHOLE] = Field(
        1000, description="Test digits of each class. Their indices follow those of the training digits."
    )
    seed: Annotated[int, Field(ge=0, lt=2**53), WHOLE] = Field(
        1, description="Random seed. The same seed always gives the same digits."
    )
    checkpoint: Annotated[str, Field(max_length=100)] = Field(
        "latest", description="Checkpoint that draws: `latest`, `best`, or an id. Resolved when the order is accepted."
    )
    verify: Annotated[float, Field(ge=0, le=1)] | None = Field(
        None, description="Least probability that the judge must give to the label of a digit; others are drawn again."
    )

    @property
    def splits(self) -> "list[Split]":
        return [Split("train", self.per_class, 0), Split("t10k", self.test_per_class, self.per_class)]

    @property
    def parts(self) -> "list[Part]":
        return [part for split in self.splits for part in split.parts]

    @property
    def stride(self) -> int:
        """Distance between the index of a digit and that of its first redraw."""
        return self.per_class + self.test_per_class

    @property
    def digits(self) -> int:
        return self.stride * NUM_CLASSES


class Split(NamedTuple):
    name: str
    n: int  # of each class
    first: int  # index

    @property
    def parts(self) -> "list[Part]":
        starts = range(0, self.n, PART)
        return [Part(f"{self.name}-{at:07d}", self.first + at, min(PART, self.n - at)) for at in starts]

    @property
    def images(self) -> str:
        return f"{self.name}-images-idx3-ubyte.gz"

    @property
    def labels(self) -> str:
        return f"{self.name}-labels-idx1-ubyte.gz"

    @property
    def redraws(self) -> str:
        return f"{self.name}-redraws-idx1-ubyte.gz"


class Part(NamedTuple):
    name: str
    first: int  # index
    n: int  # of each class

    @property
    def digits(self) -> int:
        return self.n * NUM_CLASSES


class DatasetFile(BaseModel):
    sha256: str = Field(description="Of the file as stored.")
    size: int = Field(description="In bytes.")
    unpacked_sha256: str = Field(description="Of the uncompressed content, which does not depend on the compressor.")
    examples: int
    first_index: int = Field(
        description="Example k is digit first_index + k // 10 of label k % 10; if it was drawn again r times, "
        "its index is r * (per_class + test_per_class) higher."
    )


class Origin(BaseModel):
    """The generator, devices and code that drew a data set."""

    generator_sha256: str
    device: str
    helpers: dict[str, int] = Field({}, description="Devices of helping workers: parts drawn on each.")
    code_version: str


class DatasetManifest(Origin):
    """Description of a generated data set: its order, origin and files."""

    model_config = ConfigDict(extra="ignore")

    order: DatasetOrder
    created_at: datetime
    files: dict[str, DatasetFile]


FILES = [name for split in DatasetOrder().splits for name in (split.images, split.labels, split.redraws)]


class InvalidFiles(ValueError):
    """A manifest names files, sizes or checksums that no data set can have. The message says which."""


def check_files(manifest: DatasetManifest) -> dict[str, DatasetFile]:
    """Return the files of a manifest from elsewhere: only the names above, and sizes that its order can lead to.

    Raises InvalidFiles.
    """
    for name, file in manifest.files.items():
        split = next((split for split in manifest.order.splits if name.startswith(f"{split.name}-")), None)
        if split is None or name not in FILES:
            raise InvalidFiles(f"a file {printable(name[:100])!r}")
        if not 0 <= file.size <= file_limit(split, name):
            raise InvalidFiles(f"{name} of {file.size:,} bytes")
        if re.fullmatch(r"[0-9a-f]{64}", file.sha256) is None:
            raise InvalidFiles(f"{name} with a checksum that is no SHA-256")
    if not manifest.files:
        raise InvalidFiles("no files")
    return manifest.files


def file_limit(split: Split, name: str) -> int:
    """The most bytes that a file of a split can have, packed."""
    parts = sum(part_limit(part) for part in split.parts)
    return 1024 + (parts if name == split.images else 2 * split.n * NUM_CLASSES)


def read_manifest(folder: Path) -> DatasetManifest | None:
    """Read the manifest of a data set; None if the data set is not finished. Raises FileFault."""
    try:
        data = read_bounded(folder / MANIFEST, MANIFEST_LIMIT)
        return parse_record(DatasetManifest, data, MANIFEST_LIMIT, str(folder / MANIFEST))
    except FileMissing:
        return None


# ----------------------------------------------------------------------------
# Making a data set.


def make(
    folder: Path,
    order: DatasetOrder,
    origin: Origin,
    draw: Draw,
    share: Share = iter,
    place: Place = lambda write: write(),
) -> Iterator[int]:
    """Make a data set, or its missing files. Yields the number of digits so far after each part.

    `place` is called with a function that writes the manifest, and may raise instead of calling it.
    If the caller takes no further step, the next call uses what was made. Raises OSError if the disk is full.
    """
    if read_manifest(folder) is not None:
        return
    done, missing = 0, list[Part]()
    for part in order.parts:
        if read_part(part_path(folder, part), part) is None:
            missing.append(part)
        else:
            done += part.digits
            yield done
    for part in share(missing):
        if read_part(part_path(folder, part), part) is None:
            write_durably(part_path(folder, part), pack_part(*draw(part.n, part.first)))
        done += part.digits
        yield done
    files: dict[str, DatasetFile] = {}
    for split in order.splits:
        files[split.images] = write_images(folder, split)
        yield done
        files[split.labels] = write_bytes(folder, split, split.labels, bytes(range(NUM_CLASSES)) * split.n)
        if order.verify is not None:
            redraws = b"".join(kept_part(folder, part).redraws for part in split.parts)
            files[split.redraws] = write_bytes(folder, split, split.redraws, redraws)
        yield done
    manifest = DatasetManifest(order=order, created_at=datetime.now(UTC), files=files, **dict(origin))
    place(lambda: write_durably(folder / MANIFEST, manifest.model_dump_json(indent=2).encode()))
    shutil.rmtree(folder / PARTS, ignore_errors=True)


def part_path(folder: Path, part: Part) -> Path:
    return folder / PARTS / part.name


class KeptPart(NamedTuple):
    redraws: bytes
    deflated: bytes  # the pixels
    pixels: bytes


def deflate(data: bytes) -> bytes:
    """Compress to a piece of a raw deflate stream that ends on a byte (RFC 1951) and refers to no earlier data."""
    stream = zlib.compressobj(6, zlib.DEFLATED, -zlib.MAX_WBITS)
    return stream.compress(data) + stream.flush(zlib.Z_FULL_FLUSH)


def pack_part(digits: "np.ndarray", redraws: "np.ndarray") -> bytes:
    """Serialise a part: a checksum of the rest, one byte for each digit (its redraws), the deflated pixels."""
    pixels, redrawn = digits.tobytes(), redraws.astype("uint8").tobytes()
    return struct.pack("<I", zlib.crc32(pixels, zlib.crc32(redrawn))) + redrawn + deflate(pixels)


def read_part(path: Path, part: Part) -> KeptPart | None:
    """Read a part; None if it is missing or damaged."""
    try:
        return unpack_part(read_bounded(path, part_limit(part)), part)
    except (FileMissing, FileTooLarge):
        return None


def part_limit(part: Part) -> int:
    """Return the largest size of a part in bytes: incompressible pixels grow by less than a thousandth."""
    return 1024 + part.digits * (IMAGE_SIZE**2 + 2)


def unpack_part(data: bytes, part: Part) -> KeptPart | None:
    """Parse a part; None if it is damaged."""
    size = part.digits * IMAGE_SIZE**2
    redraws, deflated = data[4 : 4 + part.digits], data[4 + part.digits :]
    try:
        pixels = zlib.decompressobj(-zlib.MAX_WBITS).decompress(deflated, size + 1)
    except zlib.error:
        return None
    intact = len(pixels) == size and data[:4] == struct.pack("<I", zlib.crc32(pixels, zlib.crc32(redraws)))
    return KeptPart(redraws, deflated, pixels) if intact else None


def kept_part(folder: Path, part: Part) -> KeptPart:
    kept = read_part(part_path(folder, part), part)
    if kept is None:
        raise OSError(f"part {part.name} was damaged after it was drawn: resume the job to draw it again")
    return kept


def write_images(folder: Path, split: Split) -> DatasetFile:
    with Packed(folder / split.images) as file:
        file.add(struct.pack(">IIII", 0x0803, split.n * NUM_CLASSES, IMAGE_SIZE, IMAGE_SIZE))
        for part in split.parts:
            kept = kept_part(folder, part)
            file.add(kept.pixels, kept.deflated)
    return file.record(split)


def write_bytes(folder: Path, split: Split, name: str, data: bytes) -> DatasetFile:
    """Write an IDX file with one byte for each example."""
    with Packed(folder / name) as file:
        file.add(struct.pack(">II", 0x0801, split.n * NUM_CLASSES))
        file.add(data)
    return file.record(split)


class Packed:
    """Context manager that writes a gzip file. The file appears only when it is complete."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.beside = path.with_name(f".{path.name}.tmp")
        self.packed, self.unpacked = hashlib.sha256(), hashlib.sha256()
        self.size = self.length = self.crc = 0
        self._file: BinaryIO

    def __enter__(self) -> "Packed":
        self._file = self.beside.open("wb")
        self._write(GZIP_HEAD)
        return self

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

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            with self._file:
                if kind is None:
                    self._write(DEFLATE_END + struct.pack("<II", self.crc, self.length % 2**32))
                    self._file.flush()
                    os.fsync(self._file.fileno())
            if kind is None:
                os.replace(self.beside, self.path)
                sync_folder(self.path.parent)
        finally:
            self.beside.unlink(missing_ok=True)

    def record(self, split: Split) -> DatasetFile:
        return DatasetFile(
            sha256=self.packed.hexdigest(),
            size=self.size,
            unpacked_sha256=self.unpacked.hexdigest(),
            examples=split.n * NUM_CLASSES,
            first_index=split.first,
        )
