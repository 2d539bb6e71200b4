"""`acgan jobs`: lists the runs of the service."""

from typing import Annotated

import typer

from app.cli.completion import one_of, runs
from app.cli.options import AsJson, Key, Url
from app.cli.output import print_json, print_sentence
from app.cli.references import RUNS, find_job
from app.cli.service import service


def jobs(
    limit: Annotated[int, typer.Option(help="Maximum number to list, 1 to 100.")] = 20,
    status: Annotated[
        str | None,
        typer.Option(
            help="List only runs with this status, for example `failed`.",
            autocompletion=one_of("queued", "running", "cancelling", "succeeded", "failed", "cancelled"),
        ),
    ] = None,
    before: Annotated[
        str | None, typer.Option(help="List only runs accepted before this job.", autocompletion=runs)
    ] = None,
    as_json: AsJson = False,
    url: Url = None,
    key: Key = None,
) -> None:
    """List the runs of the service, newest first."""
    with service(url, key) as client:
        earlier = find_job(client, before, RUNS) if before else None
        page = client.jobs(limit, status, earlier)
    if as_json:
        print_json(page.model_dump(mode="json"))
        return
    if not page.jobs:
        print_sentence("no matching runs" if status or before else "no runs: start one with `acgan start`")
        return

    from app.cli.columns import print_table
    from app.cli.tables import jobs_table

    print_table(jobs_table(page.jobs))
    if page.next:
        filters = f" --status {status}" if status else ""
        print_sentence(f"there are more: acgan jobs{filters} --before {page.jobs[-1].id}")
