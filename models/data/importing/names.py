"""Names in a source: classes, the splits `train` and `test`, the order of items, and files that are skipped."""

import re
import unicodedata
from collections.abc import Collection
from typing import Any

from models.bounded_reading import printable
from models.data.importing.items import InvalidImages

TRAIN, TEST, VALIDATION = "train", "test", "validation"
SPLITS = {
    "train": TRAIN,
    "training": TRAIN,
    "test": TEST,
    "testing": TEST,
    "t10k": TEST,
    "val": VALIDATION,
    "valid": VALIDATION,
    "validation": VALIDATION,
}
CLASS_NAME_LENGTH = 100  # characters; a folder's name has at most 255 bytes
NAMED = 3  # files that a message names
SKIPPED = {"__MACOSX", "Thumbs.db", "desktop.ini", "lost+found", "System Volume Information", "$RECYCLE.BIN"}
DIGITS = re.compile(r"([0-9]+)")
WHOLE = re.compile(r"[+-]?[0-9]{1,18}(\.0*)?")


def is_skipped(name: str) -> bool:
    """Return whether a file or folder is hidden, or made by an operating system for itself."""
    return name.startswith(".") or name in SKIPPED


def natural(name: str) -> tuple[Any, ...]:
    """Return a sort key: numbers within names are compared by value, so that "2" is before "10"."""
    pieces = DIGITS.split(unicodedata.normalize("NFC", name))
    pieces[1::2] = [piece.lstrip("0") for piece in pieces[1::2]]
    return [(len(piece), piece) if place % 2 else piece for place, piece in enumerate(pieces)], name


def class_name(text: str, place: str) -> str:
    """Return a class name normalised to NFC, without spaces around it.

    `place` says for messages which file or row has it. Raises InvalidImages if it is empty, long, or not printable.
    """
    name = unicodedata.normalize("NFC", text).strip()
    if not name:
        raise InvalidImages(f"{place} has an empty class name")
    if len(name) > CLASS_NAME_LENGTH:
        raise InvalidImages(
            f"{place} has a class name of {len(name)} characters, and at most {CLASS_NAME_LENGTH} are allowed: "
            f"{printable(name[:40])}..."
        )
    if not name.isprintable():
        raise InvalidImages(f"{place} has a class name with a character that cannot be printed: {printable(name)}")
    return name


def class_number(text: str, place: str) -> str:
    """Return the class name of a label in a table: a whole number as "7", also if it is written "7.0" or "07"."""
    text = text.strip()
    if WHOLE.fullmatch(text):
        return str(int(text.partition(".")[0]))
    if text.lower() in ("", "nan", "null", "none", "inf", "-inf"):
        raise InvalidImages(f"{place} has no label")
    return class_name(text, place)


def split_of(*names: str) -> str | None:
    """Return the split of the first name that contains a word of SPLITS: "train-00000-of-00002", "x_test"."""
    for name in names:
        for word in re.split(r"[^a-z0-9]+", name.lower()):
            if word in SPLITS:
                return SPLITS[word]
    return None


def settled(splits: Collection[str | None]) -> dict[str | None, str | None]:
    """Return the split of the items for each split in the names of the source.

    If the source has training and test images, these are "train" and "test"; otherwise the split of all items is None.
    Validation images count as test images if there are no others, else as training images. Files without a split in
    their names have training images.
    """
    test = TEST if TEST in splits else VALIDATION
    is_split = test in splits and len(set(splits)) > 1
    return {split: (TEST if split == test else TRAIN) if is_split else None for split in splits}


def listing(names: Collection[str], most: int = NAMED) -> str:
    """Return the first names in one line, printable, and how many more there are."""
    first = ", ".join(printable(name) for name in sorted(names, key=natural)[:most])
    return f"{first} and {len(names) - most:,} more" if len(names) > most else first
