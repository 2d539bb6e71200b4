"""`acgan images`: draws images of any training data with a service."""

from pathlib import Path
from typing import Annotated, Any

import typer

from app.cli.display.output import print_json, print_sentence
from app.cli.display.picture_files import DIGITS
from app.cli.display.pictures import chosen_format
from app.cli.errors import writing
from app.cli.options import AsJson, Key, Url
from app.cli.service import service


def images(
    dataset: Annotated[str, typer.Argument(help="Training data with a checkpoint, such as `letters` or `letters@2`.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="The file to write: .png, .zip or .npy.")],
    label: Annotated[str | None, typer.Argument(help="Name or number of the class. If omitted, all classes.")] = None,
    n: Annotated[int, typer.Option("-n", min=1, max=1000, help="Number of images of each class.")] = 1,
    seed: Annotated[
        int | None,
        typer.Option(
            min=0, help="Random seed. The same seed always draws the same images. If omitted, a new one is chosen."
        ),
    ] = None,
    index: Annotated[int, typer.Option(min=0, help="Position of the first image in the sequence of the seed.")] = 0,
    checkpoint: Annotated[
        str, typer.Option(help="`latest` or `best` of the training data, or the id of one of its checkpoints.")
    ] = "latest",
    columns: Annotated[int | None, typer.Option(min=1, help="Images per row.")] = None,
    scale: Annotated[
        int, typer.Option(min=1, max=8, help="Picture pixels per pixel of an image, in each direction.")
    ] = 1,
    as_json: AsJson = False,
    url: Url = None,
    key: Key = None,
) -> None:
    """Draw images of a class of any training data into a file. The service draws them."""
    suffix = chosen_format(out, None, DIGITS)
    wanted: dict[str, Any] = {"n": n, "seed": seed, "index": index, "checkpoint": checkpoint, "format": suffix}
    with service(url, key) as client:
        drawn = client.images(dataset, label, **wanted, columns=columns, scale=scale)
    with writing(out):
        drawn.save(out)
    if as_json:
        about = {"dataset": dataset, "label": label, "n": n, "checkpoint": drawn.checkpoint}
        print_json({**about, "seed": drawn.seed, "index": drawn.index, "file": str(out)})
        return
    what = "all classes" if label is None else label
    print_sentence(f"{n} of {what} by {drawn.checkpoint}, seed {drawn.seed}, in {out}")
