"""`acgan import`: sends a generator's file to the service."""

from pathlib import Path
from typing import Annotated, Any

import typer

from app.cli.completion import one_of
from app.cli.display.output import print_record
from app.cli.options import RECIPE_NAMES, TRAINING_DATA, AsJson, Key, Url
from app.cli.service import service
from models.data.catalog import DATASETS
from models.training.recipes import RECIPES


def import_checkpoint(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A generator: generator.safetensors of a checkpoint.")],
    name: Annotated[str | None, typer.Option(help="A label of the checkpoint.")] = None,
    dataset: Annotated[
        str,
        typer.Option(help=f"The training data of the generator: {TRAINING_DATA}.", autocompletion=one_of(*DATASETS)),
    ] = "mnist",
    recipe: Annotated[
        str, typer.Option(help=f"The recipe that trained it: {RECIPE_NAMES}.", autocompletion=one_of(*RECIPES))
    ] = "seed",
    as_json: AsJson = False,
    url: Url = None,
    key: Key = None,
) -> None:
    """Send a generator's weights to the service, which judges their digits and publishes a checkpoint."""
    fields: dict[str, Any] = {"name": name, "dataset": dataset, "recipe": recipe}
    with service(url, key) as client:
        imported = client.import_checkpoint(file, **fields)
    accuracy = imported.metrics.get("label_accuracy")
    figures = f": {accuracy:.1%} of its digits are recognised" if accuracy is not None else ""
    known = "" if imported.is_new else ", which existed with the same weights"
    print_record(imported, as_json, f"checkpoint {imported.id}{known}{figures}")
