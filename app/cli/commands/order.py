"""`acgan order`: generates a data set on the service."""

from pathlib import Path
from typing import Annotated, Any

import typer

from app.cli.commands.download import download_files, wait_for_files
from app.cli.display.output import print_record
from app.cli.errors import check_layout, check_output_folder, fail
from app.cli.options import AsJson, Key, LayoutOption, RunsOnOption, ServedCheckpoint, Url, WebhookOption
from app.cli.service import service


def order(
    per_class: Annotated[int, typer.Option(help="Training digits per class, 1 to 500,000.")] = 6000,
    test_per_class: Annotated[int, typer.Option(help="Test digits per class, 1 to 500,000.")] = 1000,
    seed: Annotated[int, typer.Option(help="Random seed. The same seed always generates the same digits.")] = 1,
    checkpoint: ServedCheckpoint = "latest",
    verify: Annotated[
        float | None,
        typer.Option(help="0 to 1: least probability of a digit's label by the judge; other digits are drawn again."),
    ] = None,
    priority: Annotated[int, typer.Option(help="0 to 9. Jobs with a higher priority start first.")] = 0,
    runs_on: RunsOnOption = "any",
    webhook: WebhookOption = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="Wait until the data set is complete, then download it into this folder."),
    ] = None,
    layout: LayoutOption = "mnist",
    as_json: AsJson = False,
    url: Url = None,
    key: Key = None,
) -> None:
    """Generate a data set: thousands of digits, in MNIST's file format or another layout."""
    check_layout(layout)
    if out is None and layout != "mnist":
        fail("--layout needs --out: a data set gets its layout when it is downloaded")
    if verify is not None and not 0 <= verify <= 1:
        fail(f"--verify should be from 0 to 1, not {verify:g}")
    check_output_folder(out)
    fields: dict[str, Any] = {
        "per_class": per_class,
        "test_per_class": test_per_class,
        "seed": seed,
        "checkpoint": checkpoint,
        "verify": verify,
        "priority": priority,
        "runs_on": runs_on,
    }
    if webhook is not None:
        fields["webhook"] = webhook
    with service(url, key) as client:
        ordered = client.order(**fields)
        if out is not None:
            download_files(client, wait_for_files(client, ordered, layout, as_json), out, layout, as_json)
            return
    print_record(
        ordered,
        as_json,
        f"data set {ordered.id} is accepted: `acgan download {ordered.id}` waits for it and downloads it",
    )
