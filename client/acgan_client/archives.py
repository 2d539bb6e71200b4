"""Data sets in other layouts: unpacks the archives of the service. Files appear only if the whole archive is intact."""

import filecmp
import struct
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import BinaryIO, Literal, NamedTuple

from acgan_client.downloads import Arrival, beside, open_new
from acgan_client.errors import Misconfigured, NotUnderstood, printable
from acgan_client.records import DatasetManifest

Layout = Literal["mnist", "torchvision", "keras", "huggingface"]

PIECE = 1 << 20
DIGIT_BYTES = 1200  # at most, of one digit in any layout
OTHER_BYTES = 1 << 20
DIRECTORY_BYTES, ENTRIES = 10_000, 10  # of the archives of the service; zipfile reads the whole directory into memory
END, END_64, LOCATOR = struct.Struct("<4s4H2LH"), struct.Struct("<4sQ2H2L4Q"), struct.Struct("<4sLQL")
END_MARK, LOCATOR_MARK = b"PK\x05\x06", b"PK\x06\x07"
STRANGE = "the archive of the data set arrived damaged, or has files that it cannot have: download it again"
DAMAGE = (zipfile.BadZipFile, zlib.error, struct.error, EOFError, ValueError, RuntimeError, KeyError, OSError)


class Contents(NamedTuple):
    """What the archive of a layout has: `names` of its files, or of the members of one file that is not unpacked."""

    names: tuple[str, ...]
    kept_as: str = ""


CONTENTS = {
    "torchvision": Contents(
        tuple(
            f"MNIST/raw/{split}-{what}-ubyte" for split in ("train", "t10k") for what in ("images-idx3", "labels-idx1")
        )
    ),
    "keras": Contents(("x_train.npy", "y_train.npy", "x_test.npy", "y_test.npy"), kept_as="mnist.npz"),
    "huggingface": Contents(
        ("README.md", "data/train-00000-of-00001.parquet", "data/test-00000-of-00001.parquet"),
    ),
}
OWN_FILES = {"README.md"}  # names that files of the user often have: never replaced


def contents_of(layout: str) -> Contents:
    """Raises Misconfigured for a layout that this client does not know."""
    if layout not in CONTENTS:
        known = ", ".join(["mnist", *CONTENTS])
        raise Misconfigured(f"there is no layout {printable(layout[:100])!r}: choose one of {known}")
    return CONTENTS[layout]


class ArchiveArrival(Arrival):
    """A partial download of an archive."""

    def __init__(self, folder: Path, layout: str, manifest: DatasetManifest) -> None:
        self.contents = contents_of(layout)
        self.folder = folder
        self.files: tuple[Path, ...] = ()
        folder.mkdir(parents=True, exist_ok=True)
        super().__init__(
            folder / (self.contents.kept_as or f"{layout}.zip"), OTHER_BYTES + manifest.images * DIGIT_BYTES
        )

    def unpack(self) -> None:
        """Write the files of the data set: `files`. Raises NotUnderstood if the archive is damaged.

        Files that exist with the same content are kept. Raises Misconfigured if another file has the name README.md.
        """
        self.file.close()
        with self.so_far.open("rb") as file:
            if not self.contents.kept_as:
                self.files = unpack(file, self.contents.names, self.folder, self.limit)
                return
            for _ in pieces_of(file, self.contents.names, self.limit):
                pass
        self.so_far.replace(self.path)
        self.files = (self.path,)


@contextmanager
def arriving_archive(folder: Path, layout: str, manifest: DatasetManifest) -> Iterator[ArchiveArrival]:
    """Download an archive piece by piece, and unpack it in the block. No part of it remains."""
    arrival = ArchiveArrival(folder, layout, manifest)
    try:
        with arrival.file:
            yield arrival
    finally:
        with suppress(OSError):
            arrival.so_far.unlink(missing_ok=True)


def unpack(file: BinaryIO, names: tuple[str, ...], folder: Path, limit: int) -> tuple[Path, ...]:
    """Write the members of an archive below `folder`: all of them, or none. A link at a path is replaced."""
    paths = {name: folder / name for name in names}
    arrived = {name: beside(path) for name, path in paths.items()}
    try:
        for name, pieces in groupby(pieces_of(file, names, limit), key=itemgetter(0)):
            paths[name].parent.mkdir(parents=True, exist_ok=True)
            with open_new(arrived[name]) as target:
                target.writelines(piece for _, piece in pieces)
        place(paths, arrived)
    finally:
        for path in arrived.values():
            with suppress(OSError):
                path.unlink(missing_ok=True)
    return tuple(paths.values())


def place(paths: dict[str, Path], arrived: dict[str, Path]) -> None:
    """Give arrived files their names, except those that exist with the same content. Raises Misconfigured."""
    new = [name for name, path in paths.items() if not is_same(path, arrived[name])]
    for name in OWN_FILES.intersection(new):
        if paths[name].exists():
            raise Misconfigured(f"{paths[name]} exists and is another file: choose an empty folder")
    for name in new:
        arrived[name].replace(paths[name])


def is_same(path: Path, arrived: Path) -> bool:
    return path.is_file() and not path.is_symlink() and filecmp.cmp(path, arrived, shallow=False)


# ----------------------------------------------------------------------------
# Reading an archive of an untrusted server.


def pieces_of(file: BinaryIO, names: tuple[str, ...], limit: int) -> Iterator[tuple[str, bytes]]:
    """Yield each member's content in pieces, with its name; an empty member has one empty piece.

    Raises NotUnderstood if the archive is damaged, does not have exactly these members, or unpacks to more than `limit`
    bytes.
    """
    with damage_in_a_sentence():
        check_directory(file)
        archive = zipfile.ZipFile(file)
        members = archive.infolist()
        packed = {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED}
        is_known = sorted(member.filename for member in members) == sorted(names)
        if not is_known or not {member.compress_type for member in members} <= packed:
            raise NotUnderstood(STRANGE)
    if sum(member.file_size for member in members) > limit:
        raise NotUnderstood(f"the archive of the data set unpacks to more than {limit:,} bytes")
    for member in members:
        yield member.filename, b""
        with damage_in_a_sentence():
            content = archive.open(member)
        while True:
            with damage_in_a_sentence():
                piece = content.read(PIECE)
            if not piece:
                break
            yield member.filename, piece


def check_directory(file: BinaryIO) -> None:
    """Raises NotUnderstood if the directory at the end of an archive is larger than a data set can have.

    See APPNOTE.TXT of PKWARE, 4.3.14 to 4.3.16: two records, if the archive is large, then a third.
    """
    size = file.seek(0, 2)
    file.seek(max(0, size - END.size - LOCATOR.size - END_64.size))
    tail = file.read()
    mark, _, _, _, entries, length, _, comment = END.unpack(tail[-END.size :])
    if LOCATOR_MARK in tail[: -END.size]:
        _, record_size, _, _, _, _, _, entries, length, _ = END_64.unpack(tail[: END_64.size])
        _, _, at, _ = LOCATOR.unpack(tail[END_64.size : -END.size])
        if record_size != END_64.size - 12 or at != size - len(tail):  # 12: its mark and the field itself
            raise NotUnderstood(STRANGE)
    if mark != END_MARK or comment or entries > ENTRIES or length > DIRECTORY_BYTES:
        raise NotUnderstood(STRANGE)


@contextmanager
def damage_in_a_sentence() -> Iterator[None]:
    try:
        yield
    except DAMAGE as error:
        raise NotUnderstood(STRANGE) from error
