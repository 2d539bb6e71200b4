"""Data sets on order: order, datasets, download."""

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from app.cli.commands.remote import INTERRUPTED, Key, Url, exit_unless_succeeded, service
from app.cli.common import (
    AsJson,
    Commands,
    RunsOnOption,
    check_folder,
    complain,
    console,
    tell,
    tell_json,
    tell_record,
    tell_table,
    writing,
)

if TYPE_CHECKING:  # takes a while to load
    from app.client import Client
    from app.schemas.datasets import DatasetView

ASK_SECONDS = 1.0
DatasetArgument = Annotated[str, typer.Argument(metavar="DATASET", help="Its id; `acgan datasets` lists them.")]


def order(
    per_class: Annotated[int, typer.Option(help="Training digits of each class, 1 to 500,000.")] = 6000,
    test_per_class: Annotated[int, typer.Option(help="Test digits of each class, as many.")] = 1000,
    seed: Annotated[int, typer.Option(help="The hand that writes.")] = 1,
    checkpoint: Annotated[str, typer.Option(help="Which generator draws: `latest`, `best`, or an id.")] = "latest",
    verify: Annotated[
        float | None, typer.Option(help="0 to 1: how sure the judge must be of each digit; others are drawn again.")
    ] = None,
    priority: Annotated[int, typer.Option(help="0 to 9: higher ones are made first.")] = 0,
    runs_on: RunsOnOption = "any",
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Wait until it is made, and download it into this folder.")
    ] = None,
    as_json: AsJson = False,
    url: Url = None,
    key: Key = None,
) -> None:
    """Order digits by the thousand, as the four files that every loader of MNIST reads."""
    check_folder(out)
    with service(url, key) as client:
        found = client.order(
            per_class=per_class,
            test_per_class=test_per_class,
            seed=seed,
            checkpoint=checkpoint,
            verify=verify,
            priority=priority,
            runs_on=runs_on,
        )
        if out is not None:
            fetch(client, wait_until_made(client, found, as_json), out, as_json)
            return
    tell_record(
        found, as_json, f"data set {found.id} is ordered: `acgan download {found.id}` waits for it and fetches it"
    )


def datasets(
    limit: Annotated[int, typer.Option(help="How many, 1 to 100.")] = 20,
    before: Annotated[str | None, typer.Option(help="Only those ordered before this one.")] = None,
    as_json: AsJson = False,
    url: Url = None,
    key: Key = None,
) -> None:
    """List the data sets on order, newest first."""
    with service(url, key) as client:
        found = client.datasets(limit, before)
    if as_json:
        tell_json(found.model_dump(mode="json"))
        return
    if not found.datasets:
        tell("no data sets: order one by `acgan order`")
        return

    from app.cli.tables import datasets_table

    tell_table(datasets_table(found.datasets))
    if found.next:
        tell(f"there are more: acgan datasets --before {found.datasets[-1].id}")


def download(
    dataset_id: DatasetArgument,
    out: Annotated[Path, typer.Option("--out", "-o", help="The folder that the files go to.")] = Path(),
    as_json: AsJson = False,
    url: Url = None,
    key: Key = None,
) -> None:
    """Fetch a data set's files, each checked; one that is still being made is waited for. Ctrl-C ends the waiting."""
    check_folder(out)
    with service(url, key) as client:
        fetch(client, wait_until_made(client, client.dataset(dataset_id), as_json), out, as_json)


def wait_until_made(client: "Client", found: "DatasetView", as_json: bool) -> "DatasetView":
    """Show how far it is. Raises typer.Exit where it ends otherwise, and on Ctrl-C, which leaves the order alone."""
    try:
        from app.cli.progress import digits_bar
        from worker.jobs.model import ENDED

        if not as_json and found.status not in ENDED:
            tell(f"data set {found.id} is {found.status.value}: {found.order.digits:,} digits")
        with digits_bar(console) as bar:
            task = bar.add_task("draw", total=None, rate=0.0)
            while found.status not in ENDED:
                if found.progress:
                    made = found.progress
                    bar.update(task, completed=made.drawn, total=made.digits, rate=made.digits_per_second)
                time.sleep(ASK_SECONDS)
                found = client.dataset(found.id)
    except KeyboardInterrupt:
        complain(f"stopped waiting; it is made all the same: `acgan download {found.id}` comes back to it")
        raise typer.Exit(INTERRUPTED) from None
    exit_unless_succeeded("data set", found)
    return found


def fetch(client: "Client", found: "DatasetView", out: Path, as_json: bool) -> None:
    with writing(out):
        for path in client.download(found.id, out):
            if not as_json:
                tell(str(path))
    if as_json:
        tell_json(found.model_dump(mode="json"))


COMMANDS: Commands = {"order": order, "datasets": datasets, "download": download}
