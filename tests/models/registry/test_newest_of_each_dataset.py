"""Each training data set has its own newest and best checkpoint, also in stores that an earlier version wrote."""

import json
from collections.abc import Callable

import pytest

from models.config import TrainingConfig
from models.registry.job_entry import fingerprint
from models.registry.pointer import POINTER
from models.registry.retention import apply_retention
from models.registry.serving_policy import ServingPolicy, drawn_dataset
from models.registry.store import CheckpointId, CheckpointStore, Manifest
from tests.models.registry.test_store import FILES, damage_inside, inside
from tests.support import records
from tests.support.stores import best

DIGITS, PRINTED, LATER = "20260101-000000-aaaaaa", "20260102-000000-aaaaaa", "20260103-000000-aaaaaa"


@pytest.fixture
def store(open_it: Callable[[], CheckpointStore]) -> CheckpointStore:
    return open_it()


def run(
    store: CheckpointStore, job: str, fence: int, dataset: str, distance: float = 1.0, refused: str | None = None
) -> Manifest:
    """Claim a job that trains on a data set, and publish its first epoch."""
    config = TrainingConfig(dataset=dataset)
    store.take(job, fence, fingerprint(config))
    made = records.manifest(job, 1, age_seconds=10_000, fence=fence)
    fields = {"config": config, "metrics": {"frechet_distance": distance}, "refused": refused}
    return store.publish(made.model_copy(update=fields), FILES)


def test_a_publication_moves_the_newest_of_its_own_data_set(store: CheckpointStore) -> None:
    run(store, DIGITS, 1, "mnist")
    run(store, PRINTED, 2, "printed")
    assert store.latest("mnist") == CheckpointId(DIGITS, 1)
    assert store.latest("printed") == store.latest() == CheckpointId(PRINTED, 1)
    assert store.latest("letters") is None
    run(store, LATER, 3, "mnist", refused="collapsed")
    assert store.latest("mnist") == CheckpointId(DIGITS, 1)


def test_the_best_is_that_of_its_own_data_set(store: CheckpointStore) -> None:
    run(store, DIGITS, 1, "mnist", distance=0.5)
    run(store, LATER, 2, "mnist", distance=0.9)
    run(store, PRINTED, 3, "printed", distance=0.1)
    assert best(store, "mnist") == CheckpointId(DIGITS, 1)
    assert best(store, "printed") == CheckpointId(PRINTED, 1)
    assert best(store, "letters") is None


OTHER = "20260104-000000-aaaaaa"


def judged_run(
    store: CheckpointStore, job: str, fence: int, dataset: str, distance: float, digits: int | None, data: str = "all"
) -> Manifest:
    """Publish an epoch that was judged by this many digits of each class, None in an earlier version."""
    metrics = {"frechet_distance": distance} | ({} if digits is None else {"judged_per_class": digits})
    config = TrainingConfig(dataset=dataset)
    store.take(job, fence, fingerprint(config))
    made = records.manifest(job, 1, age_seconds=10_000, fence=fence)
    fields = {"config": config, "metrics": metrics, "dataset_checksum": f"sha256:{data}"}
    return store.publish(made.model_copy(update=fields), FILES)


def test_the_best_is_of_those_that_were_judged_by_as_many_digits_as_the_newest(store: CheckpointStore) -> None:
    judged_run(store, DIGITS, 1, "mnist", 0.2, digits=100)
    judged_run(store, PRINTED, 2, "mnist", 0.5, digits=None)
    judged_run(store, LATER, 3, "mnist", 0.9, digits=500)
    assert best(store, "mnist") == CheckpointId(PRINTED, 1)  # an earlier version judged by 500
    run(store, OTHER, 4, "mnist", distance=0.1, refused="collapsed")
    assert best(store, "mnist") == CheckpointId(PRINTED, 1)


