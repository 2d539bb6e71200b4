import json

import pytest
from pydantic import ValidationError

from models.config import TrainingConfig
from models.training.recipes import RECIPES


def test_an_empty_recipe_is_the_original_one() -> None:
    config = TrainingConfig()
    assert (config.epochs, config.batch_size, config.latent_size, config.seed) == (100, 100, 100, 1337)
    assert (config.adam_lr, config.adam_beta_1) == (0.0002, 0.5)
    assert (config.dataset, config.train_examples, config.test_examples) == ("mnist", None, None)


@pytest.mark.parametrize(
    "wrong",
    [
        {"epochs": 0},
        {"epochs": -1},
        {"epochs": 1001},
        {"epochs": 1e9},
        {"epochs": "5"},
        {"epochs": True},
        {"batch_size": 1},
        {"latent_size": 0},
        {"adam_lr": 0.0},
        {"adam_lr": float("nan")},
        {"adam_beta_1": 1.0},
        {"seed": -1},
        {"seed": 2**53},
        {"dataset": "Cifar!"},
        {"precision": "fp8"},
        {"train_examples": 1_000_001},
        {"test_examples": 0},
        {"name": ""},
        {"name": "x" * 101},
        {"epoch": 5},
    ],
)
def test_invalid_values_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        TrainingConfig(**wrong)  # type: ignore[arg-type]


def test_an_epoch_holds_at_least_one_batch() -> None:
    with pytest.raises(ValidationError, match="less than one batch of 100"):
        TrainingConfig(train_examples=99)
    assert TrainingConfig(train_examples=99, batch_size=99).train_examples == 99


def test_a_whole_number_can_be_written_with_a_point() -> None:
    assert TrainingConfig.model_validate_json('{"epochs": 2.0}') == TrainingConfig(epochs=2)
    for value in ("2.5", '"2"', "true", "1e400"):
        with pytest.raises(ValidationError):
            TrainingConfig.model_validate_json(f'{{"epochs": {value}}}')


@pytest.mark.parametrize(("recipe", "batch_size"), [("seed", 100), ("sharp", 100), ("thorough", 50)])
def test_a_batch_size_that_is_not_given_is_that_of_the_recipe(recipe: str, batch_size: int) -> None:
    for given, expected in (({}, batch_size), ({"batch_size": 70}, 70), ({"batch_size": 100}, 100)):
        assert TrainingConfig.model_validate({"recipe": recipe} | given).batch_size == expected
        text = json.dumps({"recipe": recipe} | given)
        assert TrainingConfig.model_validate_json(text).batch_size == expected
        assert TrainingConfig.model_validate_json(TrainingConfig.model_validate_json(text).model_dump_json()) == (
            TrainingConfig.model_validate_json(text)
        )


@pytest.mark.parametrize("recipe", [["thorough"], {"thorough": 1}, None, 5, "blunt"])
def test_a_recipe_that_is_none_is_refused(recipe: object) -> None:
    with pytest.raises(ValidationError, match="recipe"):
        TrainingConfig.model_validate({"recipe": recipe})


def test_the_schema_gives_the_batch_size_of_each_recipe_and_no_single_default() -> None:
    """A generated client may send what the schema calls the default: then `thorough` would have other batches."""
    schema = TrainingConfig.model_json_schema()
    field = schema["properties"]["batch_size"]
    assert "default" not in field
    assert field["x-default-of-recipe"] == {name: recipe.batch_size for name, recipe in RECIPES.items()}
    assert "batch_size" not in schema.get("required", [])
