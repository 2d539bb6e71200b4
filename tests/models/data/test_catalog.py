"""The tables of training data and recipes: every row is complete, and a config accepts its name."""

import re

import pytest

from models.config import MOST_CLASSES, TrainingConfig
from models.data.catalog import DATASETS
from models.training.recipes import RECIPES

PUBLISHED = [name for name, data in DATASETS.items() if data.files]

# Data sets whose real files no test has read, because these files were not at hand and tests use no network. Their
# digests, sizes and labels are those that others publish; test_published_sets.py uses files made in the same formats.
NEVER_SEEN = {
    "fashion_mnist": "digests: tensorflow/datasets, url_checksums/fashion_mnist.txt",
    "kmnist": "digests: tensorflow/datasets, url_checksums/kmnist.txt",
    "emnist_letters": "digest of the archive: tensorflow/datasets, url_checksums/emnist.txt",
    "emnist_digits": "digest of the archive: tensorflow/datasets, url_checksums/emnist.txt",
    "emnist_balanced": "digest of the archive: tensorflow/datasets, url_checksums/emnist.txt",
}
SEEN = {"mnist": "test_idx_source.py reads its files", "printed": "made by the code", "printed_letters": "made"}


def test_it_is_known_which_data_sets_were_never_seen() -> None:
    assert set(NEVER_SEEN) | set(SEEN) == set(DATASETS)
    assert not set(NEVER_SEEN) & set(SEEN)


@pytest.mark.parametrize("name", DATASETS)
def test_a_config_accepts_every_data_set_and_describes_it(name: str) -> None:
    assert TrainingConfig(dataset=name).dataset == name
    assert f"`{name}`, {DATASETS[name].description}" in str(TrainingConfig.model_fields["dataset"].description)


@pytest.mark.parametrize("name", DATASETS)
def test_the_classes_of_a_data_set_have_names_that_an_address_can_contain(name: str) -> None:
    classes = DATASETS[name].classes
    assert 2 <= len(classes) <= MOST_CLASSES
    assert len(set(classes)) == len(classes)
    assert all(re.fullmatch("[A-Za-z0-9-]+", each) for each in classes)


def test_the_classes_of_emnist_are_those_of_its_mapping() -> None:
    letters, balanced = (DATASETS[f"emnist_{name}"].classes for name in ("letters", "balanced"))
    assert (len(letters), letters[0], letters[25]) == (26, "A", "Z")
    assert (len(balanced), balanced[9], balanced[10], balanced[35], balanced[36], balanced[46]) == (
        47, "9", "A", "Z", "a", "t",
    )  # fmt: skip


@pytest.mark.parametrize("name", PUBLISHED)
def test_the_files_of_a_data_set_are_images_and_labels_for_training_and_for_tests(name: str) -> None:
    train_images, train_labels, test_images, test_labels = (file.shape for file in DATASETS[name].files.values())
    assert (train_images, test_images) == ((*train_labels, 28, 28), (*test_labels, 28, 28))
    assert DATASETS[name].sizes == (*train_labels, *test_labels)


@pytest.mark.parametrize("name", PUBLISHED)
def test_every_file_is_identified_by_a_digest_of_its_own_or_of_its_archive(name: str) -> None:
    data = DATASETS[name]
    digests = [file.sha256 or file.packed_sha256 for file in data.files.values()]
    if data.archive is not None:
        assert digests == [None] * 4
        assert not data.mirrors
        digests = [data.archive.sha256]
    else:
        assert data.mirrors
        assert len(set(digests)) == 4
    assert all(re.fullmatch("[0-9a-f]{64}", str(digest)) for digest in digests)


def test_no_two_data_sets_have_a_file_in_common() -> None:
    files = [file for data in DATASETS.values() for file in data.files.values()]
    digests = [digest for file in files for digest in (file.sha256, file.packed_sha256) if digest is not None]
    assert len(set(digests)) == len(digests) == 12


@pytest.mark.parametrize("name", RECIPES)
def test_a_config_accepts_every_recipe_and_describes_it(name: str) -> None:
    assert TrainingConfig(recipe=name).recipe == name
    assert f"`{name}` {RECIPES[name].description}" in str(TrainingConfig.model_fields["recipe"].description)
