"""Builds training data from a source of images. An import that was killed continues with the same call."""

import hashlib
import json
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from models.bounded_reading import FileDamaged, printable
from models.config import IMAGE_SIZE, MOST_CLASSES
from models.data.building.built import Arrays, Built, OptionValues
from models.data.building.chunks import ChunkFolder, locked
from models.data.building.decoding import (
    MOST_PROCESSES,
    Decoders,
    InThisProcess,
    Task,
    in_processes,
)
from models.data.building.options import ImportOptions
from models.data.building.reading import batches, fingerprint, sample
from models.data.building.split import Split, split
from models.data.importing.items import LIMITS, InvalidImages, Limits, Source
from models.data.importing.names import CLASS_NAME_LENGTH, listing
from models.data.importing.normalise import looks_inverted
from models.data.importing.opening import labels_of, open_source
from models.devices import processors
from models.version import code_version

FORMAT = 1  # of chunks; a change of how pictures become images gets the next number
MOST_BLANK = 0.5  # share of the images without ink: more mean that the ink was taken for the background
MOST_SKIPPED = 0.05  # share of the pictures that may be unreadable: more are a mistake, not bad luck
NAMED = 20  # unreadable pictures that a message names
NAMED_IN_ERROR = 3
FEW = 1000  # pictures that are decoded before other processes would have started
WAIT = 0.2  # seconds between calls of `progress`, in which the caller may stop the import

Progress = Callable[[int, int | None], None]


def build(
    path: Path,
    options: ImportOptions,
    work: Path,
    progress: Progress = lambda done, total: None,
    *,
    labels: Path | None = None,
    limits: Limits = LIMITS,
    identity: str | None = None,
    processes: int | None = None,
) -> Built:
    """Read, decode, check and split the images of a source.

    Args:
        path: a folder, an archive or a file, as for `open_source`.
        options: how the images are fitted and split.
        work: folder for decoded images. They stay there until `remove_chunks(built.chunks)`, so that the same call
            continues after a kill. It takes 784 bytes an image.
        progress: called with the numbers of decoded images and of all images, if that is known, several times a
            second while images are decoded. What it raises ends the import.
        labels: file of labels, if `path` is an IDX file of images; by default, the one beside it.
        limits: what the source may have.
        identity: checksum of `path`, if its name or time can differ between calls for the same content.
        processes: number of processes that decode; by default, one for each processor.

    Returns:
        The same training data for the same names and contents, also from a folder and an archive of it.

    Raises:
        InvalidImages: the source cannot be used.
        ImportRunning: another process imports it.
        FileFault, OSError: a file cannot be read, or `work` cannot be written, for example because the disk is full.
    """
    before = {} if identity else {path: fingerprint(path)}
    labels = labels_of(path, labels)
    if labels is not None:  # chunks contain labels
        before[labels] = fingerprint(labels)
    decided = [FORMAT, code_version(), identity, *before.values(), options.fit, options.invert]
    key = hashlib.sha256(json.dumps(decided).encode()).hexdigest()[:32]
    with locked(work, key) as chunks, open_source(path, limits, labels, scratch=chunks.folder) as source:
        if source.empty_classes:
            raise InvalidImages(
                f"class {listing(source.empty_classes, NAMED)} has no images: add images, or remove the folder"
            )
        is_inverted = options.invert == "yes"
        if options.invert == "auto":
            is_inverted = looks_inverted(sample(source, limits))
        read = _decode_all(source, chunks, Task(options.fit, is_inverted, limits), progress, processes)
        for file, found in before.items():
            if fingerprint(file) != found:
                raise InvalidImages(f"{printable(file)} was changed while it was read: import it again")
        return _assemble(source, chunks, read, options, is_inverted)


# ----------------------------------------------------------------------------
# Decoding.


def _decode_all(source: Source, chunks: ChunkFolder, task: Task, progress: Progress, processes: int | None) -> int:
    """Decode what no chunk has yet. Returns the number of all items of the source."""
    finished = chunks.finished()
    done = sum(finished.values())
    with _decoders(task, None if source.count is None else source.count - done, processes) as decoders:

        def collect() -> None:
            nonlocal done
            for chunk in decoders.collect(WAIT):
                chunks.write(chunk)
                done += chunk.size
            progress(done, source.count)

        progress(done, source.count)
        for batch in batches(source, finished):
            while not decoders.is_ready:
                collect()
            decoders.send(batch)
        while decoders.is_busy:
            collect()
    return done


@contextmanager
def _decoders(task: Task, left: int | None, processes: int | None) -> Iterator[Decoders]:
    if left is not None and left <= FEW:
        yield InThisProcess(task)
        return
    with in_processes(task, processes or min(processors(), MOST_PROCESSES)) as decoders:
        yield decoders


# ----------------------------------------------------------------------------
# The result.


