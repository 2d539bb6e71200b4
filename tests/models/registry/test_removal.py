"""A deleted job leaves nothing in the store, and no late worker writes any of it again."""

import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import obstore
import pytest

from models.atomic_files import remove_old_temporary, write_durably
from models.config import TrainingConfig
from models.registry.job_entry import fingerprint
from models.registry.removal import delete_folder, delete_run
from models.registry.serving_policy import ServingPolicy, write_choice
from models.registry.storage.base import Folder
from models.registry.storage.object_store import ObjectStorage
from models.registry.store import (
    DATASET,
    MANIFEST,
    CheckpointId,
    CheckpointNotFound,
    CheckpointStore,
    FenceRejected,
)
from models.synthesis.order import DatasetOrder
from models.synthesis.shards import Shards
from tests.models.registry.test_store import FILES
from tests.support import records
from tests.support.s3_endpoint import PATIENT_SECONDS, Fault, in_haste, open_store
from tests.support.stores import EARLY, LATE, publish, run
from worker.settings import WorkerSettings

PART = DatasetOrder(checkpoint=f"{LATE}-e001", per_class=10, test_per_class=1).parts[0]


def names_of(store: CheckpointStore, job: str) -> list[str]:
    """Every file and folder of the store whose name contains the job's id."""
    if isinstance(store.storage, ObjectStorage):
        return [
            str(meta["path"]) for page in obstore.list(store.storage.objects) for meta in page if job in meta["path"]
        ]
    return [str(path) for path in store.root.rglob("*") if job in str(path.relative_to(store.root))]


def make_everything(store: CheckpointStore, job: str, fence: int) -> None:
    """Write everything that a job can leave: checkpoints, a state, parts, a data set, and staged files."""
    run(store, job, fence, 1, 2)
    store.save_state(job, b"state", fence)
    Shards(store, job).write(PART, b"part", fence)
    workshop = store.dataset_workshop(job)
    write_durably(workshop / "t10k-images-idx3-ubyte.gz", b"digits")
    write_durably(workshop / MANIFEST, b"{}")
    store.publish_dataset(job, fence)
    store.storage.stage(Folder(job, "003"), fence, FILES)


def test_a_deleted_job_leaves_nothing(open_it: Callable[[], CheckpointStore]) -> None:
    store = open_it()
    make_everything(store, EARLY, 3)
    run(store, LATE, 4, 1)
    assert delete_run(open_it(), EARLY, 3) == 2
    assert names_of(store, EARLY) == []
    assert not store.has_dataset(EARLY)
    assert store.load_state(EARLY) is None
    assert store.epochs(EARLY) == []
    assert store.latest() == CheckpointId(LATE, 1)
    assert [manifest.id for manifest in store.manifests()] == [f"{LATE}-e001"]
    assert delete_run(store, EARLY, 3) == 0


def test_a_late_worker_neither_publishes_nor_claims_a_deleted_job(open_it: Callable[[], CheckpointStore]) -> None:
    late, api = open_it(), open_it()
    run(api, LATE, 2, 1)
    make_everything(late, EARLY, 5)
    delete_run(api, EARLY, 5)
    writes: list[Callable[[], object]] = [
        lambda: publish(late, EARLY, 3, 5),
        lambda: late.save_state(EARLY, b"later", 5),
        lambda: late.publish_dataset(EARLY, 5),
        lambda: late.write_held(EARLY, 5, lambda: pytest.fail("written")),
        lambda: late.take(EARLY, 5, fingerprint(TrainingConfig())),
        lambda: late.take(EARLY, 4, has_results=True),
    ]
    for write in writes:
        workshop = late.dataset_workshop(EARLY)
        write_durably(workshop / "train-images-idx3-ubyte.gz", b"late")
        with pytest.raises(FenceRejected):
            write()
        late.clear_unknown(EARLY)
        assert names_of(api, EARLY) == [], write
    run(api, "20260103-000000-aaaaaa", 6, 1)


