"""The options of `acgan train` and `acgan start` for hyperparameters, generated from TrainingConfig."""

from typing import Annotated, Any

import typer

from models.config import TrainingConfig


def option(field: str) -> Any:
    """Return an option with the description and default of a hyperparameter."""
    described = TrainingConfig.model_fields[field]
    default = "all" if described.default is None else described.default
    return typer.Option(help=f"{described.description} (default: {default})")


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
