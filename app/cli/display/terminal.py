"""Digits on a terminal: two pixels per character, one above the other. Does not import torch."""

import numpy as np
from rich.color import Color
from rich.console import Console
from rich.style import Style
from rich.text import Text

from app.cli.display.output import can_encode

UPPER, LOWER, BOTH, NEITHER = "▀", "▄", "█", " "
BLOCKS = NEITHER + LOWER + UPPER + BOTH
ASCII = " .'#"  # for encodings without block characters
INK = 96  # the lowest value of a pixel that is drawn as ink on a terminal without greys


def ink_for(encoding: str) -> str:
    """Return four characters of the encoding: neither pixel, the lower, the upper, both."""
    return BLOCKS if can_encode(BLOCKS, encoding) else ASCII


def in_characters(picture: np.ndarray, greys: bool, ink: str = BLOCKS) -> Text:
    """Draw a uint8 picture (height, width) as text of `width` columns and `height` / 2 lines, rounded up.

    With greys each character is a half block in the colours of its two pixels; without, each pixel is ink or blank.
    """
    if len(picture) % 2:
        picture = np.pad(picture, ((0, 1), (0, 0)))
    text = Text(no_wrap=True, overflow="ignore")
    for line, (upper, lower) in enumerate(zip(picture[::2], picture[1::2], strict=True)):
        if line:
            text.append("\n")
        if greys:
            append_greys(text, upper, lower)
        else:
            append_ink(text, upper, lower, ink)
    return text


def append_greys(text: Text, upper: np.ndarray, lower: np.ndarray) -> None:
    """Append a line, with one style for each run of equal characters."""
    pairs = np.stack((upper, lower), axis=1)
    changes = np.flatnonzero((pairs[1:] != pairs[:-1]).any(axis=1)) + 1
    for run in np.split(pairs, changes):
        above, below = (int(pixel) for pixel in run[0])
        style = Style(color=Color.from_rgb(above, above, above), bgcolor=Color.from_rgb(below, below, below))
        text.append(UPPER * len(run), style)


def append_ink(text: Text, upper: np.ndarray, lower: np.ndarray, ink: str) -> None:
    text.append("".join(np.array(list(ink))[2 * (upper >= INK) + (lower >= INK)]))


def columns_that_fit(console: Console, size: int = 28) -> int:
    return max(1, min(10, console.width // size))


def has_greys(console: Console) -> bool:
    """Return whether a console shows greys. Not with a pipe, NO_COLOR, eight colours or no block characters."""
    return ink_for(console.encoding) == BLOCKS and console.color_system in ("256", "truecolor") and not console.no_color
