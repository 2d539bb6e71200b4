"""`acgan evaluate`: measures the quality of a generator, on this machine or on a worker of the service."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from pydantic import ValidationError

from app.cli.completion import local_checkpoints, one_of
from app.cli.display.output import escape_json, write_line
from app.cli.display.picture_files import PICTURES, format_of
from app.cli.errors import check_output_file, error_console, fail, fail_on, interruptible, read_settings, writing
from app.cli.options import TRAINING_DATA, AsJson, Home, Key, RunsOnOption, Url, WebhookOption
from app.cli.service import exit_unless_succeeded
from app.cli.service import service as ask_service
from models.data.catalog import DATASETS

if TYPE_CHECKING:  # takes a while to load
    from models.evaluation.evaluation_records import Evaluation


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
    quick: Annotated[bool, typer.Option("--quick", help="Evaluate fewer digits: faster, less precise.")] = False,
    as_json: AsJson = False,
    picture: Annotated[Path | None, typer.Option(help="Write charts of the result into this PNG.")] = None,
    service: Annotated[
        bool, typer.Option("--service", help="Let a worker of the service evaluate one of its checkpoints.")
    ] = False,
    priority: Annotated[int, typer.Option(help="With --service: 0 to 9. Higher priorities start first.")] = 0,
    runs_on: RunsOnOption = "any",
    webhook: WebhookOption = None,
    home: Home = None,
    url: Url = None,
    key: Key = None,
) -> None:
    """Measure the quality of a generator's digits, compared with real digits. Takes minutes.

    With --service a worker evaluates, and the command waits for the figures: the job continues if the command ends.
    """
    with fail_on():
        format_of(picture, None, PICTURES)
    check_output_file(picture)
    if service:
        if dataset is not None:
            fail("--dataset is for generators on this machine: a checkpoint of the service knows its training data")
        wanted: dict[str, Any] = {"checkpoint": checkpoint, "priority": priority, "runs_on": runs_on}
        wanted |= {"effort": "quick" if quick else "full"} | ({} if webhook is None else {"webhook": webhook})
        evaluate_there(wanted, as_json, picture, url, key)
        return
    settings = read_settings(home=home)

    from app.cli.local.evaluation import evaluate_here

    with fail_on(OSError, ValidationError):
        evaluate_here(
            settings, checkpoint, dataset, quick, picture, error_console, lambda result: show(result, as_json)
        )


def evaluate_there(
    wanted: dict[str, Any], as_json: bool, picture: Path | None, url: str | None, key: str | None
) -> None:
    """Order an evaluation, wait for it and show its figures."""
    from app.cli.display.evaluation_progress import showing_progress
    from models.evaluation.evaluation_records import Evaluation

    with ask_service(url, key) as client:
        ordered = client.evaluate(**wanted)
        again = f"`acgan follow {ordered.id}` follows it, `acgan cancel {ordered.id}` cancels it"
        continues = f"the service continues with the evaluation: {again}"
        with interruptible(continues), showing_progress(client, ordered, error_console):
            ended = client.wait(ordered, check=False)
        exit_unless_succeeded("evaluation", ended)
        result = client.evaluation_result(ended)
        show(Evaluation.model_validate_json(result.model_dump_json(), extra="ignore"), as_json)
        if picture is not None:
            charts = client.evaluation_picture(ended)
            with writing(picture):
                charts.save(picture)


def show(evaluation: "Evaluation", as_json: bool) -> None:
    from app.cli.display.columns import print_table
    from app.cli.display.evaluation_table import tabulate

    if as_json:
        write_line(escape_json(evaluation.model_dump_json(indent=2)))
    else:
        print_table(tabulate(evaluation))
