"""`acgan evaluate`: measures the quality of a generator without a service."""

from pathlib import Path
from typing import Annotated

import typer
from pydantic import ValidationError

from app.cli.completion import local_checkpoints, one_of
from app.cli.errors import check_output_file, error_console, fail_on, read_settings
from app.cli.options import TRAINING_DATA, AsJson, Home
from app.cli.output import escape_json, write_line
from app.cli.picture_files import PICTURES, format_of
from models.data.catalog import DATASETS


def evaluate(
    checkpoint: Annotated[
        str,
        typer.Argument(
            metavar="CHECKPOINT",
            help="`latest`, a checkpoint's id, or a generator's .safetensors file.",
            autocompletion=local_checkpoints,
        ),
    ] = "latest",
    dataset: Annotated[
        str | None,
        typer.Option(
            autocompletion=one_of(*DATASETS),
            help=f"The generator's training data: {TRAINING_DATA}. By default the checkpoint's.",
        ),
    ] = None,
    quick: Annotated[bool, typer.Option("--quick", help="Use a fifth of the digits: faster, less precise.")] = False,
    as_json: AsJson = False,
    picture: Annotated[Path | None, typer.Option(help="Write charts of the result into this PNG.")] = None,
    home: Home = None,
) -> None:
    """Measure the quality of a generator's digits, compared with real digits. Takes minutes."""
    settings = read_settings(home=home)
    with fail_on():
        format_of(picture, None, PICTURES)
    check_output_file(picture)

    from app.cli.columns import print_table
    from app.cli.local.evaluation import evaluate_here, tabulate

    with fail_on(OSError, ValidationError):
        evaluation = evaluate_here(settings, checkpoint, dataset, quick, picture, error_console)
    if as_json:
        write_line(escape_json(evaluation.model_dump_json(indent=2)))
    else:
        print_table(tabulate(evaluation))
