"""The options that several commands have. Those for hyperparameters are generated from TrainingConfig."""

from pathlib import Path
from typing import Annotated, Any

import typer

from models.config import TrainingConfig
from models.data.catalog import DATASETS
from models.synthesis.layouts.table import LAYOUTS

Home = Annotated[Path | None, typer.Option(help="Folder for checkpoints, Redis and caches [ACGAN_HOME, or .acgan].")]
RunsOnOption = Annotated[
    str, typer.Option("--runs-on", help="`any` worker, or only workers without a GPU (`cpu`) or with one (`gpu`).")
]
WebhookOption = Annotated[
    str | None,
    typer.Option("--webhook", metavar="URL", help="https address that receives a message when the job ends."),
]
LayoutOption = Annotated[
    str, typer.Option("--layout", help=f"Arrangement of the files: {', '.join(f'`{name}`' for name in LAYOUTS)}.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Host = Annotated[str | None, typer.Option(help="Address to listen on [ACGAN_HOST, or 127.0.0.1].")]
Port = Annotated[int | None, typer.Option(help="Port to listen on [ACGAN_PORT, or 8000].")]
Workers = Annotated[int | None, typer.Option(help="Number of workers [ACGAN_WORKERS, or one per GPU, at least one].")]
Device = Annotated[str | None, typer.Option(help="`cpu`, `cuda`, `cuda:1` [ACGAN_DEVICE, or a GPU if there is one].")]
Url = Annotated[str | None, typer.Option(help="Address of the service [ACGAN_URL, or http://127.0.0.1:8000].")]
Key = Annotated[str | None, typer.Option(help="API key, if the service requires one [ACGAN_KEY].")]
JobArgument = Annotated[str, typer.Argument(metavar="JOB", help="Id of the job; `acgan jobs` lists them.")]


def option(field: str) -> Any:
    """Return an option with the description and default of a hyperparameter."""
    described = TrainingConfig.model_fields[field]
    default = "all" if described.default is None else described.default
    return typer.Option(help=f"{described.description} (default: {default})")


TRAINING_DATA = " or ".join(f"`{name}`" for name in DATASETS)

Recipe = Annotated[str | None, option("recipe")]
Epochs = Annotated[int | None, option("epochs")]
BatchSize = Annotated[int | None, option("batch_size")]
LatentSize = Annotated[int | None, option("latent_size")]
AdamLr = Annotated[float | None, option("adam_lr")]
AdamBeta1 = Annotated[float | None, option("adam_beta_1")]
Seed = Annotated[int | None, option("seed")]
DatasetOption = Annotated[str | None, option("dataset")]
TrainExamples = Annotated[int | None, option("train_examples")]
TestExamples = Annotated[int | None, option("test_examples")]
PrecisionOption = Annotated[str | None, option("precision")]


def given(options: dict[str, Any]) -> dict[str, Any]:
    """Return the hyperparameters that were set, from the local variables of a command."""
    return {name: value for name, value in options.items() if name in TrainingConfig.model_fields and value is not None}
