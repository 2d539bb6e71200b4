"""Data sets on order: digits as the four files that every loader of MNIST reads. Free of torch.

    <folder>/{train,t10k}-images-idx3-ubyte.gz, {train,t10k}-labels-idx1-ubyte.gz
    <folder>/{train,t10k}-redraws-idx1-ubyte.gz     where digits are verified
    <folder>/manifest.json      what they are, with their checksums; it comes last
    <folder>/parts/             what is drawn so far, until then

Digits come in turn, 0 to 9, so that each has an address: example k of a split is digit `first + k // 10` of label
k % 10. One that the judge refuses is drawn again `stride` indices further, where no other example has its place; how
often is in the file of redraws. Images are drawn and kept part by part: whoever goes on after a stop draws the parts
that are missing or damaged, and the files are the same.
"""

import hashlib
import os
import shutil
import struct
import zlib
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, BinaryIO, NamedTuple

from pydantic import BaseModel, ConfigDict, Field

from models.config import IMAGE_SIZE, NUM_CLASSES, WHOLE
from models.files import sync_folder, write_durably
from models.safe_reading import FileMissing, FileTooLarge, parse_record, read_bounded

if TYPE_CHECKING:  # takes a while to load, and whoever orders needs none
    import numpy as np

MANIFEST = "manifest.json"
MANIFEST_LIMIT = 1 << 20  # bytes; one has 3 KB
PARTS = "parts"
PART = 500  # digits of each class in a part: about a second's drawing
MOST = 500_000  # of each class: five million in all

# An IDX file is one gzip member (RFC 1952), whose deflate stream is that of the parts, each flushed to a byte's end.
GZIP_HEAD = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff"  # no name, no time: the same digits are the same bytes
DEFLATE_END = b"\x03\x00"

# (n, first index) -> n digits of each class, 0 to 9 in turn, uint8 (n * 10, 28, 28), and redraws of each (n * 10,)
Draw = Callable[[int, int], "tuple[np.ndarray, np.ndarray]"]

# The parts that are missing -> each of them once, as soon as it is either ours to draw or drawn by somebody else
Share = Callable[[list["Part"]], Iterator["Part"]]

# Calls a function that makes the data set visible, if the job is still held.
Place = Callable[[Callable[[], None]], None]


class DatasetOrder(BaseModel):
    """Which digits a data set is made of."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

    per_class: Annotated[int, Field(ge=1, le=MOST), WHOLE] = Field(6000, description="Training digits of each class.")
    test_per_class: Annotated[int, Field(ge=1, le=MOST), WHOLE] = Field(
        1000, description="Test digits of each class: those whose indices come next."
    )
    seed: Annotated[int, Field(ge=0, lt=2**53), WHOLE] = Field(1, description="The hand that writes.")
    checkpoint: Annotated[str, Field(max_length=100)] = Field(
        "latest", description="Which generator draws: `latest`, `best`, or an id. Settled when the order is taken."
    )
    verify: Annotated[float, Field(ge=0, le=1)] | None = Field(
        None, description="How probable the judge must find it that each digit is of its label; others are drawn again."
    )

    @property
    def splits(self) -> "list[Split]":
        return [Split("train", self.per_class, 0), Split("t10k", self.test_per_class, self.per_class)]

    @property
    def parts(self) -> "list[Part]":
        return [part for split in self.splits for part in split.parts]

    @property
    def stride(self) -> int:
        """Indices between a digit and the one that is drawn in its place."""
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
    sha256: str = Field(description="Of the file as it lies here.")
    size: int = Field(description="In bytes.")
    unpacked_sha256: str = Field(description="Of what is in it, which does not depend on who packed it.")
    examples: int
    first_index: int = Field(
        description="Example k is digit first_index + k // 10 of label k % 10; where it was drawn again r times, "
        "r * (per_class + test_per_class) further."
    )


class Origin(BaseModel):
    """Who draws."""

    generator_sha256: str
    device: str
    helpers: dict[str, int] = Field({}, description="Devices of workers that helped, and how many parts each drew.")
    code_version: str


class DatasetManifest(Origin):
    """What a data set is, and where it comes from."""

    model_config = ConfigDict(extra="ignore")

    order: DatasetOrder
    created_at: datetime
    files: dict[str, DatasetFile]


FILES = [name for split in DatasetOrder().splits for name in (split.images, split.labels, split.redraws)]


def read_manifest(folder: Path) -> DatasetManifest | None:
    """Read the manifest of a data set; None if it has not been made yet. Raises FileFault."""
    try:
        data = read_bounded(folder / MANIFEST, MANIFEST_LIMIT)
        return parse_record(DatasetManifest, data, MANIFEST_LIMIT, str(folder / MANIFEST))
    except FileMissing:
        return None


# ----------------------------------------------------------------------------
# Making one.


def make(
    folder: Path,
    order: DatasetOrder,
    origin: Origin,
    draw: Draw,
    share: Share = iter,
    place: Place = lambda write: write(),
) -> Iterator[int]:
    """Make a data set, or what is missing of it. Yields how many digits there are, after each part.

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
    """Compress to a piece of a raw deflate stream that ends with a byte (RFC 1951), and needs nothing before it."""
    stream = zlib.compressobj(6, zlib.DEFLATED, -zlib.MAX_WBITS)
    return stream.compress(data) + stream.flush(zlib.Z_FULL_FLUSH)


def pack_part(digits: "np.ndarray", redraws: "np.ndarray") -> bytes:
    """Lay a part out: a checksum of all, a byte a digit that tells its redraws, the deflated pixels."""
    pixels, redrawn = digits.tobytes(), redraws.astype("uint8").tobytes()
    return struct.pack("<I", zlib.crc32(pixels, zlib.crc32(redrawn))) + redrawn + deflate(pixels)


def read_part(path: Path, part: Part) -> KeptPart | None:
    """Read a part; None where it is missing or damaged."""
    try:
        return unpack_part(read_bounded(path, part_limit(part)), part)
    except (FileMissing, FileTooLarge):
        return None


def part_limit(part: Part) -> int:
    """The most bytes a part can have: pixels that do not compress grow by less than a thousandth."""
    return 1024 + part.digits * (IMAGE_SIZE**2 + 2)


def unpack_part(data: bytes, part: Part) -> KeptPart | None:
    """Take a part apart; None where it is damaged."""
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
        raise OSError(f"part {part.name} was damaged since it was drawn: resume the job to have it drawn again")
    return kept


def write_images(folder: Path, split: Split) -> DatasetFile:
    with Packed(folder / split.images) as file:
        file.add(struct.pack(">IIII", 0x0803, split.n * NUM_CLASSES, IMAGE_SIZE, IMAGE_SIZE))
        for part in split.parts:
            kept = kept_part(folder, part)
            file.add(kept.pixels, kept.deflated)
    return file.record(split)


def write_bytes(folder: Path, split: Split, name: str, data: bytes) -> DatasetFile:
    """Write a byte an example."""
    with Packed(folder / name) as file:
        file.add(struct.pack(">II", 0x0801, split.n * NUM_CLASSES))
        file.add(data)
    return file.record(split)


class Packed:
    """A gzip file in the making, there whole or not at all. A context."""

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
        """Add bytes, which may be deflated already."""
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
