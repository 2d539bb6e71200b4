"""Which checkpoint is newest, also after an upgrade; and one id belongs to one job."""

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from models.config import TrainingConfig
from models.data.building.order import TrainingDataOrder
from models.registry.job_entry import ENTRY, fingerprint
from models.registry.serving_policy import pinned, read_choice
from models.registry.storage.uploads import store_upload
from models.registry.store import POINTER, CheckpointId, CheckpointStore, JobConflict
from tests.models.registry.test_store import FILES, damage_inside
from tests.support import records
from tests.support.stores import AHEAD, EARLY, LATE, publish, run


@pytest.fixture
def store(open_it: Callable[[], CheckpointStore]) -> CheckpointStore:
    return open_it()


# ----------------------------------------------------------------------------
# Which checkpoint is newest: a counter decides, not a clock.


def test_a_run_from_a_clock_that_was_ahead_does_not_stay_the_newest(store: CheckpointStore) -> None:
    run(store, AHEAD, 1, 1, 2)
    run(store, EARLY, 2, 1)
    assert store.latest() == CheckpointId(EARLY, 1)
    assert [manifest.job for manifest in store.manifests()] == [AHEAD, AHEAD, EARLY]


@pytest.mark.parametrize("first", [EARLY, AHEAD])
def test_a_resumed_older_run_does_not_replace_a_later_one(store: CheckpointStore, first: str) -> None:
    run(store, first, 1, 1)
    run(store, LATE, 2, 1)
    run(store, first, 3, 2, 3)
    assert store.latest() == CheckpointId(LATE, 1)
    run(store, LATE, 4, 2)
    assert store.latest() == CheckpointId(LATE, 2)


def test_a_run_that_was_claimed_first_and_publishes_last_is_still_the_older(store: CheckpointStore) -> None:
    store.take(AHEAD, 1)
    run(store, EARLY, 2, 1)
    publish(store, AHEAD, 1, fence=1)
    assert store.latest() == CheckpointId(EARLY, 1)


@pytest.mark.parametrize("later", [LATE, AHEAD])
def test_a_job_that_was_accepted_first_and_claimed_last_is_still_the_older(store: CheckpointStore, later: str) -> None:
    """The other one had a higher priority, or was moved to the front."""
    run(store, later, 1, 1)
    store.take(EARLY, 2, accepted_later=[later, "20260103-000000-never"])
    publish(store, EARLY, 1, 2)
    assert store.latest() == CheckpointId(later, 1)
    run(store, "20260104-000000-aaaaaa", 3, 1)
    assert store.latest() == CheckpointId("20260104-000000-aaaaaa", 1)


@pytest.mark.parametrize("claimed", [True, False], ids=["claimed", "waiting"])
def test_a_run_that_starts_after_a_file_was_sent_is_the_newest(
    store: CheckpointStore, tmp_path: Path, claimed: bool
) -> None:
    """The folder of a sent file exists before the first claim of its job, which was accepted after the run."""
    run(store, AHEAD, 1, 1)
    (tmp_path / "file").write_bytes(b"images")
    sent = TrainingDataOrder(name="letters", size=6, sha256=hashlib.sha256(b"images").hexdigest())
    store_upload(store.storage, LATE, sent, tmp_path / "file")
    if claimed:
        store.take(LATE, 2)
    store.take(EARLY, 3, accepted_later=[LATE])
    assert (publish(store, EARLY, 1, 3).job_number or 0) > (store.manifest(CheckpointId(AHEAD, 1)).job_number or 0)
    assert store.latest() == CheckpointId(EARLY, 1)
    assert store.manifests()[-1].job == EARLY


def test_a_run_whose_entry_is_lost_before_its_first_checkpoint_has_a_number(
    open_it: Callable[[], CheckpointStore],
) -> None:
    run(open_it(), AHEAD, 1, 1)
    open_it().take(EARLY, 2)
    damage_inside(open_it(), f"{EARLY}/{ENTRY}", b"{")
    store = open_it()
    store.take(EARLY, 3)
    assert publish(store, EARLY, 1, 3).job_number is not None
    assert store.latest() == CheckpointId(EARLY, 1)


def test_two_redis_servers_and_an_import_over_one_store_agree(open_it: Callable[[], CheckpointStore]) -> None:
    """The second Redis has a clock ten years ahead and issues the same tokens as the first."""
    here, there = open_it(), open_it()
    run(here, EARLY, 1, 1)
    run(there, AHEAD, 1, 1)
    publish(here, "20260101-000001-bbbbbb", 7)  # an import
    assert there.latest() == CheckpointId("20260101-000001-bbbbbb", 7)
    run(here, LATE, 2, 1)
    assert there.latest() == CheckpointId(LATE, 1)
    numbers = [manifest.number for manifest in here.manifests()]
    assert len(set(numbers)) == 4
    assert None not in numbers


