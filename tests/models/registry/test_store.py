import threading
from pathlib import Path

import obstore
import pytest

from models.registry.retention import apply_retention
from models.registry.storage.object_store import ObjectStorage
from models.registry.store import (
    GENERATOR,
    MANIFEST,
    CheckpointDamaged,
    CheckpointId,
    CheckpointNotFound,
    CheckpointStore,
    FenceRejected,
    Manifest,
)
from tests.support import records
from tests.support.s3_endpoint import PATIENT_SECONDS, open_store

OLD, NEW = "20260101-000000-aaaaaa", "20260102-000000-aaaaaa"
FILES = {GENERATOR: b"g" * 600, "discriminator.safetensors": b"d" * 300, "samples.png": b"p" * 100}


def manifest(job: str = OLD, epoch: int = 1, age_seconds: float = 0) -> Manifest:
    return records.manifest(job, epoch, age_seconds, fence=0)  # the job was never claimed


@pytest.fixture(params=["folder", "s3"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> CheckpointStore:
    """In a folder, and in a bucket: the guarantees are the same."""
    if request.param == "folder":
        return CheckpointStore(tmp_path / "checkpoints")
    return open_store(request.getfixturevalue("endpoint").address(), tmp_path, seconds=PATIENT_SECONDS)


def inside(store: CheckpointStore, name: str) -> bytes:
    """The files in the folder or bucket."""
    if isinstance(store.storage, ObjectStorage):
        return bytes(obstore.get(store.storage.objects, store.storage._key(name)).bytes())
    return (store.root / name).read_bytes()


def damage_inside(store: CheckpointStore, name: str, data: bytes | None) -> None:
    """Replace a file, or delete it, without the store."""
    if isinstance(store.storage, ObjectStorage):
        objects, key = store.storage.objects, store.storage._key(name)
        obstore.delete(objects, key) if data is None else obstore.put(objects, key, data)
    elif data is None:
        (store.root / name).unlink()
    else:
        (store.root / name).write_bytes(data)


def test_a_published_checkpoint_is_read_back_whole(store: CheckpointStore) -> None:
    published = store.publish(manifest(epoch=7), FILES)
    found = store.manifest(CheckpointId(OLD, 7))
    assert found == published
    assert {name: store.read(found, name) for name in FILES} == FILES
    assert found.total_size == 1000
    assert store.latest() == CheckpointId(OLD, 7)
    assert [m.id for m in store.manifests()] == [f"{OLD}-e007"]


def test_latest_moves_forwards_only(store: CheckpointStore) -> None:
    assert store.latest() is None
    for job, epoch in ((OLD, 2), (NEW, 1), (OLD, 3), (NEW, 2), (NEW, 1)):
        store.publish(manifest(job, epoch), FILES)
    assert store.latest() == CheckpointId(NEW, 2)


def test_a_checkpoint_never_changes(store: CheckpointStore) -> None:
    first = store.publish(manifest(), FILES)
    again = store.publish(manifest(), {name: data + b"other" for name, data in FILES.items()})
    assert again == first
    assert store.read(again, GENERATOR) == FILES[GENERATOR]


@pytest.mark.parametrize("damage", ["flip", "cut", "grow", "remove"])
def test_damaged_files_are_detected(store: CheckpointStore, damage: str) -> None:
    found = store.publish(manifest(), FILES)
    name = f"{found.checkpoint.folder}/{GENERATOR}"
    data = inside(store, name)
    match damage:
        case "flip":
            damage_inside(store, name, data[:300] + bytes([data[300] ^ 1]) + data[301:])
        case "cut":
            damage_inside(store, name, data[:-1])
        case "grow":
            damage_inside(store, name, data + b"\0")
        case "remove":
            damage_inside(store, name, None)
    with pytest.raises(CheckpointDamaged, match=GENERATOR):
        store.read(found, GENERATOR)


def test_a_truncated_or_foreign_manifest_is_detected(store: CheckpointStore) -> None:
    store.publish(manifest(epoch=1), FILES)
    store.publish(manifest(epoch=2), FILES)
    one, two = (f"{CheckpointId(OLD, epoch).folder}/{MANIFEST}" for epoch in (1, 2))
    damage_inside(store, two, inside(store, one))
    with pytest.raises(CheckpointDamaged, match="belongs to"):
        store.manifest(CheckpointId(OLD, 2))
    damage_inside(store, one, inside(store, one)[:100])
    with pytest.raises(CheckpointDamaged, match="cannot be read"):
        store.manifest(CheckpointId(OLD, 1))


def test_an_unreadable_pointer_falls_back_on_the_existing_checkpoints(store: CheckpointStore) -> None:
    store.publish(manifest(epoch=1), FILES)
    store.publish(manifest(epoch=2), FILES)
    damage_inside(store, "latest.json", b"{")
    assert store.latest() == CheckpointId(OLD, 2)


def test_without_its_manifest_a_checkpoint_does_not_exist(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = CheckpointStore(tmp_path)

    def full_disk(path: Path, data: bytes) -> None:
        if path.name == MANIFEST:
            raise OSError(28, "No space left on device")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)

    store.publish(manifest(epoch=1), FILES)
    monkeypatch.setattr("models.registry.storage.filesystem.write_durably", full_disk)
    with pytest.raises(OSError, match="No space left"):
        store.publish(manifest(epoch=2), FILES)
    assert store.latest() == CheckpointId(OLD, 1)
    with pytest.raises(CheckpointNotFound):
        store.manifest(CheckpointId(OLD, 2))


def test_no_temporary_files_stay(tmp_path: Path) -> None:
    store = CheckpointStore(tmp_path)
    store.publish(manifest(), FILES)
    names = {path.name for path in store.root.rglob("*") if path.is_file()}
    assert names == {*FILES, MANIFEST, "latest.json", "job.json", ".lock"}


def test_many_publishers_at_once_agree(store: CheckpointStore) -> None:
    for job in (OLD, NEW):
        store.publish(manifest(job, 1), FILES)
    threads = [
        threading.Thread(target=store.publish, args=(manifest(job, epoch), FILES))
        for epoch in range(2, 9)
        for job in (OLD, NEW)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert store.latest() == CheckpointId(NEW, 8)
    assert len(store.manifests()) == 16


@pytest.mark.parametrize(
    "text", ["", "latest", "../../etc-e001", f"{OLD}", f"{OLD}-e1", f"{OLD}/001", "A-e001", "x" * 99]
)
def test_an_invalid_id_names_no_checkpoint(text: str) -> None:
    with pytest.raises(CheckpointNotFound):
        CheckpointId.parse(text)


def test_a_worker_without_its_lease_saves_no_state(store: CheckpointStore) -> None:
    store.take(OLD, 1)
    store.save_state(OLD, b"first", fence=1)
    store.take(OLD, 2)
    store.save_state(OLD, b"the heir's", fence=2)
    with pytest.raises(FenceRejected):
        store.save_state(OLD, b"the zombie's", fence=1)
    assert store.load_state(OLD) == b"the heir's"


def test_ids_are_parsed_back() -> None:
    for checkpoint in (CheckpointId(OLD, 1), CheckpointId(OLD, 1000)):
        assert CheckpointId.parse(str(checkpoint)) == checkpoint


def test_an_epoch_whose_manifest_was_damaged_is_published_again(store: CheckpointStore) -> None:
    published = store.publish(manifest(OLD, 1), FILES)
    name = f"{published.checkpoint.folder}/{MANIFEST}"
    damage_inside(store, name, inside(store, name)[:100])
    assert store.publish(manifest(OLD, 1), FILES).files == published.files
    assert store.manifest(published.checkpoint).files == published.files


# ----------------------------------------------------------------------------
# Retention.


def test_beyond_the_budget_the_oldest_runs_keep_their_last_epoch(store: CheckpointStore) -> None:
    for job in (OLD, NEW):
        for epoch in (1, 2, 3):
            store.publish(manifest(job, epoch, age_seconds=3600), FILES)
    assert apply_retention(store, 6000) == []
    assert apply_retention(store, 4500) == [f"{OLD}-e001", f"{OLD}-e002"]
    assert [m.id for m in store.manifests()] == [f"{OLD}-e003", f"{NEW}-e001", f"{NEW}-e002", f"{NEW}-e003"]
    with pytest.raises(FileNotFoundError):
        inside(store, f"{CheckpointId(OLD, 1).folder}/{GENERATOR}")
    apply_retention(store, 0)
    assert [m.id for m in store.manifests()] == [f"{OLD}-e003", f"{NEW}-e003"]


def test_a_checkpoint_published_just_now_is_kept(store: CheckpointStore) -> None:
    for epoch in (1, 2, 3):
        store.publish(manifest(OLD, epoch, age_seconds=10), FILES)
    assert apply_retention(store, 0) == []


def test_a_refused_checkpoint_exists_and_is_never_latest(store: CheckpointStore) -> None:
    store.publish(manifest(epoch=1), FILES)
    refused = manifest(epoch=2).model_copy(update={"refused": "its sevens are not recognised"})
    store.publish(refused, FILES)
    assert store.latest() == CheckpointId(OLD, 1)
    assert store.manifest(CheckpointId(OLD, 2)).refused == "its sevens are not recognised"
    store.publish(manifest(epoch=3), FILES)
    assert store.latest() == CheckpointId(OLD, 3)
    store.publish(manifest(epoch=4).model_copy(update={"refused": "collapsed"}), FILES)
    damage_inside(store, "latest.json", b"damaged")
    assert store.latest() == CheckpointId(OLD, 3)
