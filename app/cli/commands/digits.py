"""`acgan digits`: draws digits without a service."""

from pathlib import Path
from typing import Annotated

import typer

from app.cli.completion import local_checkpoints, one_of
from app.cli.display.output import print_json, print_sentence
from app.cli.display.picture_files import DIGITS
from app.cli.display.pictures import chosen_format, print_sheet
from app.cli.errors import fail_on, read_settings, writing
from app.cli.options import AsJson, Home
from models.config import MAX_SEED

Seed = Annotated[
    int | None,
    typer.Option(
        min=0,
        max=MAX_SEED,
        help="Random seed. The same seed always draws the same digits. If omitted, a new one is chosen.",
    ),
]


def digits(
    label: Annotated[int, typer.Argument(min=0, max=9, metavar="DIGIT", help="The digit, 0 to 9.")],
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="The file to write: .png, .zip or .npy. If omitted, print to the terminal."),
    ] = None,
    form: Annotated[
        str | None,
        typer.Option(
            "--format",
            help="`png` (one sheet), `zip` (one PNG per digit), `npy` (numpy array). If omitted, the suffix decides.",
            autocompletion=one_of(*DIGITS),
        ),
    ] = None,
    n: Annotated[int, typer.Option("-n", min=1, max=1000, help="Number of digits.")] = 1,
    seed: Seed = None,
    index: Annotated[int, typer.Option(min=0, help="Position of the first digit in the sequence of the seed.")] = 0,
    checkpoint: Annotated[
        str,
        typer.Option(
            help="`latest`, a checkpoint's id, or a generator's .safetensors file.", autocompletion=local_checkpoints
        ),
    ] = "latest",
    columns: Annotated[int | None, typer.Option(min=1, help="Digits per row.")] = None,
    scale: Annotated[
        int, typer.Option(min=1, max=10, help="Image pixels per pixel of a digit, in each direction.")
    ] = 1,
    as_json: AsJson = False,
    home: Home = None,
) -> None:
    """Draw digits on the terminal or into a file, with a checkpoint in the home folder or a file. Needs no service."""
    settings = read_settings(home=home)
    wanted = chosen_format(out, form, DIGITS)

    from app.cli.local.drawing import draw_here
    from models.atomic_files import write_output
    from models.sampling.formats import FORMATS, Look
    from models.sampling.sampler import SampleRange, Samples

    with fail_on(OSError):
        drawn = draw_here(settings, checkpoint, label, n, seed, index)
    if out is not None:
        samples = Samples(SampleRange(label, n, drawn.seed, index), drawn.digits)
        with writing(out):
            write_output(out, FORMATS[wanted].encode(samples, Look(columns, scale)))
    if as_json:
        about = {"label": label, "n": n, "checkpoint": drawn.checkpoint, "seed": drawn.seed, "index": index}
        print_json({**about, **({"file": str(out)} if out else {"digits": drawn.digits.tolist()})})
        return
    if out is None:
        print_sheet(drawn.digits, columns, scale)
    digit = "digit" if n == 1 else "digits"
    where = f", in {out}" if out else ""
    print_sentence(f"{n} {digit} of {label} by {drawn.checkpoint}, seed {drawn.seed}{where}")
