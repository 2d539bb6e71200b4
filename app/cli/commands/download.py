"""`acgan download`: waits for a generated data set and downloads its files."""

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

from app.cli.errors import INTERRUPTED, check_layout, check_output_folder, fail, writing
from app.cli.options import AsJson, Key, LayoutOption, Url
from app.cli.output import console, print_json, print_sentence
from app.cli.service import exit_unless_succeeded, service

if TYPE_CHECKING:  # takes a while to load
    from acgan_client import Client, Dataset
    from acgan_client.archives import Layout

ASK_SECONDS = 1.0
DatasetArgument = Annotated[
    str, typer.Argument(metavar="DATASET", help="Id of the data set; `acgan datasets` lists them.")
]


def download(
    dataset_id: DatasetArgument,
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for the files.")] = Path(),
    layout: LayoutOption = "mnist",
    as_json: AsJson = False,
    url: Url = None,
    key: Key = None,
) -> None:
    """Download the files of a data set and check each. Waits until the data set is complete; Ctrl-C ends the wait."""
    check_layout(layout)
    check_output_folder(out)
    with service(url, key) as client:
        download_files(client, wait_for_files(client, client.dataset(dataset_id), as_json), out, layout, as_json)


def wait_for_files(client: "Client", generated: "Dataset", as_json: bool) -> "Dataset":
    """Show progress until the files are complete. Raises typer.Exit if the job fails or is cancelled, or on Ctrl-C."""
    try:
        from app.cli.progress import digits_bar

        if not as_json and not generated.ended:
            print_sentence(f"data set {generated.id} is {generated.status.value}: {generated.order.digits:,} digits")
        with digits_bar(console) as bar:
            task = bar.add_task("draw", total=None, rate=0.0)
            while not generated.ended:
                if generated.progress:
                    progress = generated.progress
                    bar.update(task, completed=progress.drawn, total=progress.digits, rate=progress.digits_per_second)
                time.sleep(ASK_SECONDS)
                generated = client.dataset(generated.id)
    except KeyboardInterrupt:
        fail(
            f"stopped waiting; the job continues: `acgan download {generated.id}` waits for the data set again",
            INTERRUPTED,
        )
    exit_unless_succeeded("data set", generated)
    return generated


def download_files(client: "Client", generated: "Dataset", out: Path, layout: str, as_json: bool) -> None:
    with writing(out):
        for path in client.download(generated.id, out, cast("Layout", layout)):
            if not as_json:
                print_sentence(str(path))
    if as_json:
        print_json(generated.model_dump(mode="json"))
