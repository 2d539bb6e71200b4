"""The tables of training data and recipes: every row is complete, and a config accepts its name."""

import pytest

from models.config import TrainingConfig
from models.data.catalog import DATASETS
from models.training.recipes import RECIPES


@pytest.mark.parametrize("name", DATASETS)
def test_a_config_accepts_every_data_set_and_describes_it(name: str) -> None:
    assert TrainingConfig(dataset=name).dataset == name
    assert f"`{name}`, {DATASETS[name].description}" in str(TrainingConfig.model_fields["dataset"].description)


@pytest.mark.parametrize("name", [name for name, data in DATASETS.items() if data.files])
def test_the_files_of_a_data_set_are_images_and_labels_for_training_and_for_tests(name: str) -> None:
    train_images, train_labels, test_images, test_labels = (file.shape for file in DATASETS[name].files.values())
    assert (train_images, test_images) == ((*train_labels, 28, 28), (*test_labels, 28, 28))
    assert len({file.sha256 for file in DATASETS[name].files.values()}) == 4


@pytest.mark.parametrize("name", RECIPES)
def test_a_config_accepts_every_recipe_and_describes_it(name: str) -> None:
    assert TrainingConfig(recipe=name).recipe == name
    assert f"`{name}` {RECIPES[name].description}" in str(TrainingConfig.model_fields["recipe"].description)
