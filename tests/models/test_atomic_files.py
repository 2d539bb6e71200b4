"""Files in a folder that another process deletes while it is empty, as the store deletes that of a job."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from models.atomic_files import ATTEMPTS, copy_durably, create_in, write_durably

FILES = 50


@contextmanager
def deleting(folder: Path, times: int) -> Iterator[None]:
    """Delete a folder each time it is empty, at most `times` times, until the end of the block.

    Without a limit the thread could delete it after each attempt: the interpreter's lock lets the two take turns.
    """
    has_ended = threading.Event()

    def delete() -> None:
        deletions = 0
        while deletions < times and not has_ended.is_set():
            with suppress(OSError):
                folder.rmdir()
                deletions += 1

    thread = threading.Thread(target=delete)
    thread.start()
    try:
        yield
    finally:
        has_ended.set()
        thread.join()


@pytest.mark.parametrize("is_copy", [False, True], ids=["written", "copied"])
def test_a_file_is_written_although_its_folder_is_deleted_meanwhile(tmp_path: Path, is_copy: bool) -> None:
    path, source = tmp_path / "job" / "file", tmp_path / "source"
    source.write_bytes(b"content")
    for _ in range(FILES):
        with deleting(path.parent, times=ATTEMPTS - 1):
            if is_copy:
                copy_durably(path, source)
            else:
                write_durably(path, b"content")
            assert path.read_bytes() == b"content"
        path.unlink()


@pytest.mark.parametrize("name", ["file", "link"])
def test_a_name_that_can_be_no_folder_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "file").write_bytes(b"")
    (tmp_path / "link").symlink_to(tmp_path / "missing")
    with pytest.raises(FileExistsError, match=name):
        create_in(tmp_path / name, lambda: None)


def test_a_file_that_cannot_be_created_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="missing"):
        create_in(tmp_path, (tmp_path / "missing" / "file").touch)
