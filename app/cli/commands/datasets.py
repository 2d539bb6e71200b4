"""Requests for generated data sets: `acgan order`, `datasets`, `download`."""

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
DatasetArgument = Annotated[
    str, typer.Argument(metavar="DATASET", help="Id of the data set; `acgan datasets` lists them.")
]


def order(
    per_class: Annotated[int, typer.Option(help="Training digits per class, 1 to 500,000.")] = 6000,
    test_per_class: Annotated[int, typer.Option(help="Test digits per class, 1 to 500,000.")] = 1000,
    seed: Annotated[int, typer.Option(help="Random seed. The same seed always generates the same digits.")] = 1,
    checkpoint: Annotated[str, typer.Option(help="The generator: `latest`, `best`, or a checkpoint's id.")] = "latest",
    verify: Annotated[
        float | None,
        typer.Option(help="0 to 1: minimum confidence of the judge in each digit; other digits are drawn again."),
    ] = None,
    priority: Annotated[int, typer.Option(help="0 to 9. Jobs with a higher priority start first.")] = 0,
    runs_on: RunsOnOption = "any",
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Wait until it is complete, and download it into this folder.")
    ] = None,
    as_json: AsJson = False,
    url: Url = None,
    key: Key = None,
) -> None:
    """Generate a data set: thousands of digits, as the four files that every MNIST loader reads."""
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
        found, as_json, f"data set {found.id} is accepted: `acgan download {found.id}` waits for it and downloads it"
    )


def datasets(
    limit: Annotated[int, typer.Option(help="Maximum number to list, 1 to 100.")] = 20,
    before: Annotated[str | None, typer.Option(help="List only those ordered before this one.")] = None,
    as_json: AsJson = False,
    url: Url = None,
    key: Key = None,
) -> None:
    """List the generated data sets, newest first."""
    with service(url, key) as client:
        found = client.datasets(limit, before)
    if as_json:
        tell_json(found.model_dump(mode="json"))
        return
    if not found.datasets:
        tell("no data sets: generate one with `acgan order`")
        return

    from app.cli.tables import datasets_table

    tell_table(datasets_table(found.datasets))
    if found.next:
        tell(f"there are more: acgan datasets --before {found.datasets[-1].id}")


def download(
    dataset_id: DatasetArgument,
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for the files.")] = Path(),
    as_json: AsJson = False,
    url: Url = None,
    key: Key = None,
) -> None:
    """Download the files of a data set and check each. Waits until the data set is complete; Ctrl-C ends the wait."""
    check_folder(out)
    with service(url, key) as client:
        fetch(client, wait_until_made(client, client.dataset(dataset_id), as_json), out, as_json)


def wait_until_made(client: "Client", found: "DatasetView", as_json: bool) -> "DatasetView":
    """Show progress until the files are complete. Raises typer.Exit if the job fails or is cancelled, or on Ctrl-C."""
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
        complain(f"stopped waiting; its job continues: `acgan download {found.id}` waits for it again")
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
