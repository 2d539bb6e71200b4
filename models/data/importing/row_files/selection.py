"""Recognises files of rows by content, and chooses those that are one data set: IDX, npz, CSV or parquet."""

from collections.abc import Callable
from contextlib import ExitStack
from pathlib import PurePath

from models.bounded_reading import GZIP, HDF5, ZIP, foreign_kind, gunzip_head
from models.data.importing.containers.tars import is_tar
from models.data.importing.containers.tree import Container, Entry, data_file
from models.data.importing.items import InvalidImages, Limits
from models.data.importing.names import SPLITS, listing, natural
from models.data.importing.row_files.csv_rows import csv_part
from models.data.importing.row_files.idx_pairs import header_of, idx_parts
from models.data.importing.row_files.npz_arrays import npz_parts
from models.data.importing.row_files.parquet_rows import MAGIC as PARQUET
from models.data.importing.row_files.parquet_rows import parquet_part
from models.data.importing.sources import DataFile, OpenedSource, Part, of_parts

HEAD = 1 << 12
FILES = 1000  # of rows in one data set
KINDS = ("parquet", "IDX", "npz", "CSV")  # the first that a folder has is read
CSV_SUFFIXES = (".csv", ".csv.gz")


def kind_of(head: bytes, name: str) -> str | None:
    """Return one of KINDS from the first bytes and the name of a file; None if it is something else."""
    if head.startswith(PARQUET):
        return "parquet"
    if header_of(head) is not None:
        return "IDX"
    if head.startswith(ZIP):
        return "npz" if name.lower().endswith(".npz") or _first_member(head).endswith(b".npy") else None
    text = gunzip_head(head, HEAD) if head.startswith(GZIP) else head
    if is_tar(text, name) or not text.strip():
        return None
    if name.lower().endswith(CSV_SUFFIXES):
        return "CSV"
    if b"\0" in text:
        return None
    first = text.splitlines()[0]
    return "CSV" if first.count(b",") >= 4 and foreign_kind(text) is None else None


def _first_member(head: bytes) -> bytes:
    return head[30 : 30 + int.from_bytes(head[26:28], "little")]


def unreadable(head: bytes) -> str:
    """Return what a file is that cannot be read as images, and what to do."""
    if head.startswith(HDF5):
        return "an HDF5 file: save its arrays as .npz"
    if head.startswith(b"MATLAB"):
        return "a MATLAB file: save its arrays as .npz"
    if head.startswith(b"\x93NUMPY"):
        return "one NumPy array: save images and labels together as .npz"
    if head.startswith((b"7z\xbc\xaf\x27\x1c", b"Rar!", b"\x28\xb5\x2f\xfd")):
        return "an archive of a format that is not read: pack it as .zip or .tar.gz"
    return foreign_kind(head) or "something else"


def parts_of(kind: str, files: list[DataFile], limits: Limits) -> list[Part]:
    """Return the parts of files of one kind. Raises InvalidImages."""
    if kind == "IDX":
        return idx_parts(files, limits)
    read: dict[str, Callable[[DataFile], list[Part]]] = {
        "npz": lambda file: npz_parts(file, limits),
        "CSV": lambda file: [csv_part(file, limits)],
        "parquet": lambda file: [parquet_part(file, limits)],
    }
    return [part for file in files for part in read[kind](file)]


def rows_source(container: Container, entries: list[Entry], limits: Limits, stack: ExitStack) -> OpenedSource:
    """Return the data set in the files of rows of a folder or archive. Raises InvalidImages."""
    found: dict[str, list[DataFile]] = {kind: [] for kind in KINDS}
    skipped, nested = list[str](), list[str]()
    for entry in sorted(entries, key=lambda entry: natural(entry.path)):
        file = data_file(container, entry)
        head = container.head(entry, HEAD) if sum(map(len, found.values())) + len(skipped) < FILES else b""
        kind = kind_of(head, entry.name)
        (found[kind] if kind else skipped).append(file if kind else entry.path)  # type: ignore[arg-type]
        if kind is None and (head.startswith((ZIP, GZIP)) or is_tar(head, entry.name)):
            nested.append(entry.path)
    kind = next((kind for kind in KINDS if found[kind]), None)
    if kind is None:
        if nested:
            raise InvalidImages(
                f"{container.name} has no images, but an archive, which is not unpacked: {listing(nested)}"
            )
        raise InvalidImages(f"{container.name} has no images; it has {listing(skipped)}")
    skipped += [file.name for other in KINDS if other != kind for file in found[other]]
    parts, unusable = _usable(kind, _one_folder(kind, found[kind], container.name), limits)
    notes = tuple(unusable)
    if skipped:
        notes = (*notes, f"{len(skipped):,} files that are not read were skipped: {listing(skipped)}")
    return of_parts(parts, container.name, limits, notes)


def _one_folder(kind: str, files: list[DataFile], place: str) -> list[DataFile]:
    """Raises InvalidImages if the files are in folders that are not splits of one data set, or the files are many."""
    folders = {tuple(name for name in file.folder if name.lower() not in SPLITS) for file in files}
    if len(folders) > 1:
        names = listing(["/".join(folder) or "the top folder" for folder in folders])
        raise InvalidImages(f"{place} has {kind} files of several data sets, and one is needed: {names}")
    if len(files) > FILES:
        raise InvalidImages(f"{place} has more than {FILES:,} {kind} files")
    return files


def _usable(kind: str, files: list[DataFile], limits: Limits) -> tuple[list[Part], list[str]]:
    """Return the parts, and sentences about CSV files that have no labels, as Kaggle's test.csv and submissions.

    Raises InvalidImages if no file can be used.
    """
    if kind != "CSV":
        return parts_of(kind, files, limits), []
    parts, reasons = list[Part](), list[InvalidImages]()
    for file in files:
        try:
            parts += parts_of(kind, [file], limits)
        except InvalidImages as error:
            reasons.append(error)
    if not parts:
        raise reasons[0]
    return parts, [f"skipped: {reason}" for reason in reasons]


def single_source(file: DataFile, head: bytes, limits: Limits) -> OpenedSource:
    """Return the data set in one file that is not an archive of pictures. Raises InvalidImages."""
    kind = kind_of(head, file.name)
    if kind is None or kind == "IDX":
        raise InvalidImages(f"{file.shown} has no labelled images: it is {unreadable(head)}")
    return of_parts(parts_of(kind, [file], limits), PurePath(file.name).name, limits)