def test_a_refused_checkpoint_counts_and_is_never_newest(store: CheckpointStore) -> None:
    run(store, EARLY, 1, 1)
    refused = records.manifest(EARLY, 2, fence=1).model_copy(update={"refused": "collapsed"})
    assert (store.publish(refused, FILES).number or 0) > (store.manifest(CheckpointId(EARLY, 1)).number or 0)
    assert store.latest() == CheckpointId(EARLY, 1)


# ----------------------------------------------------------------------------
# A store of the release before: no numbers, no entries, no identity, no checksums.

FIXTURE = Path(__file__).parents[2] / "fixtures" / "store_before_counters"
FIRST, AHEAD_OF_TIME, REFUSED = "20261127-120000-000001", "20361127-120100-000002", "20261127-120200-000003"


@pytest.fixture
def old(tmp_path: Path) -> CheckpointStore:
    """Two runs, the second with a clock ten years ahead, and one whose only epoch was refused."""
    return CheckpointStore(shutil.copytree(FIXTURE, tmp_path / "store"))


def test_an_upgraded_store_keeps_its_checkpoints(old: CheckpointStore) -> None:
    latest = old.find_latest()
    assert (latest.checkpoint, latest.trouble) == (CheckpointId(AHEAD_OF_TIME, 2), None)
    usable, unusable = old.survey()
    assert [manifest.id[9:] for manifest in usable] == [
        *(f"120000-000001-e00{epoch}" for epoch in (1, 2)),
        "120200-000003-e001",
        *(f"120100-000002-e00{epoch}" for epoch in (1, 2)),
    ]
    assert unusable == []
    assert {name: old.read(manifest, name) for manifest in usable for name in manifest.files}
    assert old.highest_fence() == 3
    assert old.load_state(FIRST) == b"a state"
    assert pinned(old, read_choice(old)) == CheckpointId(FIRST, 2)


def test_an_upgraded_store_keeps_its_order_and_every_file(old: CheckpointStore) -> None:
    before = {path: path.read_bytes() for path in old.root.rglob("*") if path.parent.name.isdecimal()}
    run(old, FIRST, 4, 3)
    assert old.latest() == CheckpointId(AHEAD_OF_TIME, 2), "it was the older one before the upgrade"
    run(old, AHEAD_OF_TIME, 5, 3)
    assert old.latest() == CheckpointId(AHEAD_OF_TIME, 3)
    run(old, "20261128-120000-000004", 6, 1)
    assert old.latest() == CheckpointId("20261128-120000-000004", 1), "accepted when the clock was right again"
    run(old, AHEAD_OF_TIME, 7, 4)
    assert old.latest() == CheckpointId("20261128-120000-000004", 1)
    assert {path: path.read_bytes() for path in before} == before


def test_in_an_upgraded_store_a_job_with_another_config_is_refused(old: CheckpointStore) -> None:
    with pytest.raises(JobConflict, match="its config differs"):
        old.take(FIRST, 9, fingerprint(TrainingConfig(seed=2)))


def test_a_store_to_which_an_older_version_wrote_continues_its_count(old: CheckpointStore) -> None:
    run(old, LATE, 4, 1)
    numbers = [manifest.number or 0 for manifest in old.manifests()]
    pointer = {"checkpoint": f"{LATE}-e001", "published_at": "2026-11-28T12:00:00Z"}
    (old.root / POINTER).write_text(json.dumps(pointer))
    assert (publish(old, LATE, 2, 4).number or 0) > max(numbers)
    assert old.latest() == CheckpointId(LATE, 2)


# ----------------------------------------------------------------------------
# One id, one job.


def test_a_second_job_under_the_same_id_fails_at_its_claim(open_it: Callable[[], CheckpointStore]) -> None:
    run(open_it(), EARLY, 1, 1)
    with pytest.raises(JobConflict, match="another job has the id"):
        open_it().take(EARLY, 1, fingerprint(TrainingConfig(seed=2)))
    open_it().take(EARLY, 2, fingerprint(TrainingConfig(name="mine")))


def test_no_epoch_of_another_config_or_other_data_is_published(store: CheckpointStore) -> None:
    run(store, EARLY, 1, 1)
    for epoch in (1, 2):
        mine = records.manifest(EARLY, epoch, fence=1)
        for changes in ({"config": TrainingConfig(seed=2)}, {"dataset_checksum": "sha256:1"}):
            with pytest.raises(JobConflict):
                store.publish(mine.model_copy(update=changes), FILES)
    assert store.epochs(EARLY) == [1]


def test_precision_and_labels_do_not_identify_a_job() -> None:
    plain = fingerprint(TrainingConfig())
    assert fingerprint(TrainingConfig(precision="bf16", name="mine")) == plain
    assert fingerprint(TrainingConfig(epochs=3)) != plain
