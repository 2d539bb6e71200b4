"""Files and folders of a store that another process deletes while they are listed or deleted."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from models.atomic_files import write_durably
from models.registry.removal import delete_run
from models.registry.storage.base import Folder
from models.registry.storage.cache import Cache
from models.registry.store import DATASET, MANIFEST, CheckpointStore
from tests.models.registry.test_store import FILES
from tests.support.stores import EARLY, LATE, run

Act = Callable[[], object]


@pytest.fixture
def store(tmp_path: Path) -> CheckpointStore:
    """Two jobs with a checkpoint each."""
    store = CheckpointStore(tmp_path / "store")
    for fence, job in enumerate((EARLY, LATE), start=1):
        run(store, job, fence, 1)
    return store


class Scanned:
    """What `os.scandir` returns, of entries that were read before."""

    def __init__(self, entries: list[Any]) -> None:
        self.left = iter(entries)

    def __iter__(self) -> "Scanned":
        return self

    def __next__(self) -> Any:
        return next(self.left)

    def __enter__(self) -> "Scanned":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self.left = iter(())


def when_listed(monkeypatch: pytest.MonkeyPatch, folder: Path, act: Act, is_before: bool = False) -> None:
    """Call `act` once, immediately before or after the first listing of a folder."""
    listdir, scandir, acts = os.listdir, os.scandir, [act]

    def listed(path: Any, names: Callable[[Any], list[Any]]) -> list[Any]:
        is_meant = isinstance(path, str | Path) and Path(path) == folder
        if is_meant and is_before and acts:
            acts.pop()()
        found = names(path)
        if is_meant and not is_before and acts:
            acts.pop()()
        return found

    def entries(path: Any) -> list[Any]:
        with scandir(path) as found:
            return list(found)

    def scan(path: Any = ".") -> Any:
        return Scanned(listed(path, entries)) if isinstance(path, str | Path) else scandir(path)

    monkeypatch.setattr(os, "listdir", lambda path=".": listed(path, listdir))
    monkeypatch.setattr(os, "scandir", scan)


def hide_and_clear(store: CheckpointStore) -> None:
    store.storage.hide_job(EARLY)
    store.storage.clear_job(EARLY)


@pytest.mark.parametrize("is_before", [False, True])
@pytest.mark.parametrize("place", ["", EARLY])
@pytest.mark.parametrize("is_cleared", [False, True])
def test_a_job_that_is_deleted_while_the_store_is_listed(
    store: CheckpointStore, monkeypatch: pytest.MonkeyPatch, place: str, is_before: bool, is_cleared: bool
) -> None:
    other = CheckpointStore(store.root)
    delete = (lambda: hide_and_clear(other)) if is_cleared else (lambda: other.storage.hide_job(EARLY))
    when_listed(monkeypatch, store.root / place, delete, is_before)
    assert Folder(LATE, "001") in store.storage.folders()
    assert store.storage.folders() == [Folder(LATE, "001")]


def test_a_hidden_job_that_is_cleared_while_the_store_is_listed(
    store: CheckpointStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = CheckpointStore(store.root)
    other.storage.hide_job(EARLY)
    when_listed(monkeypatch, store.root, lambda: other.storage.clear_job(EARLY))
    assert store.storage.folders() == [Folder(LATE, "001")]


def test_a_job_that_is_deleted_while_its_files_are_listed(
    store: CheckpointStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    when_listed(monkeypatch, store.root / EARLY, lambda: hide_and_clear(CheckpointStore(store.root)), is_before=True)
    assert store.storage.names(EARLY) == []


def when_deleted(monkeypatch: pytest.MonkeyPatch, act: Callable[..., object]) -> None:
    """Call `act` once, immediately before the first deletion of a file, with the arguments of `os.unlink`."""
    unlink, acts = os.unlink, [act]

    def delete(*place: Any, **relative: Any) -> None:
        if acts:
            acts.pop()(*place, **relative)
        unlink(*place, **relative)

    monkeypatch.setattr(os, "unlink", delete)


def test_a_leftover_that_is_deleted_meanwhile_does_not_end_a_claim(
    store: CheckpointStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    staged = store.storage.stage(Folder(EARLY, "002"), 1, FILES)
    when_deleted(monkeypatch, lambda *_, **__: shutil.rmtree(staged))
    store.take(EARLY, 2)
    assert store.storage.fence(EARLY).token == 2
    assert not Path(staged).exists()


def test_a_leftover_that_is_a_link_is_deleted_without_its_folder(store: CheckpointStore, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (link := store.root / EARLY / ".002.1").symlink_to(tmp_path / "elsewhere")
    store.take(EARLY, 2)
    assert not link.is_symlink()
    assert (tmp_path / "elsewhere").is_dir()


def test_a_deleted_job_of_which_another_process_deletes_a_file_leaves_nothing(
    store: CheckpointStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    when_deleted(monkeypatch, os.unlink)
    delete_run(store, EARLY, 1)
    assert [name for name in os.listdir(store.root) if EARLY in name] == []


def test_a_copy_that_disappears_from_the_cache_does_not_keep_the_others(tmp_path: Path) -> None:
    cache = Cache(tmp_path / "cache", 1000)
    cache.keep("first", bytes(400))
    (tmp_path / "cache" / "gone").symlink_to("missing")  # it is listed, but has no status
    for number in range(5):
        cache.keep(str(number), bytes(400))
    assert cache.get("first") is None
    assert cache.get("4") == bytes(400)
    assert sum(path.stat().st_size for path in (tmp_path / "cache").iterdir() if path.exists()) <= 1000


def test_temporary_files_of_killed_workers_are_no_part_of_a_data_set(open_it: Callable[[], CheckpointStore]) -> None:
    store = open_it()
    store.take(EARLY, 1)
    workshop = store.dataset_workshop(EARLY)
    for name in ("t10k-labels-idx1-ubyte.gz", ".t10k-labels-idx1-ubyte.gz.abc.tmp", MANIFEST):
        write_durably(workshop / name, b"{}")
    store.publish_dataset(EARLY, 1)
    names = [file.name for file in store.storage.files() if file.placed and file.name.startswith(f"{EARLY}/{DATASET}/")]
    assert sorted(names) == [f"{EARLY}/{DATASET}/{name}" for name in (MANIFEST, "t10k-labels-idx1-ubyte.gz")]