def test_files_that_a_late_worker_wrote_before_its_rejection_are_deleted(
    open_it: Callable[[], CheckpointStore],
) -> None:
    """The job is deleted between a writer's first and last check."""
    late, api = open_it(), open_it()
    run(api, LATE, 1, 1)
    for write in (lambda: publish(late, EARLY, 2, 5), lambda: late.save_state(EARLY, b"later", 5)):
        run(late, EARLY, 5, 1)
        alone = late.storage.alone

        def delete_first(step: Callable[[], object]) -> object:
            late.storage.alone = alone  # type: ignore[method-assign]  # noqa: B023
            delete_run(api, EARLY, 4)  # the token of the record may be older than the store's
            return alone(step)  # noqa: B023

        late.storage.alone = delete_first  # type: ignore[method-assign, assignment]
        with pytest.raises(FenceRejected):
            write()
        assert names_of(api, EARLY) == []
        (api.storage.delete("deleted"))  # so that the test can claim it again


def test_a_claim_that_is_older_than_a_deletion_is_claimed_again_and_runs(
    open_it: Callable[[], CheckpointStore],
) -> None:
    store = open_it()
    run(store, EARLY, 7, 1)
    run(store, LATE, 2, 1)
    delete_run(store, EARLY, 9)
    assert store.highest_fence() == 9
    run(store, LATE, 3, 2)
    with pytest.raises(FenceRejected, match="must claim job"):
        store.take("20260103-000000-aaaaaa", 8)
    run(store, "20260103-000000-aaaaaa", store.highest_fence() + 1, 1)


@pytest.mark.parametrize("content", [b"", b"x", b"9" * 40])
def test_a_damaged_list_of_deletions_does_not_count_as_empty(
    open_it: Callable[[], CheckpointStore], content: bytes
) -> None:
    store = open_it()
    run(store, EARLY, 7, 1)
    delete_run(store, EARLY, 7)
    store.storage.write("deleted", content)
    with pytest.raises(FenceRejected):
        store.take(EARLY, 7)
    run(store, LATE, 8, 1)
    delete_run(store, LATE, 8)
    assert store.storage.read("deleted") == b"8"


def test_a_deletion_interrupted_by_a_disk_error_is_never_visible_in_part_and_can_be_repeated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = CheckpointStore(tmp_path / "store")
    make_everything(store, EARLY, 1)

    def fail(path: Path) -> None:
        next(Path(path).rglob("generator.safetensors")).unlink()
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as broken:
        broken.setattr(shutil, "rmtree", fail)
        with pytest.raises(OSError, match="Input/output"):
            delete_run(store, EARLY, 1)
    assert store.survey() == ([], [])
    assert store.storage.folders(EARLY) == []
    assert [file.placed for file in store.storage.files() if EARLY in file.name].count(True) == 0
    delete_run(store, EARLY, 1)
    assert names_of(store, EARLY) == []


