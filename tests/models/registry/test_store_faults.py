"""A store whose files are missing, unreadable, torn, damaged or from another version: each has its own error."""

import json
import os
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from models.bounded_reading import FileDamaged, FileTorn
from models.config import TrainingConfig
from models.registry.storage.base import StoreReplaced, Unreachable
from models.registry.storage.filesystem import FilesystemStorage
from models.registry.storage.reading import Unreadable, parse, read_bytes, seal
from models.registry.store import (
    FENCE,
    GENERATOR,
    MANIFEST,
    POINTER,
    CheckpointDamaged,
    CheckpointId,
    CheckpointNotUnderstood,
    CheckpointStore,
    FenceRejected,
)
from tests.models.registry.test_store import damage_inside, inside
from tests.support.stores import EARLY, LATE, of_a_newer_version, publish, run, whole


@pytest.fixture
def store(open_it: Callable[[], CheckpointStore]) -> CheckpointStore:
    return open_it()


@pytest.fixture
def folder(tmp_path: Path) -> CheckpointStore:
    return CheckpointStore(tmp_path / "store")


# ----------------------------------------------------------------------------
# The token equals the fence, and the store is the same one.


@pytest.mark.parametrize("token", [0, 1, 3])
def test_only_the_token_that_the_store_holds_may_write(store: CheckpointStore, token: int) -> None:
    run(store, EARLY, 2, 1)
    with pytest.raises((FenceRejected, StoreReplaced)):
        publish(store, EARLY, 2, fence=token)
    with pytest.raises((FenceRejected, StoreReplaced)):
        store.save_state(EARLY, b"state", token)
    assert store.epochs(EARLY) == [1]
    assert store.load_state(EARLY) is None


@pytest.mark.parametrize("put_instead", [True, False])
def test_a_store_that_is_renamed_away_delays_the_run_and_gets_no_new_files(
    folder: CheckpointStore, put_instead: bool
) -> None:
    run(folder, EARLY, 1, 1)
    away = folder.root.rename(folder.root.with_name("away"))
    if put_instead:
        folder.root.mkdir()
    for write in (lambda: publish(folder, EARLY, 2, 1), lambda: folder.save_state(EARLY, b"state", 1)):
        with pytest.raises(StoreReplaced):
            write()
    assert not put_instead or [path.name for path in folder.root.iterdir()] in ([], [".lock"])
    if put_instead:
        (folder.root / ".lock").unlink(missing_ok=True)
        folder.root.rmdir()
    away.rename(folder.root)
    publish(folder, EARLY, 2, 1)
    assert folder.epochs(EARLY) == [1, 2]


def test_an_empty_store_is_not_initialised_for_a_job_that_has_results(open_it: Callable[[], CheckpointStore]) -> None:
    with pytest.raises(StoreReplaced, match="whose record names checkpoints"):
        open_it().take(EARLY, 5, has_results=True)
    run(open_it(), EARLY, 6, 1)
    open_it().take(EARLY, 7, has_results=True)


def test_another_store_in_its_place_is_detected(tmp_path: Path) -> None:
    mine, other = CheckpointStore(tmp_path / "mine"), CheckpointStore(tmp_path / "other")
    run(mine, EARLY, 1, 1)
    run(other, EARLY, 1, 1)
    mine.check_identity()
    mine.root.rename(tmp_path / "away")
    other.root.rename(mine.root)
    with pytest.raises(StoreReplaced, match="another identity"):
        mine.check_identity()


@pytest.mark.parametrize("content", [b"", b"x", b"-1", b"9" * 40])
def test_a_damaged_fence_is_neither_zero_nor_permanent(folder: CheckpointStore, content: bytes) -> None:
    run(folder, EARLY, 5, 1)
    (folder.root / EARLY / FENCE).write_bytes(content)
    with pytest.raises(FenceRejected, match=f"{EARLY}/{FENCE}"):
        publish(folder, EARLY, 2, 5)
    (folder.root / FENCE).write_bytes(content)
    assert folder.highest_fence() == 5
    with pytest.raises(FenceRejected):
        folder.take(EARLY, 4)
    run(folder, EARLY, 6, 2)


def test_without_the_stores_fence_its_jobs_give_the_highest_token(folder: CheckpointStore) -> None:
    run(folder, EARLY, 5, 1)
    (folder.root / FENCE).unlink()
    assert folder.highest_fence() == 5


def test_the_next_claim_gets_a_token_above_a_damaged_fence(folder: CheckpointStore) -> None:
    run(folder, EARLY, 3, 1)
    (folder.root / EARLY / FENCE).write_bytes(b"7")
    with pytest.raises(FenceRejected):
        folder.take(EARLY, 4)
    run(folder, EARLY, folder.highest_fence() + 1, 2)


# ----------------------------------------------------------------------------
# The pointer.


