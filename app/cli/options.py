"""The options that several commands have. Those for hyperparameters are generated from TrainingConfig."""

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any

import typer

from app.cli.completion import jobs, one_of, served_checkpoints
from models.config import TrainingConfig
from models.data.catalog import DATASETS
from models.synthesis.layouts.table import LAYOUTS
from models.training.recipes import RECIPES

Home = Annotated[Path | None, typer.Option(help="Folder for checkpoints, Redis and caches [ACGAN_HOME, or .acgan].")]
RunsOnOption = Annotated[
    str,
    typer.Option(
        "--runs-on",
        autocompletion=one_of("any", "cpu", "gpu"),
        help="`any` worker, or only workers without a GPU (`cpu`) or with one (`gpu`).",
    ),
]
WebhookOption = Annotated[
    str | None,
    typer.Option("--webhook", metavar="URL", help="https address that receives a message when the job ends."),
]
LayoutOption = Annotated[
    str,
    typer.Option(
        "--layout",
        help=f"Arrangement of the files: {', '.join(f'`{name}`' for name in LAYOUTS)}.",
        autocompletion=one_of(*LAYOUTS),
    ),
]
AnimationOut = Annotated[
    Path | None,
    typer.Option("--out", "-o", help="The file to write: .gif, .webp or .png. If omitted, print to the terminal."),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
Host = Annotated[str | None, typer.Option(help="Address to listen on [ACGAN_HOST, or 127.0.0.1].")]
Port = Annotated[int | None, typer.Option(help="Port to listen on [ACGAN_PORT, or 8000].")]
Workers = Annotated[int | None, typer.Option(help="Number of workers [ACGAN_WORKERS, or one per GPU, at least one].")]
Device = Annotated[str | None, typer.Option(help="`cpu`, `cuda`, `cuda:1` [ACGAN_DEVICE, or a GPU if there is one].")]
Url = Annotated[str | None, typer.Option(help="Address of the service [ACGAN_URL, or http://127.0.0.1:8000].")]
Key = Annotated[str | None, typer.Option(help="API key, if the service requires one [ACGAN_KEY].")]
JobArgument = Annotated[
    str,
    typer.Argument(
        metavar="JOB",
        help="Id of the job (`acgan jobs`), the beginning of one, the name of a run, or `latest`.",
        autocompletion=jobs,
    ),
]
ServedCheckpoint = Annotated[
    str,
    typer.Option(
        "--checkpoint",
        help="The generator: `latest`, `best`, or a checkpoint's id.",
        autocompletion=served_checkpoints,
    ),
]
ServedSeed = Annotated[
    int | None,
    typer.Option("--seed", help="Random seed. The same seed always draws the same digits.", show_default=False),
]
IndexOption = Annotated[int, typer.Option("--index", help="Position of the latent vector in the sequence of the seed.")]
ScaleOption = Annotated[int, typer.Option("--scale", help="Scale factor of the picture, 1 to 8.")]
PaddingOption = Annotated[int, typer.Option("--padding", help="Pixels around the picture, 0 to 8.")]
InvertOption = Annotated[bool, typer.Option("--invert", help="Draw black on white.")]


def option(field: str, values: Iterable[str] = ()) -> Any:
    """Return an option with the description and default of a hyperparameter."""
    described = TrainingConfig.model_fields[field]
    default = "all" if described.default is None else described.default
    note = "" if field == "batch_size" else f" (default: {default})"  # its description gives that of each recipe
    completion = one_of(*values) if values else None
    return typer.Option(help=f"{described.description}{note}", autocompletion=completion)


def listed(names: Iterable[str]) -> str:
    *others, last = (f"`{name}`" for name in names)
    return f"{', '.join(others)} or {last}"


TRAINING_DATA, RECIPE_NAMES = listed(DATASETS), listed(RECIPES)

Recipe = Annotated[str | None, option("recipe", RECIPES)]
Epochs = Annotated[int | None, option("epochs")]
BatchSize = Annotated[int | None, option("batch_size")]
LatentSize = Annotated[int | None, option("latent_size")]
AdamLr = Annotated[float | None, option("adam_lr")]
AdamBeta1 = Annotated[float | None, option("adam_beta_1")]
Seed = Annotated[int | None, option("seed")]
DatasetOption = Annotated[str | None, option("dataset", DATASETS)]
TrainExamples = Annotated[int | None, option("train_examples")]
TestExamples = Annotated[int | None, option("test_examples")]
PrecisionOption = Annotated[str | None, option("precision", ("auto", "fp32", "bf16"))]


def given(options: dict[str, Any]) -> dict[str, Any]:
    """Return the hyperparameters that were set, from the local variables of a command."""
    return {name: value for name, value in options.items() if name in TrainingConfig.model_fields and value is not None}