def test_a_bucket_that_fails_in_the_middle_is_cleared_by_the_next_call(
    request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    endpoint = request.getfixturevalue("endpoint")
    address = endpoint.address()
    make_everything(open_store(address, tmp_path, seconds=PATIENT_SECONDS), EARLY, 1)
    store = open_store(address, tmp_path, seconds=PATIENT_SECONDS)
    endpoint.faults.append(fault := Fault("refuse", "POST"))
    with in_haste(store, address), pytest.raises(OSError, match="deleted"):
        delete_run(store, EARLY, 1)
    endpoint.faults.remove(fault)
    assert fault.happened
    late = open_store(address, tmp_path, seconds=PATIENT_SECONDS)
    assert late.epochs(EARLY) == []
    with pytest.raises(FenceRejected):
        publish(late, EARLY, 3, 1)
    delete_run(store, EARLY, 1)
    assert names_of(store, EARLY) == []


def test_checkpoints_in_use_stay_complete(open_it: Callable[[], CheckpointStore]) -> None:
    store = open_it()
    run(store, EARLY, 1, 1)
    before = names_of(store, EARLY)

    def refuse() -> None:
        raise LookupError("in use")

    for delete in (
        lambda: delete_run(store, EARLY, 1, refuse),
        lambda: delete_folder(store, Folder(EARLY, "001"), refuse),
    ):
        with pytest.raises(LookupError):
            delete()
    assert names_of(store, EARLY) == before
    publish(store, EARLY, 2, 1)


def test_a_deleted_checkpoint_is_neither_pinned_nor_damaged(open_it: Callable[[], CheckpointStore]) -> None:
    store = open_it()
    run(store, EARLY, 1, 1, 2)
    manifest = store.manifest(CheckpointId(EARLY, 1))
    delete_folder(open_it(), manifest.checkpoint.folder)
    with pytest.raises(CheckpointNotFound):
        write_choice(store, ServingPolicy(policy="pinned", checkpoint=f"{EARLY}-e001"))
    with pytest.raises(CheckpointNotFound, match="was deleted while"):
        store.read(manifest, "generator.safetensors")
    assert store.epochs(EARLY) == [2]


def test_a_checkpoint_whose_files_cannot_be_deleted_is_gone_and_its_files_count_as_temporary(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = CheckpointStore(tmp_path / "store")
    run(store, EARLY, 1, 1)
    with monkeypatch.context() as broken:
        broken.setattr(shutil, "rmtree", lambda *_, **__: None)
        delete_folder(store, Folder(EARLY, "001"))
    left = [file for file in store.storage.files() if file.name.endswith(".safetensors")]
    assert left
    assert not any(file.placed for file in left)
    store.storage.clear(left + [file for file in store.storage.files() if not file.placed])
    assert not [path for path in (store.root / EARLY).iterdir() if path.is_dir()]


def test_old_temporary_files_of_a_killed_process_are_removed_from_a_root(tmp_path: Path) -> None:
    write_durably(tmp_path / "latest.json", b"{}")
    old, fresh = tmp_path / ".latest.json.1.tmp", tmp_path / ".latest.json.2.tmp"
    kept = [tmp_path / ".notes.txt", tmp_path / "mine.tmp", tmp_path / ".lock"]
    for path in (old, fresh, *kept):
        path.write_bytes(b"x")
    (half := tmp_path / f".{EARLY}.ab.deleted").mkdir()
    shutil.copy(tmp_path / "latest.json", half)
    assert remove_old_temporary(tmp_path) == []
    for path in (old, *kept):
        os.utime(path, (time.time() - 7200,) * 2)
    assert remove_old_temporary(tmp_path) == []  # its status changed a moment ago
    time.sleep(0.02)
    assert sorted(remove_old_temporary(tmp_path, 0.01)) == sorted([old.name, fresh.name, half.name])
    assert all(path.exists() for path in kept)
    assert remove_old_temporary(tmp_path / "none") == []


def test_temporary_files_are_removed_from_the_folders_of_the_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = WorkerSettings(home=tmp_path)
    left = [settings.home, settings.cache_dir / "mnist", settings.judges_dir]
    for folder in left:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / ".x.1.tmp").write_bytes(b"x")
        (folder / "x").write_bytes(b"x")
    monkeypatch.setattr("worker.settings.remove_old_temporary", lambda folder: remove_old_temporary(folder, 0))
    settings.protect_home()
    assert [sorted(path.name for path in folder.iterdir() if path.is_file()) for folder in left] == [["x"]] * 3


def test_temporary_files_of_others_stay_in_a_shared_folder(tmp_path: Path) -> None:
    ours, others = tmp_path / ".history.csv.1.tmp", tmp_path / ".report.csv.1.tmp"
    for path in (ours, others):
        path.write_bytes(b"x")
    assert remove_old_temporary(tmp_path, 0, lambda name: name.startswith("history")) == [ours.name]
    assert others.exists()


def test_a_data_set_is_invisible_until_it_is_held(open_it: Callable[[], CheckpointStore]) -> None:
    store = open_it()
    store.take(EARLY, 2)
    with pytest.raises(FenceRejected):
        store.write_held(EARLY, 1, lambda: pytest.fail("written"))
    written: list[bool] = []
    store.write_held(EARLY, 2, lambda: written.append(True))
    assert written == [True]
    assert DATASET not in [folder.name for folder in store.storage.folders(EARLY)]
    assert records.manifest(EARLY, 1, fence=2).fence == 2