def spoil(store: CheckpointStore, how: str) -> None:
    data = inside(store, POINTER)
    changed = {
        "removed": None,
        "torn": data[: len(data) // 2],
        "names nothing": data.replace(b"20260102", b"20660102"),
        "one digit less": data.replace(b"-e002", b"-e001"),
        "empty": b"",
        "a list": b"[]",
        "large": b"{" + b" " * 2**20 + b"}",
    }[how]
    damage_inside(store, POINTER, changed)


HOW = ["removed", "torn", "names nothing", "one digit less", "empty", "a list", "large"]


@pytest.mark.parametrize("how", HOW)
def test_a_useless_pointer_is_reported_and_replaced(store: CheckpointStore, how: str) -> None:
    run(store, EARLY, 1, 1)
    run(store, LATE, 2, 1, 2)
    numbers = max(manifest.number or 0 for manifest in store.manifests())
    spoil(store, how)
    found = store.find_latest()
    assert found.checkpoint == CheckpointId(LATE, 2)
    assert POINTER in (found.trouble or "")
    run(store, EARLY, 3, 2)
    assert store.find_latest()[0] == CheckpointId(LATE, 2)
    assert store.find_latest().trouble is None
    assert (publish(store, EARLY, 3, 3).number or 0) > numbers


def test_an_unreadable_pointer_is_reported_and_not_taken_for_absent(folder: CheckpointStore) -> None:
    run(folder, EARLY, 1, 1)
    (folder.root / POINTER).unlink()
    (folder.root / POINTER).mkdir()
    assert folder.latest() == CheckpointId(EARLY, 1)
    assert POINTER in (folder.find_latest().trouble or "")
    with pytest.raises(Unreadable, match=POINTER):
        publish(folder, EARLY, 2, 1)


# ----------------------------------------------------------------------------
# Existing checkpoints are verified; those of another version are kept.


@pytest.mark.parametrize("name", [GENERATOR, MANIFEST, "samples.png"])
@pytest.mark.parametrize("damage", ["flip", "remove"])
def test_a_damaged_checkpoint_is_replaced_when_it_is_published_again(
    store: CheckpointStore, name: str, damage: str
) -> None:
    run(store, EARLY, 1, 1, 2)
    path = f"{EARLY}/001/{name}"
    data = inside(store, path)
    middle = len(data) // 2
    damage_inside(
        store, path, None if damage == "remove" else data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :]
    )
    run(store, EARLY, 2, 1)
    assert whole(store, CheckpointId(EARLY, 1))
    assert store.latest() == CheckpointId(EARLY, 2)
    assert len(store.epochs(EARLY)) == 2


def test_checkpoints_of_another_version_are_kept_and_listed_with_the_reason(store: CheckpointStore) -> None:
    run(store, EARLY, 1, 1, 2)
    written = of_a_newer_version(store, EARLY, 1)
    with pytest.raises(CheckpointNotUnderstood, match="another version"):
        publish(store, EARLY, 1, 1)
    assert inside(store, f"{EARLY}/001/{MANIFEST}") == written
    usable, (unusable,) = store.survey()
    assert [manifest.epoch for manifest in usable] == [2]
    assert unusable.checkpoint == CheckpointId(EARLY, 1)
    assert "recipe" in unusable.reason
    assert not unusable.understood


def test_torn_checkpoints_are_listed_too(store: CheckpointStore) -> None:
    run(store, EARLY, 1, 1)
    damage_inside(store, f"{EARLY}/001/{MANIFEST}", b"{")
    (unusable,) = store.survey()[1]
    assert unusable.understood


def test_a_manifest_cannot_name_a_file_elsewhere(folder: CheckpointStore) -> None:
    found = publish(folder, EARLY, 1)
    fields = found.model_dump(mode="json") | {"files": {"../../secret": {"sha256": "0", "size": 1}}}
    (folder.folder(found.checkpoint) / MANIFEST).write_text(json.dumps(fields))
    with pytest.raises(CheckpointDamaged):
        folder.manifest(found.checkpoint)


# ----------------------------------------------------------------------------
# Reading: sizes first, and always with a time limit.


def test_nothing_of_a_file_that_is_too_large_is_read(folder: CheckpointStore) -> None:
    found = publish(folder, EARLY, 1)
    with (folder.folder(found.checkpoint) / GENERATOR).open("r+b") as file:
        file.truncate(6 * 2**30)
    with pytest.raises(CheckpointDamaged, match="size differs"):
        folder.read(found, GENERATOR)
    with (folder.folder(found.checkpoint) / MANIFEST).open("r+b") as file:
        file.truncate(6 * 2**30)
    with pytest.raises(CheckpointDamaged, match="more than"):
        folder.manifest(found.checkpoint)
    assert folder.survey()[0] == []


def test_a_pipe_in_place_of_a_file_is_an_error_at_once(folder: CheckpointStore) -> None:
    found = publish(folder, EARLY, 1)
    for name in (f"{EARLY}/001/{GENERATOR}", POINTER):
        (folder.root / name).unlink()
        os.mkfifo(folder.root / name)
    with pytest.raises(Unreadable, match="not a regular file"):
        folder.read(found, GENERATOR)
    assert folder.latest() == CheckpointId(EARLY, 1)


def test_a_read_that_hangs_ends_after_its_time_limit(folder: CheckpointStore, monkeypatch: pytest.MonkeyPatch) -> None:
    released = threading.Event()
    found = publish(folder, EARLY, 1)
    hanging = FilesystemStorage(folder.root, seconds=0.2)
    monkeypatch.setattr(hanging, "_read", lambda *_: released.wait(20))
    with pytest.raises(Unreachable, match=r"did not answer within 0\.2 s"):
        CheckpointStore(hanging).read(found, GENERATOR)
    released.set()


def test_five_faults_of_a_file_are_distinguished(folder: CheckpointStore) -> None:
    folder.root.mkdir()
    with pytest.raises(FileNotFoundError):
        read_bytes(folder.storage, "it")
    (folder.root / "it").mkdir()
    with pytest.raises(Unreadable, match="it cannot be read: is not a regular file"):
        read_bytes(folder.storage, "it")
    with pytest.raises(FileTorn):
        parse(b'{"seed": 1', TrainingConfig, "it")
    sealed = seal(TrainingConfig(seed=1))
    assert parse(sealed, TrainingConfig, "it") == TrainingConfig(seed=1)
    with pytest.raises(FileDamaged):
        parse(sealed.replace(b'"seed": 1', b'"seed": 3'), TrainingConfig, "it")
