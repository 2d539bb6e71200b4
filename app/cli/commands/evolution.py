"""`acgan evolution`: the film of a run, one digit by the checkpoint of each epoch."""

import random
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
    JobArgument,
    Key,
    PaddingOption,
    ScaleOption,
    ServedSeed,
    Url,
)
from app.cli.references import RUNS, find_job
from app.cli.service import service


def evolution(
    job: JobArgument,
    label: Annotated[int, typer.Option("--digit", min=0, max=9, help="The digit, 0 to 9.")] = 7,
    out: AnimationOut = None,
    form: Annotated[
        str | None,
        typer.Option(
            "--format",
            help="`gif` or `webp` (an animation), `png` (a sheet). If omitted, the suffix decides.",
            autocompletion=one_of(*ANIMATIONS),
        ),
    ] = None,
    seed: ServedSeed = None,
    index: IndexOption = 0,
    epochs: Annotated[
        int | None, typer.Option(help="Maximum number of epochs, 2 to 60, evenly spaced. [default: 20]")
    ] = None,
    columns: Annotated[int | None, typer.Option(help="Epochs per row of the sheet, 1 to 60. [default: 10]")] = None,
    milliseconds: Annotated[
        int | None, typer.Option(help="Duration of each epoch in an animation, 20 to 1000. [default: 200]")
    ] = None,
    scale: ScaleOption = 1,
    padding: PaddingOption = 0,
    invert: InvertOption = False,
    as_json: AsJson = False,
    url: Url = None,
    key: Key = None,
) -> None:
    """Draw one digit with every epoch of a run, as an animation or a sheet."""
    wanted = chosen_format(out, form, ANIMATIONS)
    if out is None and columns is None:
        columns = 60  # one row, which the terminal divides
    seed = random.getrandbits(53) if seed is None else seed  # the response does not name one that the service chooses
    query = given(
        seed=seed,
        index=index,
        epochs=epochs,
        columns=columns,
        milliseconds=milliseconds,
        scale=scale,
        padding=padding,
        invert=invert,
        format=wanted,
    )
    with service(url, key) as client:
        job_id = find_job(client, job, RUNS)
        drawn = client.evolution(job_id, label, **query)
    show_picture(
        drawn,
        f"digit {label} of job {job_id}",
        out,
        as_json,
        {"job": job_id, "label": label, "seed": seed, "index": index},
    )
