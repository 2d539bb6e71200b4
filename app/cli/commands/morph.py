"""`acgan morph`: turns one digit into another on the service."""

from typing import Annotated

import typer

from app.cli.completion import one_of
from app.cli.display.picture_files import ANIMATIONS
from app.cli.display.pictures import chosen_format, given, show_picture
from app.cli.options import (
    AnimationOut,
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


def morph(
    first: Annotated[int, typer.Argument(metavar="FROM", min=0, max=9, help="The first digit, 0 to 9.")],
    last: Annotated[int, typer.Argument(metavar="TO", min=0, max=9, help="The last digit, 0 to 9.")],
    out: AnimationOut = None,
    form: Annotated[
        str | None,
        typer.Option(
            "--format",
            help="`gif` or `webp` (an animation there and back), `png` (a strip). If omitted, the suffix decides.",
            autocompletion=one_of(*ANIMATIONS),
        ),
    ] = None,
    seed: ServedSeed = None,
    to_seed: Annotated[
        int | None, typer.Option(help="Random seed of the last digit. If omitted, that of --seed.")
    ] = None,
    index: IndexOption = 0,
    checkpoint: ServedCheckpoint = "latest",
    steps: Annotated[int | None, typer.Option(help="Number of digits with both ends, 2 to 60. [default: 16]")] = None,
    milliseconds: Annotated[
        int | None, typer.Option(help="Duration of each digit in an animation, 20 to 1000. [default: 60]")
    ] = None,
    scale: ScaleOption = 1,
    padding: PaddingOption = 0,
    invert: InvertOption = False,
    as_json: AsJson = False,
    url: Url = None,
    key: Key = None,
) -> None:
    """Turn a digit into another, as an animation or a strip."""
    wanted = chosen_format(out, form, ANIMATIONS)
    query = given(
        seed=seed,
        to_seed=to_seed,
        index=index,
        checkpoint=checkpoint,
        steps=steps,
        milliseconds=milliseconds,
        scale=scale,
        padding=padding,
        invert=invert,
        format=wanted,
    )
    with service(url, key) as client:
        drawn = client.morph(first, last, **query)
    show_picture(drawn, f"{first} to {last}", out, as_json, {"first": first, "last": last})
