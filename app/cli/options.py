"""The options that say what a run computes: those of `acgan train` and `acgan start`, out of the one table."""

from typing import Annotated, Any

import typer

from models.config import TrainingConfig


def option(field: str) -> Any:
    """An option that says of a hyperparameter what its one table says."""
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
    """Pick the hyperparameters that were named out of a command's own variables."""
    return {name: value for name, value in options.items() if name in TrainingConfig.model_fields and value is not None}
