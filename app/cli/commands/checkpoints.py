"""`acgan checkpoints` and `acgan serving`: the checkpoints of the service, and which one it serves."""

from typing import Annotated

import typer

from app.cli.options import AsJson, Key, Url
from app.cli.output import tell_json, tell_record, tell_table
from app.cli.service import service


def checkpoints(as_json: AsJson = False, url: Url = None, key: Key = None) -> None:
    """List the checkpoints of the service, newest first, and which one is served."""
    with service(url, key) as client:
        found = client.checkpoints()
    if as_json:
        tell_json(found.model_dump(mode="json"))
        return

    from app.cli.tables import checkpoints_table

    tell_table(checkpoints_table(found))


def serving(
    choice: Annotated[
        str | None,
        typer.Argument(
            metavar="newest|best|CHECKPOINT",
            help="`newest`, `best`, or the id of a checkpoint to pin. If omitted, print the choice.",
        ),
    ] = None,
    as_json: AsJson = False,
    url: Url = None,
    key: Key = None,
) -> None:
    """Print or choose the served checkpoint. To roll back, name the previous one."""
    with service(url, key) as client:
        match choice:
            case None:
                found = client.serving()
            case "newest" | "best":
                found = client.serve(choice)
            case _:
                found = client.serve("pinned", choice)
    tell_record(found, as_json, f"{found.policy}: {found.serving or 'nothing'} is served")