def _assemble(source: Source, chunks: ChunkFolder, read: int, options: ImportOptions, is_inverted: bool) -> Built:
    images, names, given, skipped = _read(chunks, read)
    _check_skipped(skipped, len(images))
    blank = int((~images.any(axis=(1, 2))).sum())
    if blank > MOST_BLANK * len(images):
        other = "must not" if is_inverted else "must"
        raise InvalidImages(
            f"{blank:,} of {len(images):,} images are blank when they are {'' if is_inverted else 'not '}inverted: "
            f"perhaps they {other} be inverted"
        )
    classes = order_classes(set(names), source.class_names)
    indices = {name: index for index, name in enumerate(classes)}
    labels = np.array([indices[name] for name in names], np.uint8)
    found = split(images, labels, given, classes, options.test_share, options.seed)
    arrays = Arrays(images[found.train], labels[found.train], images[found.test], labels[found.test])
    unused = [name for name in source.class_names or () if name not in indices]
    values: OptionValues = {
        "fit": options.fit,
        "invert": options.invert,
        "inverted": "yes" if is_inverted else "no",
        "split": "given" if found.is_given else "by seed",
        "test_share": None if found.is_given else options.test_share,
        "seed": options.seed,
    }
    warnings = [*source.notes, *_warnings(found, skipped, unused, blank)]
    return Built(arrays, classes, source.description, values, tuple(warnings), len(skipped), chunks.folder)


def _read(chunks: ChunkFolder, count: int) -> tuple[np.ndarray, list[str], list[str | None], list[tuple[str, str]]]:
    """Return the images (N, 28, 28), their class names and splits, and the pictures that were skipped.

    `count` is the number of items of the source. Raises FileDamaged if the chunks do not have each of them once.
    """
    names, given, skipped = list[str](), list[str | None](), list[tuple[str, str]]()
    images = np.empty((count, IMAGE_SIZE, IMAGE_SIZE), np.uint8)
    items = 0
    for chunk in chunks.read():
        if chunk.first != items or items + chunk.size > count:
            break
        items += chunk.size
        images[len(names) : len(names) + len(chunk.images)] = chunk.images
        names += chunk.labels
        given += chunk.splits
        skipped += chunk.skipped
    if items != count:
        raise FileDamaged(f"decoded images were deleted or changed in {printable(chunks.folder)}: import them again")
    return images[: len(names)], names, given, skipped


def order_classes(found: set[str], fixed: Sequence[str] | None) -> tuple[str, ...]:
    """Return the classes in the order of their labels: as the source says; else numbers by value, then other names.

    Raises InvalidImages if there are too few or too many, or one has a name that cannot be used.
    """
    if fixed is None:
        classes = sorted(found, key=lambda name: (0, int(name), name) if _is_number(name) else (1, 0, name))
    else:
        classes = [name for name in fixed if name in found]
    if not 2 <= len(classes) <= MOST_CLASSES:
        have = f"there is only one class, {printable(classes[0])}" if len(classes) == 1 else f"{len(classes)} classes"
        raise InvalidImages(f"{have if classes else 'there are no images'}: 2 to {MOST_CLASSES} classes are needed")
    for name in classes:
        is_normal = unicodedata.is_normalized("NFC", name) and name.isprintable()
        if not (is_normal and 1 <= len(name) <= CLASS_NAME_LENGTH):
            raise InvalidImages(
                f"{printable(name)[:120]} is not the name of a class: 1 to {CLASS_NAME_LENGTH} printable characters"
            )
    return tuple(classes)


def _is_number(name: str) -> bool:
    return name.isascii() and name.isdecimal()


def _check_skipped(skipped: list[tuple[str, str]], read: int) -> None:
    """Raises InvalidImages if too many pictures could not be read."""
    total = len(skipped) + read
    if len(skipped) > MOST_SKIPPED * total:
        raise InvalidImages(
            f"{len(skipped):,} of {total:,} pictures cannot be read, and at most {MOST_SKIPPED:.0%} may be skipped: "
            f"{_reasons(skipped, NAMED_IN_ERROR)}"
        )


def _reasons(skipped: list[tuple[str, str]], most: int) -> str:
    named = "; ".join(f"{name}: {reason}" for name, reason in skipped[:most])
    return f"{named}; and {len(skipped) - most:,} more" if len(skipped) > most else named


def _warnings(found: Split, skipped: list[tuple[str, str]], unused: list[str], blank: int) -> Iterator[str]:
    if skipped:
        yield f"pictures skipped, because they cannot be read: {len(skipped):,} ({_reasons(skipped, NAMED)})"
    if unused:
        yield f"classes left out, because they have no image: {listing(unused, NAMED)}"
    if found.dropped:
        yield f"training images left out, because they are test images too: {found.dropped:,}"
    if found.repeated:
        yield f"images kept that are identical to another one of their split: {found.repeated:,}"
    if found.contradictory:
        yield f"images that are identical to one of another class: {found.contradictory:,}"
    if blank:
        yield f"blank images: {blank:,}"
