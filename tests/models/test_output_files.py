"""Files that a user named: complete or as they were, through links, and into pipes and devices. Both writers agree."""

import errno
import os
import resource
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from acgan_client import Picture
from models.atomic_files import write_output

Write = Callable[[Path, bytes], object]


def save(path: Path, data: bytes) -> Path:
    return Picture(data, "image/png").save(path)


@pytest.fixture(params=[write_output, save], ids=["acgan", "client"])
def write(request: pytest.FixtureRequest) -> Write:
    writer: Write = request.param
    return writer


@contextmanager
def limited(size: int) -> Iterator[None]:
    """No file grows beyond this size, as on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_new_file_has_the_permissions_of_the_umask(write: Write, tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        write(tmp_path / "x.png", b"new")
    finally:
        os.umask(before)
    assert (tmp_path / "x.png").read_bytes() == b"new"
    assert stat.S_IMODE((tmp_path / "x.png").stat().st_mode) == 0o640
    assert os.listdir(tmp_path) == ["x.png"]


def test_a_link_stays_a_link_and_a_file_keeps_its_permissions(write: Write, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    real, link = tmp_path / "folder" / "real.png", tmp_path / "link.png"
    real.write_bytes(b"old")
    real.chmod(0o600)
    link.symlink_to(real)
    write(link, b"new")
    assert link.is_symlink()
    assert (real.read_bytes(), stat.S_IMODE(real.stat().st_mode)) == (b"new", 0o600)
    (tmp_path / "later.png").symlink_to("folder/later.png")
    write(tmp_path / "later.png", b"later")
    assert (tmp_path / "folder" / "later.png").read_bytes() == b"later"
    assert (tmp_path / "later.png").is_symlink()


def test_a_pipe_is_written_to(write: Write, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    reader = os.open(tmp_path / "pipe.png", os.O_RDONLY | os.O_NONBLOCK)
    try:
        write(tmp_path / "pipe.png", b"new")
        assert stat.S_ISFIFO((tmp_path / "pipe.png").stat().st_mode)
        assert os.read(reader, 100) == b"new"
    finally:
        os.close(reader)


def test_a_pipe_without_a_name_is_written_to(write: Write) -> None:
    """As /dev/stdout in a pipeline: the link of the descriptor names no file."""
    reader, writer = os.pipe()
    try:
        write(Path(f"/dev/fd/{writer}"), b"new")
        assert os.read(reader, 100) == b"new"
    finally:
        os.close(reader)
        os.close(writer)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
def test_a_device_is_written_to_and_named_if_it_fails(write: Write, tmp_path: Path) -> None:
    (tmp_path / "full.png").symlink_to("/dev/full")
    with pytest.raises(OSError, match="No space left") as failed:
        write(tmp_path / "full.png", b"new")
    assert failed.value.filename == str(tmp_path / "full.png")
    assert stat.S_ISCHR(Path("/dev/full").stat().st_mode)


def test_a_full_disk_leaves_the_old_file_and_is_named(write: Write, tmp_path: Path) -> None:
    (tmp_path / "x.png").write_bytes(b"old")
    with limited(100), pytest.raises(OSError, match="too large") as failed:
        write(tmp_path / "x.png", bytes(10_000))
    assert (failed.value.errno, failed.value.filename) == (errno.EFBIG, str(tmp_path / "x.png"))
    assert (tmp_path / "x.png").read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["x.png"]


def test_the_longest_name_is_written(write: Write, tmp_path: Path) -> None:
    name = "ä" * 125 + ".png"  # 254 bytes
    write(tmp_path / name, b"new")
    assert os.listdir(tmp_path) == [name]


def test_a_folder_is_refused(write: Write, tmp_path: Path) -> None:
    with pytest.raises(IsADirectoryError) as refused:
        write(tmp_path, b"new")
    assert refused.value.filename == str(tmp_path)


def test_links_in_a_circle_are_refused(write: Write, tmp_path: Path) -> None:
    (tmp_path / "x.png").symlink_to("x.png")
    with pytest.raises(OSError, match="symbolic links") as refused:
        write(tmp_path / "x.png", b"new")
    assert (refused.value.errno, refused.value.filename) == (errno.ELOOP, str(tmp_path / "x.png"))
    assert (tmp_path / "x.png").is_symlink()


def test_a_writable_file_in_a_folder_that_is_not_is_overwritten(write: Write, tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / "x.png").write_bytes(b"a longer old file")
    folder.chmod(0o500)
    try:
        write(folder / "x.png", b"new")
    finally:
        folder.chmod(0o700)
    assert (folder / "x.png").read_bytes() == b"new"
    assert os.listdir(folder) == ["x.png"]
