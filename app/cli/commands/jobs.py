"""`acgan jobs`: lists the runs of the service, or its other jobs."""

import shlex
from typing import Annotated, Literal

import typer

from app.cli.completion import one_of, runs
from app.cli.display.output import print_json, print_sentence
from app.cli.options import AsJson, Key, Url
from app.cli.references import RUNS, find_job
from app.cli.service import service

Sort = Literal["newest", "active", "name", "epochs", "frechet"]
Kind = Literal["training", "training_data", "dataset", "evaluation"]
KIND = "training (runs), training_data (files that become training data), dataset (generated data sets), or evaluation."
SORT = "newest, active (running and waiting ones first), name, epochs (most first), or frechet (best first)."
DEFAULTS = {"kind": "training", "sort": "newest"}


def jobs(
    limit: Annotated[int, typer.Option(help="Maximum number to list, 1 to 100.")] = 20,
    status: Annotated[
        str | None,
        typer.Option(
            help="List only runs with this status, for example `failed`.",
            autocompletion=one_of("queued", "running", "cancelling", "succeeded", "failed", "cancelled"),
        ),
    ] = None,
    kind: Annotated[Kind, typer.Option(help=KIND)] = "training",
    before: Annotated[
        str | None,
        typer.Option(
            help="List only the jobs that follow this one. With `--kind`, its complete id.", autocompletion=runs
        ),
    ] = None,
    search: Annotated[str, typer.Option(help="List only runs whose name, tags or id have these words.")] = "",
    sort: Annotated[Sort, typer.Option(help=SORT)] = "newest",
    tag: Annotated[str, typer.Option(help="List only runs with this tag.")] = "",
    archived: Annotated[bool, typer.Option("--archived", help="List archived runs, and no others.")] = False,
    as_json: AsJson = False,
    url: Url = None,
    key: Key = None,
) -> None:
    """List the runs of the service, or other jobs, newest first. Archived runs are listed only with `--archived`."""
    with service(url, key) as client:
        earlier = find_job(client, before, RUNS) if before and kind == "training" else before
        page = client.jobs(
            limit,
            status,
            earlier,
            "all" if as_json else "last",  # the table shows only the last epoch
            kind=kind,
            search=search or None,
            sort=sort,
            tag=tag or None,
            archived=archived,
        )
    if as_json:
        print_json(page.model_dump(mode="json"))
        return
    if not page.jobs:
        is_filtered = archived or before or status or search or tag
        found_none = "no matching runs" if is_filtered else "no runs: start one with `acgan start`"
        print_sentence(found_none if kind == "training" else "no matching jobs")
        return

    from app.cli.display.columns import print_table
    from app.cli.display.tables import jobs_table, other_jobs_table

    print_table(jobs_table(page.jobs) if kind == "training" else other_jobs_table(page.jobs))
    if page.next:
        given = {"kind": kind, "status": status, "search": search, "tag": tag, "sort": sort}
        filters = "".join(
            f" --{name} {shlex.quote(value)}" for name, value in given.items() if value and value != DEFAULTS.get(name)
        )
        filters += " --archived" if archived else ""
        print_sentence(f"there are more: acgan jobs{filters} --before {page.jobs[-1].id}")
