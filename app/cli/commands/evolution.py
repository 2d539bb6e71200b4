"""`acgan evolution`: the film of a run, one image by the checkpoint of each epoch."""

import random
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer

from app.cli.completion import one_of
from app.cli.display.picture_files import ANIMATIONS
from app.cli.display.pictures import chosen_format, given, show_picture
from app.cli.errors import fail
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
from models.bounded_reading import printable
from models.data.catalog import DIGITS
from models.data.class_names import ClassNotFound, label_of

if TYPE_CHECKING:  # takes a while to load
    from acgan_client import Client

CLASS_HELP = "Name or number of the class. [default: 7 of digits, otherwise the first class of the run]"


def evolution(
    job: JobArgument,
    wanted: Annotated[
        str | None,
        typer.Option("--class", "--digit", metavar="CLASS", help=CLASS_HELP, show_default=False),
    ] = None,
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
    """Draw one image with every epoch of a run, as an animation or a sheet."""
    suffix = chosen_format(out, form, ANIMATIONS)
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
        format=suffix,
    )
    with service(url, key) as client:
        job_id = find_job(client, job, RUNS)
        chosen = chosen_class(classes_of(client, job_id), wanted)
        drawn = client.evolution(job_id, chosen.path, **query)
    about = {"job": job_id, "label": chosen.label, "seed": seed, "index": index}
    show_picture(drawn, f"{printable(chosen.title)} of job {job_id}", out, as_json, about)


class ChosenClass(NamedTuple):
    label: int | None  # None if the run's classes are not known
    path: str  # what names it in an address
    title: str


def classes_of(client: "Client", job_id: str) -> Sequence[str] | None:
    """Return the names of a run's classes, None if it has no usable checkpoint. Raises ClientError."""
    return next((each.classes for each in client.checkpoints().checkpoints if each.job == job_id), None)


def chosen_class(names: Sequence[str] | None, wanted: str | None) -> ChosenClass:
    """Find a class by its name or number, as the service does. Ends the command with a sentence if there is none.

    Without names, the service decides: it knows the reason why the run has no image to draw.
    """
    if names is None:
        return ChosenClass(None, wanted or "0", f"class {wanted or 0}")
    are_digits = tuple(names) == DIGITS
    label = 7 if are_digits else 0
    if wanted is not None:
        try:
            label = label_of(wanted, names)
        except ClassNotFound as error:
            fail(f"--class: {printable(error)}")
    path = names[label]
    if "/" in path:  # an address cannot contain it: take a form of its number that is no name
        path = next(form for form in (f"{label}", f"{label:02}", f"{label:03}") if form not in names)
    return ChosenClass(label, path, f"{'digit' if are_digits else 'class'} {names[label]}")
