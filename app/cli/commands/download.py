"""`acgan download`: waits for a generated data set and downloads its files, or downloads those of a checkpoint."""

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

from app.cli.checkpoint_download import Wanted, download_checkpoint, is_checkpoint
from app.cli.completion import datasets_or_checkpoints, one_of
from app.cli.display.output import console, print_json, print_sentence
from app.cli.errors import check_layout, check_output_folder, fail, interruptible, writing
from app.cli.options import AsJson, Key, LayoutOption, Url
from app.cli.references import DATASETS, find_job
from app.cli.service import exit_unless_succeeded, service
from models.interop.formats import FORMATS

if TYPE_CHECKING:  # takes a while to load
    from acgan_client import Client, Dataset
    from acgan_client.archives import Layout

ASK_SECONDS = 1.0
Name = Annotated[
    str,
    typer.Argument(
        metavar="DATASET|CHECKPOINT",
        help="Id of a data set (`acgan datasets`) or its beginning; id of a checkpoint, `latest` or `best`.",
        autocompletion=datasets_or_checkpoints,
    ),
]
Files = Annotated[
    list[str] | None, typer.Option("--file", help="Only this file of the checkpoint. Can be repeated. [default: all]")
]
OfForm = Annotated[
    str | None,
    typer.Option(
        "--format",
        autocompletion=one_of(*FORMATS),
        help="Convert the checkpoint's generator: `onnx`, `keras`, `keras3`.",
    ),
]
OfDiscriminator = Annotated[
    bool, typer.Option("--discriminator", help="Convert the discriminator instead (keras, keras3).")
]
WeightsOf = Annotated[
    str | None,
    typer.Option(
        "--weights",
        autocompletion=one_of("average", "trained"),
        help="Convert the `average` or the `trained` weights. [default: the served]",
    ),
]


def download(
    name: Name,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Folder for the files. [default: ., or the checkpoint's id]")
    ] = None,
    layout: LayoutOption = "mnist",
    file: Files = None,
    form: OfForm = None,
    discriminator: OfDiscriminator = False,
    weights: WeightsOf = None,
    as_json: AsJson = False,
    url: Url = None,
    key: Key = None,
) -> None:
    """Download the files of a data set or a checkpoint, and check each.

    Waits until a data set is complete; Ctrl-C ends the wait.
    """
    wanted = Wanted(file or [], form, discriminator, weights)
    if not is_checkpoint(name) and any(wanted):
        fail("--file, --format, --discriminator and --weights are for checkpoints")
    if is_checkpoint(name) and layout != "mnist":
        fail("--layout is for data sets")
    check_layout(layout)
    folder = out or Path()
    check_output_folder(folder)
    with service(url, key) as client:
        if is_checkpoint(name):
            download_checkpoint(client, name, wanted, out, as_json)
        else:
            dataset = client.dataset(find_job(client, name, DATASETS, has_latest=False))
            complete = wait_for_files(client, dataset, layout, as_json)
            download_files(client, complete, folder, layout, as_json)


def wait_for_files(client: "Client", generated: "Dataset", layout: str, as_json: bool) -> "Dataset":
    """Show progress until the files are complete. Continues through restarts of the service, as `Client.wait` does.

    Raises typer.Exit if the job fails or is cancelled, or on Ctrl-C.
    """
    again = f"`{repeated(generated, layout)}` waits for it and downloads it, `acgan cancel {generated.id}` cancels it"
    with interruptible(f"the service continues with the data set: {again}"):
        from acgan_client import Unavailable, Unreachable
        from acgan_client.following import Patience
        from app.cli.display.progress import digits_bar

        patience, order = Patience(client.patience_seconds), generated.order
        if not as_json and not generated.ended:
            each = f"{order.per_class + order.test_per_class:,} images of each class"
            print_sentence(f"data set {generated.id} is {generated.status.value}: {each}")
        with digits_bar(console) as bar:
            task = bar.add_task("draw", total=None, rate=0.0)
            while not generated.ended:
                if generated.progress:
                    progress = generated.progress
                    bar.update(task, completed=progress.drawn, total=progress.digits, rate=progress.digits_per_second)
                time.sleep(ASK_SECONDS)
                try:
                    generated = client.dataset(generated.id)
                    patience.answered()
                except (Unavailable, Unreachable) as error:
                    time.sleep(patience.wait(error))
    exit_unless_succeeded("data set", generated)
    return generated


def repeated(generated: "Dataset", layout: str) -> str:
    """Return the command that downloads a data set in a layout."""
    return f"acgan download {generated.id}" + ("" if layout == "mnist" else f" --layout {layout}")


def download_files(client: "Client", generated: "Dataset", out: Path, layout: str, as_json: bool) -> None:
    kept = f"complete files are kept in {out}/" if layout == "mnist" else "nothing is kept of an archive"
    others = "the others" if layout == "mnist" else "it again"
    resume = f"{kept}: `{repeated(generated, layout)} -o {out}` downloads {others}"
    with writing(out), interruptible(resume):
        for path in client.download(generated.id, out, cast("Layout", layout)):
            if not as_json:
                print_sentence(str(path))
    if as_json:
        print_json(generated.model_dump(mode="json"))
