"""`acgan import-keras`: converts weights of the original Keras script into checkpoints."""

from pathlib import Path
from typing import Annotated

import typer

from app.cli.completion import one_of
from app.cli.display.output import print_json, print_sentence
from app.cli.errors import error_console, fail_on, read_settings, require_keras
from app.cli.options import TRAINING_DATA, Home
from models.data.catalog import DATASETS


def import_keras(
    folder: Annotated[
        Path,
        typer.Argument(metavar="FOLDER", help="Folder with params_generator_epoch_001.hdf5 (.h5, .weights.h5), ..."),
    ],
    name: Annotated[str | None, typer.Option(help="Name of the run. Default: the folder's name.")] = None,
    dataset: Annotated[
        str, typer.Option(help=f"The training data of the run: {TRAINING_DATA}.", autocompletion=one_of(*DATASETS))
    ] = "mnist",
    as_json: Annotated[bool, typer.Option("--json", help="Print one line of JSON per checkpoint.")] = False,
    home: Home = None,
) -> None:
    """Convert weights of the original Keras script (Keras 2 and 3) into checkpoints, and serve the last good one."""
    settings = read_settings(home=home)
    require_keras()

    from pydantic import ValidationError
    from rich.progress import Progress

    from app.cli.local.keras_import import counts_from_zero, import_here
    from models.config import TrainingConfig

    with fail_on(ValidationError):
        label = TrainingConfig.model_validate({"dataset": dataset, "name": name or folder.resolve().name[:100] or None})
    with fail_on(OSError):
        if counts_from_zero(folder):
            error_console.print(
                "The files number the epochs from 000: file 000 becomes epoch 1, and so on.", highlight=False
            )
    with fail_on(OSError), Progress(console=error_console, transient=True) as bar:
        reading, writing = bar.add_task("reading", total=None), bar.add_task("judging and publishing", total=None)

        def checked(done: int, total: int) -> None:
            bar.update(reading, completed=done, total=total)
            bar.update(writing, total=total)

        manifests = import_here(
            settings, folder, label.dataset, label.name, checked, lambda done: bar.update(writing, completed=done)
        )
    for manifest in manifests:
        if as_json:
            print_json(manifest.model_dump(mode="json"))
        else:
            accuracy = manifest.metrics.get("label_accuracy")
            figures = f", {accuracy:.1%} of its digits recognised" if accuracy is not None else ""
            refused = f"; not served: {manifest.refused}" if manifest.refused else ""
            print_sentence(f"{manifest.id}{figures}{refused}")
    if not as_json and any(manifest.refused is None for manifest in manifests):
        last = [manifest.id for manifest in manifests if manifest.refused is None][-1]
        print_sentence(f"draw with the last one: acgan digits 7 --checkpoint {last}")
