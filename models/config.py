"""The one table of hyperparameters, with the defaults of the original Keras script. Free of torch."""

from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from models.data.catalog import DATASETS
from models.data.reference import REFERENCE
from models.training.recipes import RECIPES

NUM_CLASSES = 10  # of the original script
MOST_CLASSES = 100
IMAGE_SIZE = 28
MOST_IMAGES = 1_000_000  # of one split
MAX_SEED = 2**53 - 1  # the largest integer that every JSON parser represents exactly

DatasetName = Annotated[str, Field(pattern=REFERENCE, examples=list(DATASETS))]
if TYPE_CHECKING:
    RecipeName = str
else:
    RecipeName = Literal[tuple(RECIPES)]
Precision = Literal["auto", "fp32", "bf16"]


def as_integer(value: object) -> object:
    """Convert 2.0 to 2, since JSON Schema counts it as an integer. "2" and true are no integers."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


WHOLE = BeforeValidator(as_integer)


def without_default(schema: dict[str, Any]) -> None:
    """Give the default of each recipe instead of one: a generated client may send what the schema calls the default."""
    del schema["default"]
    schema["x-default-of-recipe"] = {name: recipe.batch_size for name, recipe in RECIPES.items()}


class TrainingConfig(BaseModel):
    """Settings of one run. An empty body is the original recipe."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

    recipe: RecipeName = Field(
        "seed",
        description="; ".join(f"`{name}` {recipe.description}" for name, recipe in RECIPES.items()) + ".",
    )
    epochs: Annotated[int, Field(ge=1, le=1000), WHOLE] = Field(
        100, description="Passes over the training images. Digits are readable after about 5, good after about 15."
    )
    batch_size: Annotated[int, Field(ge=2, le=1000), WHOLE] = Field(
        100,
        description="Real images per iteration. The default depends on the recipe: "
        + ", ".join(f"{recipe.batch_size} with `{name}`" for name, recipe in RECIPES.items())
        + ".",
        json_schema_extra=without_default,
    )
    latent_size: Annotated[int, Field(ge=1, le=1000), WHOLE] = Field(
        100, description="Length of the noise vector z, uniform in [-1, 1]."
    )
    adam_lr: Annotated[float, Field(gt=0, le=1)] = Field(
        2e-4, description="Adam's learning rate, for both networks (Radford et al. 2015)."
    )
    adam_beta_1: Annotated[float, Field(ge=0, lt=1)] = Field(
        0.5, description="Adam's decay of the first moment (Radford et al. 2015)."
    )
    seed: Annotated[int, Field(ge=0, lt=2**53), WHOLE] = Field(
        1337,
        description="Random seed of weights, noise, labels of fakes, dropout, and order and distortion of real images: "
        "the same seed gives the same run.",
    )
    dataset: DatasetName = Field(
        "mnist",
        description="Training data: "
        + "; ".join(f"`{name}`, {data.description}" for name, data in DATASETS.items())
        + "; or the name of your own. `name@2` is its second version; without it, the newest at the start of the run.",
    )
    train_examples: Annotated[int, Field(ge=2, le=MOST_IMAGES), WHOLE] | None = Field(
        None, description="Train on the first N images only, for a quick test; at least one batch. All if it has fewer."
    )
    test_examples: Annotated[int, Field(ge=1, le=MOST_IMAGES), WHOLE] | None = Field(
        None, description="Compute test losses on the first N images only."
    )
    precision: Precision = Field(
        "auto",
        description="`fp32`, `bf16`, or `auto`, which is resolved when the run first starts: bf16 if the processor "
        "computes it natively, else fp32.",
    )
    name: Annotated[str, Field(min_length=1, max_length=100)] | None = Field(
        None, description="A name for the run, shown beside the job."
    )

    @model_validator(mode="before")
    @classmethod
    def take_the_batch_size_of_the_recipe(cls, fields: Any) -> Any:
        recipe = fields.get("recipe") if isinstance(fields, dict) else None
        if not isinstance(recipe, str) or recipe not in RECIPES or "batch_size" in fields:
            return fields
        return fields | {"batch_size": RECIPES[recipe].batch_size}

    @model_validator(mode="after")
    def check_that_an_epoch_has_a_batch(self) -> Self:
        if self.train_examples is not None and self.train_examples < self.batch_size:
            raise ValueError(
                f"train_examples is {self.train_examples}, less than one batch of {self.batch_size}: "
                "raise train_examples or lower batch_size"
            )
        return self
