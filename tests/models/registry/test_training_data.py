"""Training data that users brought: versions in a folder and in a bucket."""

import threading
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest

from models.bounded_reading import FileInvalid
from models.config import TrainingConfig
from models.data.building.built import Built
from models.data.reference import Reference
from models.registry.retention import Usage
from models.registry.storage.base import Folder
from models.registry.store import CheckpointStore
from models.registry.training_data import (
    ARRAYS,
    PREVIEW,
    TRAIN_IMAGES,
    InvalidName,
    NameReserved,
    TrainingDataNotFound,
    checked_name,
)
from tests.models.registry.test_store import FILES, damage_inside
from tests.support import records, training_sets


@pytest.fixture
def store(open_it: Callable[[], CheckpointStore]) -> CheckpointStore:
    return open_it()


def test_training_data_are_read_as_they_were_stored(store: CheckpointStore) -> None:
    made = training_sets.bring(store.training_data, "letters")
    assert (made.version, made.classes, made.train_counts, made.test_counts) == (
        1,
        ("a", "b", "c"),
        (20,) * 3,
        (10,) * 3,
    )
    assert set(made.files) == {*ARRAYS, PREVIEW}
    splits, classes = store.training_data.read_stored("letters")
    assert classes == ("a", "b", "c")
    for found, expected in zip(splits, training_sets.splits(), strict=True):
        assert np.array_equal(found, expected)


def test_the_same_content_is_one_version_and_other_content_the_next(store: CheckpointStore) -> None:
    first = training_sets.bring(store.training_data, "letters")
    assert training_sets.bring(store.training_data, "letters") == first
    second = training_sets.bring(store.training_data, "letters", seed=9)
    renamed = training_sets.bring(store.training_data, "letters", ("a", "b", "d"), seed=9)
    assert [first.version, second.version, renamed.version] == [1, 2, 3]
    assert store.training_data.find("letters") == Reference("letters", 3)
    assert store.training_data.find("letters@2") == Reference("letters", 2)
    assert [each.version for each in store.training_data.manifests()] == [1, 2, 3]
    assert store.training_data.settled(TrainingConfig(dataset="letters")).dataset == "letters@3"
    assert store.training_data.settled(TrainingConfig()).dataset == "mnist"


def test_a_removed_version_is_gone_and_its_number_is_not_used_again(store: CheckpointStore) -> None:
    training_sets.bring(store.training_data, "letters")
    training_sets.bring(store.training_data, "letters", seed=9)
    store.training_data.remove(Reference("letters", 2))
    assert store.training_data.references() == [Reference("letters", 1)]
    assert training_sets.bring(store.training_data, "letters", seed=7).version == 3
    store.training_data.remove(Reference("letters", 1))
    with pytest.raises(TrainingDataNotFound, match=r"no training data letters@1; there are .*letters@3"):
        store.training_data.find("letters@1")
    with pytest.raises(TrainingDataNotFound):
        store.training_data.remove(Reference("letters", 1))


def test_a_check_that_raises_keeps_the_data(store: CheckpointStore) -> None:
    training_sets.bring(store.training_data, "letters")

    def check() -> None:
        raise TimeoutError("in use")

    with pytest.raises(TimeoutError):
        store.training_data.remove(Reference("letters", 1), check)
    assert store.training_data.newest("letters") == Reference("letters", 1)


def test_a_check_that_raises_while_files_are_written_ends_the_wait_and_nothing_is_stored(
    store: CheckpointStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, released, stage = threading.Event(), threading.Event(), store.storage.stage

    def late(folder: Folder, token: int, files: Mapping[str, bytes | Path]) -> str:
        begun.set()
        assert released.wait(120)
        return stage(folder, token, files)

    def check() -> None:
        if begun.is_set():
            raise TimeoutError("it takes too long")

    monkeypatch.setattr(store.storage, "stage", late)
    built = Built(training_sets.splits(), ("a", "b", "c"), "a test", {}, (), 0, Path())
    with pytest.raises(TimeoutError, match="it takes too long"):
        store.training_data.publish("letters", built, b"preview", check)
    released.set()
    for thread in threading.enumerate():
        if thread.name == "store write":
            thread.join(120)
    assert store.training_data.references() == []
    assert [file.name for file in store.storage.files() if "letters" in file.name] == []


def test_a_damaged_file_is_named(store: CheckpointStore) -> None:
    made = training_sets.bring(store.training_data, "letters")
    damage_inside(store, f"{made.folder}/{TRAIN_IMAGES}", b"x" * made.files[TRAIN_IMAGES].size)
    with pytest.raises(FileInvalid, match="train-images-idx3-ubyte of training data letters@1 is damaged"):
        store.training_data.load(made.reference)


def test_checkpoints_and_retention_do_not_mistake_training_data_for_a_job(store: CheckpointStore) -> None:
    store.publish(records.manifest("20260101-000000-aaaaaa", 1, fence=0), FILES)
    made = training_sets.bring(store.training_data, "letters")
    assert [each.job for each in store.manifests()] == ["20260101-000000-aaaaaa"]
    usage = Usage(store.storage.files())
    assert usage.training_data >= made.total_size
    assert usage.total >= usage.training_data + sum(len(data) for data in FILES.values())


@pytest.mark.parametrize("name", ["", "A", "../x", "a/b", "x" * 41, "letters@2", "a b", "é", "a\n"])
def test_other_names_are_refused(name: str) -> None:
    with pytest.raises(InvalidName):
        checked_name(name)


def test_built_in_names_are_reserved() -> None:
    with pytest.raises(NameReserved):
        checked_name("mnist")
