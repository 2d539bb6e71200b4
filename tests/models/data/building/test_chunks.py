"""Chunks on disk: complete or absent, checked, and used by one process at a time."""

import os
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from models.data.building import chunks
from models.data.building.chunks import Chunk, ChunkFolder, ImportRunning, locked, remove_chunks


def chunk(first: int, count: int = 3) -> Chunk:
    images = np.full((count, 28, 28), first % 256, np.uint8)
    return Chunk(first, count + 1, images, ["ä", "b", "c"][:count], ["train"] * count, [("ä/x.png", "it is cut off")])


def test_chunks_are_read_in_the_order_of_the_items(tmp_path: Path) -> None:
    folder = ChunkFolder(tmp_path)
    for first in (1024, 0, 512):
        folder.write(chunk(first))
    assert folder.finished() == {0: 4, 512: 4, 1024: 4}
    found = list(folder.read())
    assert [each.first for each in found] == [0, 512, 1024]
    assert np.array_equal(found[1].images, chunk(512).images)
    assert (found[1].labels, found[1].splits, found[1].skipped) == (chunk(512).labels, ["train"] * 3, chunk(0).skipped)


@pytest.mark.parametrize("damage", [lambda data: data[:-1], lambda data: data[:-1] + b"\xff", lambda data: b""])
def test_a_damaged_chunk_counts_as_missing(tmp_path: Path, damage: object) -> None:
    folder = ChunkFolder(tmp_path)
    folder.write(chunk(0))
    folder.write(chunk(4))
    (path,) = tmp_path.glob("*4.chunk")
    path.write_bytes(damage(path.read_bytes()))  # type: ignore[operator]
    assert folder.finished() == {0: 4}
    assert [each.first for each in folder.read()] == [0]


def test_a_second_process_is_refused(tmp_path: Path) -> None:
    with locked(tmp_path, "key"), pytest.raises(ImportRunning), locked(tmp_path, "key"):
        pass
    with locked(tmp_path, "key"), locked(tmp_path, "other"):
        pass


def test_temporary_files_of_a_killed_process_and_old_folders_are_deleted(tmp_path: Path) -> None:
    with locked(tmp_path, "old") as old, locked(tmp_path, "recent") as recent:
        old.write(chunk(0))
        recent.write(chunk(0))
        (recent.folder / ".00000004.chunk.x.tmp").write_bytes(b"half")
    long_ago = time.time() - chunks.OLD_SECONDS - 60
    os.utime(tmp_path / "old", (long_ago, long_ago))
    with locked(tmp_path, "recent") as recent:
        assert sorted(path.name for path in recent.folder.iterdir()) == ["00000000.chunk", "lock"]
    assert [path.name for path in tmp_path.iterdir()] == ["recent"]


def test_chunks_that_another_process_uses_are_not_deleted(tmp_path: Path) -> None:
    long_ago = time.time() - chunks.OLD_SECONDS - 60
    with locked(tmp_path, "used") as used:
        used.write(chunk(0))
        os.utime(used.folder, (long_ago, long_ago))
        remove_chunks(used.folder)
        with locked(tmp_path, "other"):  # deletes old folders
            pass
        assert used.finished() == {0: 4}
        with pytest.raises(ImportRunning), locked(tmp_path, "used"):
            pass
    remove_chunks(used.folder)
    assert not used.folder.exists()
    remove_chunks(used.folder)


def test_a_lock_of_a_deleted_folder_is_not_held(tmp_path: Path) -> None:
    """A process that takes the lock while another one deletes the folder has the lock of the next folder."""
    removers = [threading.Thread(target=remove_chunks, args=(tmp_path / "key",)) for _ in range(300)]
    taken = 0
    for remover in removers:
        remover.start()
        try:
            with locked(tmp_path, "key") as folder:
                assert (folder.folder / chunks.LOCK).exists()
                remove_chunks(folder.folder)
                assert (folder.folder / chunks.LOCK).exists()
                taken += 1
        except ImportRunning:
            continue
        finally:
            remover.join()
    assert taken
