"""`acgan history`: the recipe and the epochs of a run, as JSON or CSV."""

from pathlib import Path
from typing import Annotated

import typer

from app.cli.display.output import escape_json, in_lines, print_sentence, write_line
from app.cli.display.picture_files import format_of
from app.cli.errors import fail_on, writing
from app.cli.options import AsJson, JobArgument, Key, Url
from app.cli.references import RUNS, find_job
from app.cli.service import service
from models.atomic_files import write_output


def history(
    job: JobArgument,
    csv: Annotated[
        bool, typer.Option("--csv", help="CSV, one line per epoch; the default for a file named .csv. Otherwise JSON.")
    ] = False,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="The file to write. If omitted, print the history.")
    ] = None,
    as_json: AsJson = False,
    url: Url = None,
    key: Key = None,
) -> None:
    """Print a run's recipe and the losses and figures of every epoch, as JSON or CSV."""
    with fail_on():
        form = format_of(out, "json" if as_json and out is None else "csv" if csv else None, ("json", "csv"))
    csv = form == "csv"
    with service(url, key) as client:
        job_id = find_job(client, job, RUNS)
        text = client.history_csv(job_id) if csv else client.history(job_id).model_dump_json(indent=2)
    if out is None:
        lines = text.replace("\r\n", "\n").rstrip("\n")
        write_line(in_lines(lines) if csv else escape_json(lines))
        return
    with writing(out):
        write_output(out, text.encode())
    if not as_json:
        print_sentence(f"the history of {job_id} is written to {out} as {'CSV' if csv else 'JSON'}")