@pytest.mark.parametrize(("dataset", "found"), [("letters@1", LATER), ("mnist", DIGITS)])
def test_the_best_of_your_own_images_is_of_those_with_the_judge_of_the_newest(
    store: CheckpointStore, dataset: str, found: str
) -> None:
    """The judge is trained on the data as they are cut for the run; that of MNIST is in the package."""
    judged_run(store, DIGITS, 1, dataset, 0.2, digits=500, data="a part")
    judged_run(store, PRINTED, 2, dataset, 0.9, digits=500)
    judged_run(store, LATER, 3, dataset, 0.5, digits=500)
    assert best(store, dataset.partition("@")[0]) == CheckpointId(found, 1)


def test_the_best_is_a_judged_one_although_the_newest_was_not_judged(store: CheckpointStore) -> None:
    judged_run(store, DIGITS, 1, "letters@1", 0.5, digits=100)
    judged_run(store, PRINTED, 2, "letters@1", 0.9, digits=100)
    store.take(LATER, 3, fingerprint(TrainingConfig(dataset="letters@1")))
    made = records.manifest(LATER, 1, fence=3)
    store.publish(made.model_copy(update={"config": TrainingConfig(dataset="letters@1")}), FILES)
    assert best(store, "letters") == CheckpointId(DIGITS, 1)


def as_before(store: CheckpointStore) -> None:
    """Rewrite the pointer as a version does that has one for all data sets."""
    fields = json.loads(inside(store, POINTER))
    del fields["datasets"], fields["checksum"]
    damage_inside(store, POINTER, json.dumps(fields).encode())


def test_a_pointer_of_an_earlier_version_is_completed(open_it: Callable[[], CheckpointStore]) -> None:
    store = open_it()
    run(store, DIGITS, 1, "mnist")
    run(store, PRINTED, 2, "printed")
    as_before(store)
    reader = open_it()
    assert reader.find_latest().trouble is None
    assert reader.latest("mnist") == CheckpointId(DIGITS, 1)
    assert reader.latest("printed") == CheckpointId(PRINTED, 1)
    run(reader, LATER, 3, "printed")
    written = json.loads(inside(reader, POINTER))["datasets"]
    assert {name: each["checkpoint"] for name, each in written.items()} == {
        "mnist": f"{DIGITS}-e001",
        "printed": f"{LATER}-e001",
    }


def test_a_newest_checkpoint_that_does_not_exist_is_reported_and_replaced(store: CheckpointStore) -> None:
    run(store, DIGITS, 1, "mnist")
    run(store, PRINTED, 2, "printed")
    store.storage.remove(CheckpointId(DIGITS, 1).folder)
    latest = store.find_latest()
    assert f"names {DIGITS}-e001, which does not exist" in (latest.trouble or "")
    assert set(latest.datasets) == {"printed"}
    run(store, LATER, 3, "printed")
    assert store.find_latest().trouble is None
    assert store.latest("mnist") is None


def test_retention_keeps_the_newest_of_every_data_set(store: CheckpointStore) -> None:
    run(store, DIGITS, 1, "mnist")
    run(store, PRINTED, 2, "printed")
    second = records.manifest(DIGITS, 2, age_seconds=10_000, fence=1).model_copy(update={"refused": "collapsed"})
    store.publish(second, FILES)
    assert apply_retention(store, 0) == []
    assert store.stands(CheckpointId(DIGITS, 1))


@pytest.mark.parametrize(
    ("chosen", "published", "drawn"),
    [
        (None, [], "mnist"),
        (None, ["printed"], "printed"),
        (None, ["mnist", "printed"], "mnist"),
        (None, ["letters"], "mnist"),
        ("mnist", ["printed"], "mnist"),
        ("printed", ["mnist", "printed"], "printed"),
        ("printed", ["mnist"], "printed"),
    ],
)
def test_printed_digits_replace_mnist_until_it_is_published(
    chosen: str | None, published: list[str], drawn: str
) -> None:
    assert drawn_dataset(ServingPolicy(dataset=chosen), published) == drawn
