"""Finds labelled images in a folder or archive: class folders with pictures, or files of rows (IDX, npz, CSV, parquet).

    [TOP/] [train/ test/] CLASS/PICTURE

A single folder around everything is ignored. The folders `train` and `test` are splits (names.SPLITS has more names) if
they contain folders, and beside them there is nothing else. A class folder has pictures, and no folders with pictures.
"""

from collections import defaultdict
from collections.abc import Iterator
from contextlib import ExitStack

from models.bounded_reading import printable
from models.data.importing.containers.tree import Container, Entry, link_notes
from models.data.importing.decoding import HEAD, is_picture
from models.data.importing.items import InvalidImages, Item, Limits
from models.data.importing.names import SPLITS, class_name, listing, natural, settled
from models.data.importing.row_files.selection import rows_source
from models.data.importing.sources import OpenedSource, check_classes

PICTURES: tuple[str, ...] = (
    ".png",
    ".apng",
    ".jpg",
    ".jpeg",
    ".jpe",
    ".jfif",
    ".gif",
    ".bmp",
    ".dib",
    ".webp",
    ".tif",
    ".tiff",
)
PICTURES += (".ppm", ".pgm", ".pbm", ".pnm")
OTHERS: tuple[str, ...] = (
    ".txt",
    ".md",
    ".json",
    ".xml",
    ".html",
    ".yaml",
    ".py",
    ".pdf",
    ".db",
    ".npy",
)  # never sniffed
OTHERS += (".csv", ".gz", ".npz", ".parquet", ".zip", ".tar")
SNIFFED = 1000  # files without a known suffix whose content is examined


def tree_source(container: Container, limits: Limits, stack: ExitStack) -> OpenedSource:
    """Return the source that a folder or archive holds. Raises InvalidImages."""
    pictures, others = _sorted_out(container)
    notes = link_notes(container)
    top = _top(pictures)
    placed = [entry for entry in pictures if len(entry.folder) > len(top)]
    if not placed:
        if others:
            source = rows_source(container, others, limits, stack)
            source.notes = (*notes, *source.notes)
            return source
        raise InvalidImages(_nothing(container, pictures, notes))
    if others:
        notes.append(f"{len(others):,} files that are not pictures were skipped: {listing([e.path for e in others])}")
    if len(placed) < len(pictures):
        loose = [entry.path for entry in pictures if len(entry.folder) <= len(top)]
        notes.append(f"{len(loose):,} pictures that are in no class folder were skipped: {listing(loose)}")
    return _class_folders(container, top, placed, limits, notes)


def _nothing(container: Container, pictures: list[Entry], notes: list[str]) -> str:
    if pictures:
        return f"{container.name} has pictures, but no class folders: put the pictures of each class in a folder"
    return "; ".join([f"{container.name} has no images", *notes])


def _sorted_out(container: Container) -> tuple[list[Entry], list[Entry]]:
    """Return pictures and other files. A file without a known suffix is recognised by its content."""
    pictures, others = list[Entry](), list[Entry]()
    sniffed = 0
    for entry in sorted(container.tree.files, key=lambda entry: entry.path):
        name = entry.name.lower()
        is_unknown = not name.endswith(PICTURES + OTHERS) and sniffed < SNIFFED
        sniffed += is_unknown
        found = name.endswith(PICTURES) or (is_unknown and is_picture(container.head(entry, HEAD)))
        (pictures if found else others).append(entry)
    return pictures, others


def _top(pictures: list[Entry]) -> tuple[str, ...]:
    """Return the folder that contains the class folders or splits, below single folders around everything."""
    direct = {entry.folder for entry in pictures}
    below = defaultdict[tuple[str, ...], set[tuple[str, ...]]](set)
    for folder in direct:
        for depth in range(len(folder)):
            below[folder[:depth]].add(folder[: depth + 1])
    top: tuple[str, ...] = ()
    while len(below[top]) == 1 and not below[top] & direct:
        (top,) = below[top]
    return top


def _class_folders(
    container: Container, top: tuple[str, ...], pictures: list[Entry], limits: Limits, notes: list[str]
) -> OpenedSource:
    """Return a source with one subfolder a class. Raises InvalidImages."""
    depth = len(top)
    firsts = {entry.folder[depth].lower() for entry in pictures}
    is_split = firsts <= SPLITS.keys() and all(len(entry.folder) > depth + 1 for entry in pictures)
    place = depth + is_split
    labels = _labels(container, place, pictures)
    check_classes(len(set(labels.values())), container.name, limits)
    splits = settled({SPLITS[first] for first in firsts} if is_split else {None})
    for entry in pictures:
        if entry.size > limits.file:
            raise InvalidImages(
                f"{printable(entry.path)} has {entry.size:,} bytes, and a picture has at most {limits.file:,}"
            )
    order = {label: number for number, label in enumerate(sorted(set(labels.values()), key=natural))}
    pictures.sort(
        key=lambda entry: (order[labels[entry.folder[place]]], natural("/".join((*entry.folder[depth:], entry.name))))
    )
    empty = _empty_classes(container, top, is_split, set(labels.values()))
    if empty:
        notes.append(f"{len(empty):,} folders have no picture: {listing(empty)}")

    def read(start: int) -> Iterator[Item]:
        for entry in pictures[start:]:
            split = splits[SPLITS[entry.folder[depth].lower()] if is_split else None]
            content = container.read(entry, limits.file)
            yield Item(printable(entry.path), labels[entry.folder[place]], split, content)

    description = f"{len(order)} class folders in {container.name}"
    return OpenedSource(description, len(pictures), read, limits, empty_classes=empty, notes=tuple(notes))


def _labels(container: Container, place: int, pictures: list[Entry]) -> dict[str, str]:
    """Return the class name of each folder at depth `place`. Raises InvalidImages if a picture is deeper."""
    labels = dict[str, str]()
    for entry in pictures:
        if len(entry.folder) > place + 1:
            raise InvalidImages(
                f"{container.name} has pictures in a folder within a class folder: {printable(entry.path)}; "
                "put each picture directly in the folder of its class"
            )
        folder = entry.folder[place]
        if folder not in labels:
            labels[folder] = class_name(folder, f"{container.name}: the folder {printable(folder)[:40]}")
    return labels


def _empty_classes(container: Container, top: tuple[str, ...], is_split: bool, labels: set[str]) -> tuple[str, ...]:
    """Return the folders beside the class folders in which there is no picture."""
    depth = len(top) + is_split
    beside = {
        class_name(folder[depth], f"{container.name}: the folder {printable(folder[depth])[:40]}")
        for folder in container.tree.folders
        if len(folder) == depth + 1 and folder[: len(top)] == top and (not is_split or folder[-2].lower() in SPLITS)
    }
    return tuple(sorted(beside - labels, key=natural))
