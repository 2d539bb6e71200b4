"""The format of a file that a command writes follows its name."""

from collections.abc import Sequence
from pathlib import Path

from models.errors import InvalidInput

# Of `acgan digits`: those of models/sampling/formats.py, which takes a while to load. A test compares them.
DIGITS = ("png", "zip", "npy")
PICTURES = ("png",)
NUMBERS = ("png", "npy")
ANIMATIONS = ("gif", "webp", "png")
NAMES = {"jpg": "jpeg", "tif": "tiff"}
KNOWN = {
    *DIGITS,
    *ANIMATIONS,
    *NAMES,
    *NAMES.values(),
    "bmp",
    "csv",
    "json",
    "npz",
    "pdf",
    "svg",
}  # suffixes of formats


def format_of(out: Path | None, form: str | None, formats: Sequence[str]) -> str:
    """Return the format that the option or the suffix of the file determines; the first if neither does.

    Raises InvalidInput for a format that the command does not write, and if the name and the option differ.
    """
    if form is not None and form not in formats:
        raise InvalidInput(f"there is no format {form!r}: use --format {either(formats)}")
    suffix = out.suffix.removeprefix(".").lower() if out is not None else ""
    if not suffix or suffix == form or (form is not None and suffix not in KNOWN):
        return form or formats[0]
    if suffix not in formats:
        names = either([f".{each}" for each in formats])
        wanted = NAMES.get(suffix, suffix).upper()
        raise InvalidInput(f"{out} cannot be written as {wanted}: name a file that ends in {names}")
    if form is not None:
        raise InvalidInput(f"{out} is named as {suffix.upper()}, but --format is {form}: rename it, or omit --format")
    return suffix


def either(names: Sequence[str]) -> str:
    """Return the names as in `a, b or c`."""
    return " or ".join(filter(None, (", ".join(names[:-1]), names[-1])))
