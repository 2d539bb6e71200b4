"""The budget counts everything in the store, and deletes in a fixed order nothing that is needed."""

import os
import time
from pathlib import Path

import pytest

from app.api.openapi.evaluation_example import example
from models.atomic_files import remove_old_temporary
from models.data.building.order import TrainingDataOrder
from models.registry.evaluations import LIST, publish_evaluation
from models.registry.retention import GRACE_SECONDS, StoreFull, Usage, Uses, apply_retention, check_room
from models.registry.serving_policy import CHOICE, ServingPolicy, write_choice
from models.registry.storage.uploads import has_upload, store_upload
from models.registry.store import GENERATOR, CheckpointId, CheckpointStore, StateDeleted
from models.synthesis.shards import Shards
from tests.models.registry.test_store import FILES, NEW, OLD
from tests.support import records
from tests.support.stores import best, of_a_newer_version

ENDED, RUNNING = "20260103-000000-aaaaaa", "20260104-000000-aaaaaa"


@pytest.fixture
def store(tmp_path: Path) -> CheckpointStore:
    """Two runs of three epochs of 1,000 bytes each, two states of 5,000 and a data set of 2,000."""
    store = CheckpointStore(tmp_path / "store")
    for job in (OLD, NEW):
        for epoch in (1, 2, 3):
            store.publish(records.manifest(job, epoch, age_seconds=3600, fence=0), FILES)
    for job in (ENDED, RUNNING):
        store.save_state(job, job[:10].encode() * 500)
        make_older(store, job, 3600)
    workshop = store.dataset_workshop(ENDED)
    workshop.mkdir(parents=True)
    (workshop / "train-images-idx3-ubyte.gz").write_bytes(bytes(2000))
    return store


def make_older(store: CheckpointStore, job: str, seconds: float) -> None:
    """Let the files of a job be written this long ago."""
    for path in (store.root / job).rglob("*"):
        os.utime(path, (time.time() - seconds,) * 2)


def total(store: CheckpointStore) -> int:
    return Usage(store.storage.files()).total


def test_everything_is_counted(store: CheckpointStore) -> None:
    assert total(store) == 6 * 1000 + 2 * 5000 + 2000


def test_states_of_ended_jobs_are_deleted_before_epochs_of_the_oldest_runs(store: CheckpointStore) -> None:
    assert apply_retention(store, 18_000, {RUNNING}) == []
    assert apply_retention(store, 17_999, {RUNNING}) == [f"the resume state of {ENDED}"]
    assert apply_retention(store, 12_000, {RUNNING}) == [f"{OLD}-e001"]
    assert apply_retention(store, 0, {RUNNING}) == [f"{OLD}-e002", f"{NEW}-e001", f"{NEW}-e002"]
    assert store.load_state(RUNNING) is not None
    assert total(store) == 2 * 1000 + 5000 + 2000


@pytest.fixture
def upload(store: CheckpointStore, tmp_path: Path) -> str:
    """The file of a job that has ended, and no state."""
    (tmp_path / "sent").write_bytes(b"sent")
    store_upload(store.storage, ENDED, TrainingDataOrder(name="letters", size=4, sha256="0" * 64), tmp_path / "sent")
    make_older(store, ENDED, 3600)
    store.drop_state(ENDED)
    return ENDED


def test_fresh_states_and_sent_files_of_ended_jobs_stay_for_ten_minutes(store: CheckpointStore, upload: str) -> None:
    """A run that was just cancelled can be resumed."""
    for job in (upload, RUNNING):
        make_older(store, job, GRACE_SECONDS - 60)
    assert not [what for what in apply_retention(store, 0, ()) if what.startswith("the ")]
    assert has_upload(store.storage, upload)
    assert store.load_state(RUNNING) is not None
    rest = total(store)
    check_room(store, rest - 5000, ())  # they will be deleted soon: work is accepted
    for job in (upload, RUNNING):
        make_older(store, job, GRACE_SECONDS + 60)
    expected = [f"the resume state of {RUNNING}", f"the file that was sent for {upload}"]
    assert apply_retention(store, 0, ()) == expected
    assert not has_upload(store.storage, upload)


def test_the_files_of_a_job_that_was_resumed_meanwhile_stay(store: CheckpointStore, upload: str) -> None:
    """It had ended when the list of unfinished jobs was read."""
    asked = list[str]()

    def has_ended(job: str) -> bool:
        asked.append(job)
        return False

    assert not [what for what in apply_retention(store, 0, (), uses=Uses(has_ended)) if what.startswith("the ")]
    assert asked == [RUNNING, upload]
    assert has_upload(store.storage, upload)
    assert store.load_state(RUNNING) is not None


def test_the_checkpoints_that_jobs_need_stay(store: CheckpointStore) -> None:
    needed = CheckpointId(OLD, 2)
    assert apply_retention(store, 0, {RUNNING, ENDED}, uses=Uses(needed=lambda: {needed})) == [
        f"{OLD}-e001",
        f"{NEW}-e001",
        f"{NEW}-e002",
    ]
    assert store.epochs(OLD) == [2, 3]
    assert apply_retention(store, 0, {RUNNING, ENDED}) == [str(needed)]


