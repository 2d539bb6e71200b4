"""Pictures that a service draws: a file, or digits on the terminal."""

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from app.cli.display.output import console, print_json, print_sentence
from app.cli.display.picture_files import format_of
from app.cli.errors import check_output_file, fail, fail_on, writing

if TYPE_CHECKING:  # takes a while to load
    import numpy as np

    from acgan_client import Picture


def chosen_format(out: Path | None, form: str | None, formats: tuple[str, ...]) -> str:
    """Return the format of the file; png for a terminal. Ends the command with a sentence if it cannot be written."""
    if out is None and form is not None:
        fail("--format needs --out: digits on a terminal have no format")
    with fail_on():
        wanted = "png" if out is None else format_of(out, form, formats)
    check_output_file(out)
    return wanted


def given(**query: Any) -> dict[str, Any]:
    """Return the parameters that were set."""
    return {name: value for name, value in query.items() if value is not None}


def show_picture(picture: "Picture", what: str, out: Path | None, as_json: bool, about: dict[str, Any]) -> None:
    """Write the file, or print the digits of a PNG; then print what was drawn, as a sentence or as JSON."""
    if out is not None:
        with writing(out):
            picture.save(out)
    names = ("checkpoint", "seed", "index")
    address = {
        name: getattr(picture, name, about.get(name)) for name in names if hasattr(picture, name) or name in about
    }
    if as_json:
        print_json({**about, **address, "media_type": picture.media_type, **({"file": str(out)} if out else {})})
        return
    if out is None:
        print_digits(picture.array())
    by = ", ".join(f"{name} {value}" for name, value in address.items())
    print_sentence(f"{what}{f': {by}' if by else ''}{f', in {out}' if out else ''}")


def print_sheet(digits: "np.ndarray", columns: int | None, scale: int) -> None:
    """Print digits, uint8 (n, 28, 28), in rows of `columns` digits; by default, rows fill the width of the terminal."""
    from app.cli.display.terminal import columns_that_fit, has_greys, in_characters, ink_for
    from models.sampling.grid import sheet

    picture = sheet(digits, columns or columns_that_fit(console, 28 * scale), scale)
    drawing = in_characters(picture, has_greys(console), ink_for(console.encoding))
    console.print(drawing, crop=False, soft_wrap=True)


def print_digits(pixels: "np.ndarray") -> None:
    """Print a picture (height, width) in rows that fit the terminal. Its cells of 28 columns stay whole."""
    import numpy as np

    from app.cli.display.terminal import columns_that_fit, has_greys, in_characters, ink_for

    width = 28 * columns_that_fit(console) if console.is_terminal else pixels.shape[1]
    for row in in_rows(np.asarray(pixels), width):
        console.print(in_characters(row, has_greys(console), ink_for(console.encoding)), crop=False, soft_wrap=True)


def in_rows(pixels: "np.ndarray", width: int) -> "Iterable[np.ndarray]":
    """Yield the parts of a picture that are at most this wide, from left to right; if possible, cut between digits."""
    is_blank = pixels.min(axis=0) == pixels.max(axis=0)
    start = 0
    while start < pixels.shape[1]:
        end = start + width
        if end < pixels.shape[1]:
            blanks = [column for column in range(start + width // 2, end + 1) if is_blank[column]]
            end = blanks[-1] if blanks else end
        yield pixels[:, start:end]
        start = end
