"""`acgan checkpoints` and `acgan serving`: the checkpoints of the service, and which one it serves."""

from typing import TYPE_CHECKING, Annotated

import typer

from app.cli.completion import served_choices
from app.cli.display.output import print_json, print_record
from app.cli.errors import fail
from app.cli.options import AsJson, Key, Url
from app.cli.service import service

if TYPE_CHECKING:  # takes a while to load
    from acgan_client.calls import Judged


def checkpoints(as_json: AsJson = False, url: Url = None, key: Key = None) -> None:
    """List the checkpoints of the service, newest first, and mark the one that is served."""
    with service(url, key) as client:
        listing = client.checkpoints()
    if as_json:
        print_json(listing.model_dump(mode="json"))
        return

    from app.cli.display.columns import print_table
    from app.cli.display.tables import checkpoints_table

    print_table(checkpoints_table(listing))


def serving(
    choice: Annotated[
        str | None,
        typer.Argument(
            metavar="newest|best|CHECKPOINT",
            autocompletion=served_choices,
            help="`newest`, `best`, or the id of a checkpoint to pin. If omitted, print the policy.",
        ),
    ] = None,
    dataset: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Training data of the newest or best checkpoint. If omitted, mnist."),
    ] = None,
    as_json: AsJson = False,
    url: Url = None,
    key: Key = None,
) -> None:
    """Print or choose the served checkpoint. To roll back, pass the id of the previous one."""
    with service(url, key) as client:
        match choice:
            case None if dataset is None:
                policy = client.serving()
            case None | "newest" | "best":
                kept = client.serving() if choice is None else None
                wanted = choice if kept is None else kept.policy
                by: Judged | None = "evaluation" if kept and wanted == "best" and kept.by == "evaluation" else None
                policy = client.serve("best" if wanted == "best" else "newest", dataset=dataset, by=by)
            case _ if dataset is not None:
                fail("--dataset is for newest and best")
            case _:
                policy = client.serve("pinned", choice)
    print_record(policy, as_json, f"{policy.policy}: {policy.serving or 'nothing'} is served")