def test_a_checkpoint_that_is_pinned_between_two_deletions_stays(store: CheckpointStore) -> None:
    pinned = CheckpointId(NEW, 1)

    def pin() -> set[CheckpointId]:
        if not store.stands(CheckpointId(OLD, 2)):  # the deletion of the one before `pinned` has ended
            write_choice(store, ServingPolicy(policy="pinned", checkpoint=str(pinned)))
        return set()

    assert apply_retention(store, 0, {RUNNING, ENDED}, uses=Uses(needed=pin)) == [
        f"{OLD}-e001",
        f"{OLD}-e002",
        f"{NEW}-e002",
    ]
    assert store.stands(pinned)


def test_without_redis_no_state_is_deleted(store: CheckpointStore) -> None:
    assert f"the resume state of {ENDED}" not in apply_retention(store, 0)


def test_a_deleted_state_is_distinguished_from_a_missing_one(store: CheckpointStore) -> None:
    apply_retention(store, 17_999, {RUNNING})
    with pytest.raises(StateDeleted, match="ACGAN_STORE_LIMIT"):
        store.load_state(ENDED)
    assert store.load_state(OLD) is None


def test_temporary_files_are_deleted_after_an_hour(store: CheckpointStore) -> None:
    left = [store.root / ".latest.json.abc.tmp", store.root / OLD / ".004.7" / GENERATOR]
    for path in left:
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(bytes(100))
    apply_retention(store, 10**9)
    assert all(path.exists() for path in left)
    for path in left:
        os.utime(path, (time.time() - 7200,) * 2)
    apply_retention(store, 10**9)
    assert not any(path.exists() for path in left)
    assert not left[1].parent.exists()


def test_a_host_whose_clock_is_ahead_deletes_no_file_that_another_one_is_writing(
    store: CheckpointStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    written, clock = store.root / RUNNING / ".resume.safetensors.a1b2c3d4.tmp", time.time
    written.write_bytes(b"not complete yet")
    monkeypatch.setattr(time, "time", lambda: clock() + 2 * 3600)
    apply_retention(store, 10**9, {RUNNING})
    assert remove_old_temporary(written.parent) == []
    assert written.exists()
    os.utime(written, (clock() - 2 * 3600,) * 2)
    apply_retention(store, 10**9, {RUNNING})
    assert not written.exists()


def test_shards_of_ended_jobs_are_deleted_after_an_hour(store: CheckpointStore) -> None:
    """A worker may be lost before it deletes them."""
    for job in (ENDED, RUNNING):
        for name, age in (("train-0000000", 3700), ("train-0000500", 3500)):
            store.storage.write(f"{job}/part-{name}", b"shard")
            os.utime(store.root / job / f"part-{name}", (time.time() - age,) * 2)
    apply_retention(store, 10**6)
    assert len(Shards(store, ENDED).names()) == 2
    apply_retention(store, 10**6, {RUNNING})
    assert Shards(store, ENDED).names() == {"train-0000500"}
    assert len(Shards(store, RUNNING).names()) == 2


def test_checkpoints_being_read_or_of_another_version_stay(store: CheckpointStore) -> None:
    of_a_newer_version(store, OLD, 2)
    with store.reading(CheckpointId(OLD, 1).folder):
        apply_retention(store, 0, {RUNNING})
        assert store.epochs(OLD) == [1, 2, 3]
    apply_retention(store, 0, {RUNNING})
    assert store.epochs(OLD) == [2, 3]


@pytest.mark.parametrize("policy", [ServingPolicy(policy="best", by="evaluation"), ServingPolicy()])
def test_the_checkpoint_with_the_best_evaluation_stays(store: CheckpointStore, policy: ServingPolicy) -> None:
    """Also if the policy is another one now: it can be chosen again."""
    chosen = CheckpointId(OLD, 2)
    publish_evaluation(store, ENDED, 0, "full", example(str(chosen)), b"picture")
    write_choice(store, policy)
    assert best(store, "mnist", "evaluation") == chosen
    apply_retention(store, 0, {RUNNING})
    assert store.epochs(OLD) == [2, 3]
    assert best(store, "mnist", "evaluation") == chosen


@pytest.mark.parametrize("record", [CHOICE, LIST])
def test_nothing_is_deleted_while_the_pin_or_the_evaluations_cannot_be_read(
    store: CheckpointStore, record: str
) -> None:
    (store.root / record).write_bytes(b"{")
    apply_retention(store, 0, {RUNNING})
    assert store.epochs(OLD) == [1, 2, 3]


def test_a_job_without_room_is_refused_with_the_bytes(store: CheckpointStore) -> None:
    check_room(store, 9000, {RUNNING})
    with pytest.raises(StoreFull, match=r"holds 9,000 bytes .* ACGAN_STORE_LIMIT is 8,999"):
        check_room(store, 8999, {RUNNING})
    with pytest.raises(StoreFull, match=r"needs about 500 more"):
        check_room(store, 9400, {RUNNING}, needed=500)
    check_room(store, 9500, {RUNNING}, needed=500)
