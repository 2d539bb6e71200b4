"""`acgan numbers`: draws a number on the service."""

from pathlib import Path
from typing import Annotated

import typer

from app.cli.display.picture_files import NUMBERS
from app.cli.display.pictures import chosen_format, given, show_picture
from app.cli.options import (
    AsJson,
    IndexOption,
    InvertOption,
    Key,
    PaddingOption,
    ScaleOption,
    ServedCheckpoint,
    ServedSeed,
    Url,
)
from app.cli.service import service


def numbers(
    number: Annotated[str, typer.Argument(metavar="NUMBER", help="Up to 40 decimal digits, for example 31415.")],
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="The file to write: .png, or .npy with the digits. If omitted, print them."),
    ] = None,
    style: Annotated[
        str | None,
        typer.Option(help="`hand`: one style of writing, the default. `latent`: one latent vector for all digits."),
    ] = None,
    seed: ServedSeed = None,
    index: IndexOption = 0,
    checkpoint: ServedCheckpoint = "latest",
    scale: ScaleOption = 1,
    padding: PaddingOption = 0,
    invert: InvertOption = False,
    as_json: AsJson = False,
    url: Url = None,
    key: Key = None,
) -> None:
    """Draw a number: its digits side by side, in one style of writing."""
    form = chosen_format(out, None, NUMBERS)
    query = given(
        style=style,
        format=None if form == "png" else form,
        seed=seed,
        index=index,
        checkpoint=checkpoint,
        scale=scale,
        padding=padding,
        invert=invert,
    )
    with service(url, key) as client:
        drawn = client.numbers(number, **query)
    show_picture(drawn, number, out, as_json, {"number": number})
