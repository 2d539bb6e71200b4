"""`acgan datasets`: lists the generated data sets."""

from typing import Annotated

import typer

from app.cli.display.output import print_json, print_sentence
from app.cli.options import AsJson, Key, Url
from app.cli.references import DATASETS, find_job
from app.cli.service import service


def datasets(
    limit: Annotated[int, typer.Option(help="Maximum number to list, 1 to 100.")] = 20,
    before: Annotated[str | None, typer.Option(help="List only those ordered before this one.")] = None,
    as_json: AsJson = False,
    url: Url = None,
    key: Key = None,
) -> None:
    """List the generated data sets, newest first."""
    with service(url, key) as client:
        earlier = find_job(client, before, DATASETS) if before else None
        page = client.datasets(limit, earlier)
    if as_json:
        print_json(page.model_dump(mode="json"))
        return
    if not page.datasets:
        print_sentence("no data sets: generate one with `acgan order`")
        return

    from app.cli.display.columns import print_table
    from app.cli.display.tables import datasets_table

    print_table(datasets_table(page.datasets))
    if page.next:
        print_sentence(f"there are more: acgan datasets --before {page.datasets[-1].id}")
