"""The invariant checker finds each kind of fault. Without these tests, a checker that finds none looks the same."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from models.config import TrainingConfig
from models.data.building.order import TrainingDataOrder, TrainingDataResult
from models.registry.storage.uploads import store_upload
from models.registry.store import GENERATOR, POINTER, CheckpointId, CheckpointStore
from models.registry.training_data import PREVIEW, TRAIN_LABELS
from tests.faults.invariants import Serving, violations
from tests.models.registry.test_store import FILES, NEW, OLD, damage_inside
from tests.support import records
from tests.support.training_sets import bring
from worker.jobs.model import EpochRecord, Job, JobStatus


@pytest.fixture
def store(tmp_path: Path) -> CheckpointStore:
    store = CheckpointStore(tmp_path / "store")
    for job, fence in ((OLD, 1), (NEW, 2)):
        store.take(job, fence)
        for epoch in (1, 2):
            store.publish(records.manifest(job, epoch, fence=fence), FILES)
    return store


def job(name: str = NEW, epochs: int = 2, **changes: object) -> Job:
    records_of = [
        EpochRecord(epoch=n, seconds=1, losses=records.losses(), checkpoint=str(CheckpointId(name, n)))
        for n in range(1, epochs + 1)
    ]
    made = Job(
        id=name,
        status=JobStatus.SUCCEEDED,
        config=TrainingConfig(),
        created_at=datetime.now(UTC),
        epochs=records_of,
    )
    return made.model_copy(update={"config": TrainingConfig(epochs=2), **changes})


@pytest.fixture
def good(store: CheckpointStore) -> tuple[CheckpointStore, Job]:
    config = TrainingConfig(epochs=2)
    store.take(NEW + "0", 3)
    for epoch in (1, 2):
        made = records.manifest(NEW + "0", epoch, fence=3).model_copy(update={"config": config})
        store.publish(made, FILES)
    return store, job(NEW + "0")


SERVED = f"{NEW}0-e002"


def test_no_violation_is_found_in_a_good_service(good: tuple[CheckpointStore, Job]) -> None:
    store, mine = good
    assert violations(store, [mine], Serving(SERVED, None), [f"{OLD}-e001", f"{NEW}-e002"]) == []


def test_lost_epochs_behind_a_success_are_found(good: tuple[CheckpointStore, Job]) -> None:
    store, mine = good
    (store.folder(CheckpointId(mine.id, 1)) / GENERATOR).write_bytes(b"damaged")
    store.storage.remove(CheckpointId(mine.id, 2).folder)
    assert len(violations(store, [mine])) == 2
    assert violations(store, [mine.model_copy(update={"trouble": "the store is away"})]) == []
    fewer = mine.model_copy(update={"epochs": mine.epochs[:1]})
    assert any("succeeded with the epochs [1] of 2" in found for found in violations(store, [fewer]))


@pytest.mark.parametrize(
    "changes",
    [
        {"config": TrainingConfig(epochs=2, seed=2)},
        {"epochs": job(OLD).epochs},
        {"epochs": [each.model_copy(update={"losses": records.losses(9.0)}) for each in job(NEW + "0").epochs]},
    ],
    ids=["another config", "another job's epochs", "other losses"],
)
def test_a_result_of_another_job_is_found(good: tuple[CheckpointStore, Job], changes: dict[str, object]) -> None:
    store, mine = good
    assert any(found.startswith("e") for found in violations(store, [mine.model_copy(update=changes)]))


@pytest.mark.parametrize("served", [None, "pretrained-e015", f"{OLD}-e001"])
def test_serving_an_old_checkpoint_without_trouble_is_found(
    good: tuple[CheckpointStore, Job], served: str | None
) -> None:
    store, _ = good
    assert violations(store, [], Serving(served, None)) != []
    assert violations(store, [], Serving(served, "it says why")) == []


def test_serving_an_older_checkpoint_again_is_found_even_with_trouble(good: tuple[CheckpointStore, Job]) -> None:
    store, _ = good
    assert violations(store, [], Serving(f"{OLD}-e001", "why"), [SERVED]) != []
    assert violations(store, [], Serving(None, "why"), [SERVED]) != []


def test_a_useless_pointer_is_found(good: tuple[CheckpointStore, Job]) -> None:
    store, _ = good
    (store.root / POINTER).unlink()
    assert violations(store, [], Serving(SERVED, None)) != []
    assert violations(store, [], Serving(SERVED, "it is missing")) == []


def test_a_served_checkpoint_of_another_data_set_is_found(good: tuple[CheckpointStore, Job]) -> None:
    store, mine = good
    config = TrainingConfig(dataset="printed")
    store.take(NEW + "1", 4)
    made = records.manifest(NEW + "1", 1, fence=4).model_copy(update={"config": config})
    printed = store.publish(made, FILES).id
    assert violations(store, [mine], Serving(SERVED, None)) == []
    assert violations(store, [mine], Serving(printed, None)) != []
    assert violations(store, [mine], Serving(printed, None, dataset="printed")) == []


def import_job(**changes: object) -> Job:
    order = TrainingDataOrder(name="letters", size=1, sha256="0" * 64)
    result = TrainingDataResult(
        dataset="letters@1", is_new=True, classes=("a", "b", "c"), train_images=60, test_images=30
    )
    changes = {"kind_name": "training_data", "training_data": order, "result": result, **changes}
    return job(f"{NEW}9", epochs=0, **changes)


def test_wrong_results_of_imports_are_found(store: CheckpointStore) -> None:
    made = bring(store.training_data, "letters")
    good = import_job()
    assert violations(store, [good]) == []
    assert good.result is not None
    wrong = {
        "other counts": good.result.model_copy(update={"train_images": 61}),
        "other classes": good.result.model_copy(update={"classes": ("a", "b", "d")}),
        "another name": good.result.model_copy(update={"dataset": "digits@1"}),
        "no result": None,
    }
    for what, result in wrong.items():
        assert len(violations(store, [import_job(result=result)])) == 1, what
    assert len(violations(store, [import_job(status=JobStatus.FAILED)])) == 2  # a result, and no file to resume with
    damage_inside(store, f"{made.folder}/{PREVIEW}", b"damaged")
    assert violations(store, [good]) == []  # pictures for people are not read
    damage_inside(store, f"{made.folder}/{TRAIN_LABELS}", b"damaged")
    assert len(violations(store, [good])) == 1


def test_a_file_that_is_left_after_an_import_is_found(store: CheckpointStore, tmp_path: Path) -> None:
    bring(store.training_data, "letters")
    done = import_job()
    (tmp_path / "file").write_bytes(b"x")
    assert done.training_data is not None
    store_upload(store.storage, done.id, done.training_data, tmp_path / "file")
    assert violations(store, [done]) == [f"e: job {done.id} is succeeded, and its folders are ['upload']"]
    assert violations(store, [import_job(status=JobStatus.FAILED, result=None)]) == []
