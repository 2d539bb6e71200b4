"""Files that users sent, in a folder and in a bucket: stored in pieces, verified when they are fetched."""

import hashlib
from collections.abc import Callable
from pathlib import Path

import pytest

from models.bounded_reading import FileDamaged, FileMissing
from models.data.building.order import TrainingDataOrder
from models.registry.storage import uploads
from models.registry.storage.uploads import (
    CONTENT,
    UPLOAD,
    delete_upload,
    fetch_upload,
    forget_upload,
    has_upload,
    store_upload,
)
from models.registry.store import CheckpointStore
from tests.models.registry.test_store import NEW, damage_inside

DATA = bytes(range(256)) * 100


class Stop(Exception):
    """What `check` raises."""


@pytest.fixture
def store(open_it: Callable[[], CheckpointStore]) -> CheckpointStore:
    return open_it()


@pytest.fixture(autouse=True)
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(uploads, "PIECE", 1000)


@pytest.fixture
def order() -> TrainingDataOrder:
    return TrainingDataOrder(name="letters", size=len(DATA), sha256=hashlib.sha256(DATA).hexdigest())


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "file"
    path.write_bytes(DATA)
    return path


def names(store: CheckpointStore) -> list[str]:
    return [each.name for each in store.storage.files() if NEW in each.name and not each.name.startswith("ledgers/")]


def test_a_file_is_fetched_as_it_was_stored_until_it_is_deleted(
    store: CheckpointStore, order: TrainingDataOrder, file: Path, tmp_path: Path
) -> None:
    pieces = list[None]()
    store_upload(store.storage, NEW, order, file)
    assert has_upload(store.storage, NEW)
    fetch_upload(store.storage, NEW, order, tmp_path / "copy", lambda: pieces.append(None))
    assert (tmp_path / "copy").read_bytes() == DATA
    assert len(pieces) == -(-len(DATA) // 1000)
    delete_upload(store.storage, NEW)
    delete_upload(store.storage, NEW)
    assert not has_upload(store.storage, NEW)
    assert names(store) == []
    with pytest.raises(FileMissing, match="send it again"):
        fetch_upload(store.storage, NEW, order, tmp_path / "copy", lambda: None)


def test_a_worker_can_claim_the_job_of_a_stored_file(
    store: CheckpointStore, order: TrainingDataOrder, file: Path, tmp_path: Path
) -> None:
    store_upload(store.storage, NEW, order, file)
    store.take(NEW, 1)
    store.take(NEW, 2)
    store.check_held(NEW, 2)
    fetch_upload(store.storage, NEW, order, tmp_path / "copy", lambda: None)
    store.clear_unknown(NEW)
    assert has_upload(store.storage, NEW)


def test_a_damaged_file_and_a_stop_are_noticed(
    store: CheckpointStore, order: TrainingDataOrder, file: Path, tmp_path: Path
) -> None:
    def stop() -> None:
        raise Stop

    store_upload(store.storage, NEW, order, file)
    with pytest.raises(Stop):
        fetch_upload(store.storage, NEW, order, tmp_path / "copy", stop)
    damage_inside(store, f"{NEW}/{UPLOAD}/{CONTENT}", DATA[:-1] + b"?")
    with pytest.raises(FileDamaged, match="send it again"):
        fetch_upload(store.storage, NEW, order, tmp_path / "copy", lambda: None)


def test_nothing_is_left_of_a_file_that_cannot_be_stored_or_whose_job_is_not_accepted(
    store: CheckpointStore, order: TrainingDataOrder, file: Path, tmp_path: Path
) -> None:
    with pytest.raises(OSError, match=r"missing|cannot be written"):
        store_upload(store.storage, NEW, order, tmp_path / "missing")
    assert names(store) == []
    store_upload(store.storage, NEW, order, file)
    forget_upload(store.storage, NEW)
    assert names(store) == []
    assert not has_upload(store.storage, NEW)
