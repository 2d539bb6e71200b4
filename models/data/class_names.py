"""Finds the class that a text means: by its name, or by its label."""

import unicodedata
from collections.abc import Sequence

from models.errors import NotFound

MOST_SHOWN = 1000  # characters of the names in a message


class ClassNotFound(NotFound, code="class-not-found"):
    """No class has this name or label. The message lists the classes."""


def label_of(text: str, classes: Sequence[str]) -> int:
    """Return the label of the class with this name; else of the only one whose name differs just in case.

    A number that is no name is a label: of the classes `3` and `8`, `8` is the second, and `0` the first. Raises
    ClassNotFound.
    """
    if text in classes:
        return list(classes).index(text)
    names = [folded(name) for name in classes]
    if names.count(folded(text)) == 1:
        return names.index(folded(text))
    if text.isascii() and text.isdecimal() and len(text) <= 3 and int(text) < len(classes):
        return int(text)
    raise ClassNotFound(f"there is no class {text[:80]!r}: the classes are {shown(classes)}")


def folded(name: str) -> str:
    """Return a name for comparison: without upper case, and with composed characters (NFC)."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())


def shown(classes: Sequence[str]) -> str:
    """List the names for a message, at most MOST_SHOWN characters of them."""
    text = ", ".join(classes)
    if len(text) <= MOST_SHOWN:
        return text
    return f"{text[:MOST_SHOWN].rpartition(', ')[0] or text[:MOST_SHOWN]}, and more: there are {len(classes)}"
