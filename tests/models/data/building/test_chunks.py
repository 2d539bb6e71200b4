"""Chunks on disk: complete or absent, checked, and used by one process at a time."""

import os
import time
from pathlib import Path

import numpy as np
import pytest

from models.data.building import chunks
from models.data.building.chunks import Chunk, ChunkFolder, ImportRunning, locked


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
