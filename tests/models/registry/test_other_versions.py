"""Records of another version are not damaged: they are reported, and neither replaced nor deleted."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from models.bounded_reading import CHECKSUM, FileDamaged, checksum_of
from models.registry.job_entry import ENTRY
from models.registry.serving_policy import CHOICE, ServingPolicy, read_choice, write_choice
from models.registry.store import (
    MANIFEST,
    POINTER,
    RESUME,
    CheckpointId,
    CheckpointStore,
    JobConflict,
    StateNotUnderstood,
)
from tests.models.registry.test_store import damage_inside, inside
from tests.support.stores import EARLY, LATE, publish, run


@pytest.fixture
def store(open_it: Callable[[], CheckpointStore]) -> CheckpointStore:
    return open_it()


def rewrite(store: CheckpointStore, name: str, sealed: bool, **fields: Any) -> bytes:
    """Give a record fields that this version does not understand."""
    changed = json.loads(inside(store, name)) | fields
    changed.pop(CHECKSUM, None)
    data = json.dumps(changed | ({CHECKSUM: checksum_of(changed)} if sealed else {})).encode()
    damage_inside(store, name, data)
    return data


@pytest.mark.parametrize("sealed", [True, False])
@pytest.mark.parametrize("computes", ["the same config", "another config"])
def test_a_jobs_entry_is_kept_and_its_id_cannot_be_claimed(
    open_it: Callable[[], CheckpointStore], computes: str, sealed: bool
) -> None:
    store = open_it()
    store.take(EARLY, 1, "the same config")
    written = rewrite(store, f"{EARLY}/{ENTRY}", sealed, number={"place": 1}, fingerprint=["sha512"])
    with pytest.raises(JobConflict, match="another version"):
        open_it().take(EARLY, 2, computes)
    assert inside(store, f"{EARLY}/{ENTRY}") == written


def test_an_unreadable_entry_stops_no_other_job(open_it: Callable[[], CheckpointStore]) -> None:
    store = open_it()
    run(store, LATE, 1, 1)
    rewrite(store, f"{LATE}/{ENTRY}", True, number={"place": 1})
    other = open_it()
    other.take(EARLY, 2, accepted_later=[LATE])
    assert other.highest_fence() == 2


@pytest.mark.parametrize(
    "fields",
    [
        {"checkpoint": {"job": EARLY, "epoch": 1}},
        {"checkpoint": [f"{EARLY}-e001"], "number": "1"},
        {"published_at": {"number": 3}},
    ],
)
@pytest.mark.parametrize("sealed", [True, False])
def test_a_pointer_is_kept_and_reported(store: CheckpointStore, fields: dict[str, Any], sealed: bool) -> None:
    run(store, EARLY, 1, 1)
    written = rewrite(store, POINTER, sealed, **fields)
    run(store, LATE, 2, 1)
    first, second = publish(store, LATE, 1, 2), publish(store, LATE, 2, 2)
    assert (first.number or 0) < (second.number or 0)
    assert inside(store, POINTER) == written
    found = store.find_latest()
    assert found.checkpoint == CheckpointId(LATE, 2)
    assert "another version" in (found.trouble or "")


def test_a_pointer_of_a_version_without_checksums_whose_text_changed_is_replaced(store: CheckpointStore) -> None:
    run(store, EARLY, 1, 1)
    for fields in ({"checkpoint": "2026%101"}, {"published_at": "2O26"}):
        rewrite(store, POINTER, False, **fields)
        assert POINTER in (store.find_latest().trouble or "")
        run(store, LATE, 2, 1)
        store.storage.remove(CheckpointId(LATE, 1).folder)
        run(store, LATE, 2, 1)
        assert store.find_latest().trouble is None


def test_a_manifest_with_another_kind_of_id_hides_no_checkpoint(store: CheckpointStore) -> None:
    run(store, EARLY, 1, 1, 2)
    rewrite(store, f"{EARLY}/001/{MANIFEST}", True, id="checkpoint #1")
    usable, (unusable,) = store.survey()
    assert ([manifest.epoch for manifest in usable], unusable.understood) == ([2], False)


def test_the_record_of_a_state_is_refused_and_kept(store: CheckpointStore) -> None:
    store.save_state(EARLY, b"state")
    written = rewrite(store, f"{EARLY}/{RESUME}", True, sha256=None, parts=["a", "b"])
    for read in (store.load_state, store.check_state):
        with pytest.raises(StateNotUnderstood, match="another version"):
            read(EARLY)
    assert inside(store, f"{EARLY}/{RESUME}") == written


# ----------------------------------------------------------------------------
# Every record has a checksum; those of earlier versions have none.


@pytest.mark.parametrize("name", [CHOICE, f"{EARLY}/{RESUME}"])
def test_a_flipped_bit_is_detected_and_an_old_record_is_read(store: CheckpointStore, name: str) -> None:
    def read() -> Any:
        return read_choice(store) if name == CHOICE else store._read_state_record(EARLY)

    run(store, EARLY, 1, 1, 2, 3)
    store.save_state(EARLY, b"state", 1)
    write_choice(store, ServingPolicy(policy="pinned", checkpoint=f"{EARLY}-e001"))
    whole, data = read(), inside(store, name)
    assert CHECKSUM in json.loads(data)
    place = data.index(b"e001") + 3 if name == CHOICE else data.index(b'"size": ') + 8
    damage_inside(store, name, data[:place] + bytes([data[place] ^ 2]) + data[place + 1 :])
    with pytest.raises(FileDamaged, match="checksum"):
        read()
    fields = json.loads(data)
    del fields[CHECKSUM]
    damage_inside(store, name, json.dumps(fields).encode())
    assert read() == whole


def test_a_damaged_policy_is_reported_and_the_pinned_checkpoint_stays(store: CheckpointStore) -> None:
    from app.inference.known_store import KnownStore
    from app.inference.serving_target import TargetFinder

    run(store, EARLY, 1, 1, 2, 3)
    write_choice(store, ServingPolicy(policy="pinned", checkpoint=f"{EARLY}-e001"))
    finder = TargetFinder(KnownStore(store), None)
    assert finder.find(None).checkpoint == CheckpointId(EARLY, 1)
    damage_inside(store, CHOICE, inside(store, CHOICE).replace(b"e001", b"e003"))
    assert finder.find(None).checkpoint == CheckpointId(EARLY, 1)
    assert any(CHOICE in problem for problem in finder.find(None).problems)
    newest = TargetFinder(KnownStore(store), None).find(None).checkpoint  # since no checkpoint is pinned
    assert newest == CheckpointId(EARLY, 3)
