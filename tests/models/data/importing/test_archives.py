"""Archives that are damaged, made to harm, or of a kind that is not read: each gives one sentence."""

import bz2
import gzip
import io
import lzma
import struct
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from models.data.importing.items import InvalidImages, Limits
from models.data.importing.opening import open_source
from tests.models.data.importing.pictures import LETTERS, PNG, add_to_tar, items_of, write_tar, write_tree, write_zip


def refused(path: Path, limits: Limits = Limits()) -> str:  # noqa: B008
    with pytest.raises(InvalidImages) as raised:
        items_of(path, limits)
    message = str(raised.value)
    assert message.isprintable()
    assert message
    return message


NAMES = {
    "../x.png": "leaves the archive",
    "a/../../x.png": "leaves the archive",
    "a\\..\\..\\x.png": "leaves the archive",
    "/etc/x.png": "absolute name",
    "C:\\x.png": "absolute name",
    "\\\\host\\x.png": "absolute name",
}


@pytest.mark.parametrize("name", NAMES)
def test_names_that_leave_the_archive(tmp_path: Path, name: str) -> None:
    for path in (
        write_zip(tmp_path / "x.zip", {**LETTERS, name: PNG}),
        write_tar(tmp_path / "x.tar", {**LETTERS, name: PNG}),
    ):
        assert NAMES[name] in refused(path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["x.tar", "x.zip"]


def test_backslashes_separate_folders(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "x.zip", {name.replace("/", "\\"): data for name, data in LETTERS.items()})
    assert [item.label for item in items_of(path)] == ["a", "a", "b"]


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE])
def test_links_and_devices_in_a_tar(tmp_path: Path, kind: bytes) -> None:
    with tarfile.open(tmp_path / "x.tar", "w") as archive:
        add_to_tar(archive, tarfile.TarInfo("a/1.png"), PNG)
        info = tarfile.TarInfo("a/2.png")
        info.type, info.linkname = kind, "/etc/passwd"
        add_to_tar(archive, info)
    assert refused(tmp_path / "x.tar") == "x.tar has an entry that is a link or a device, not a file: a/2.png"


@pytest.mark.parametrize("mode", [0o120777, 0o010644, 0o020644])
def test_links_and_devices_in_a_zip(tmp_path: Path, mode: int) -> None:
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        archive.writestr("a/1.png", PNG)
        info = zipfile.ZipInfo("a/2.png")
        info.external_attr = mode << 16
        archive.writestr(info, "/etc/passwd")
    assert "is a link or a device" in refused(tmp_path / "x.zip")


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_the_same_name_twice(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        for name in ("a/1.png", "a/./1.png"):
            archive.writestr(name, PNG)
    with tarfile.open(tmp_path / "x.tar", "w") as tar:
        for name in ("a/1.png", "a/1.png"):
            add_to_tar(tar, tarfile.TarInfo(name), PNG)
    assert "has an entry twice: a/./1.png" in refused(tmp_path / "x.zip")
    assert "has an entry twice: a/1.png" in refused(tmp_path / "x.tar")


def test_an_encrypted_zip(tmp_path: Path) -> None:
    data = bytearray(write_zip(tmp_path / "x.zip", LETTERS).read_bytes())
    for magic, place in ((b"PK\3\4", 6), (b"PK\1\2", 8)):
        at = -1
        while (at := data.find(magic, at + 1)) >= 0:
            data[at + place] |= 1
    (tmp_path / "x.zip").write_bytes(data)
    assert refused(tmp_path / "x.zip") == "x.zip has an entry that is encrypted: a/1.png"


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_methods_whose_memory_cannot_be_bounded(tmp_path: Path, method: int) -> None:
    with zipfile.ZipFile(tmp_path / "x.zip", "w", method) as archive:
        archive.writestr("a/1.png", PNG)
    assert "only deflate is" in refused(tmp_path / "x.zip")


def test_an_archive_in_an_archive(tmp_path: Path) -> None:
    inner = write_zip(tmp_path / "inner.zip", LETTERS).read_bytes()
    alone = write_zip(tmp_path / "x.zip", {"inner.zip": inner})
    assert refused(alone) == "x.zip has no images, but an archive, which is not unpacked: inner.zip"
    with open_source(write_zip(tmp_path / "y.zip", {**LETTERS, "a/inner.zip": inner})) as source:
        assert source.count == 3
        assert source.notes == ("1 files that are not pictures were skipped: a/inner.zip",)


def test_a_zip_bomb_by_ratio(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "x.zip", {"a/1.png": bytes(40_000_000), "b/1.png": PNG})
    assert path.stat().st_size < 50_000
    assert "a picture has at most 16,777,216" in refused(path)
    assert "more than 1,000 bytes, unpacked" in refused(path, Limits(unpacked=1000))


def test_a_zip_entry_that_is_larger_than_it_says(tmp_path: Path) -> None:
    data = bytearray(write_zip(tmp_path / "x.zip", {"a/1.png": bytes(40_000_000)}).read_bytes())
    for magic, place in ((b"PK\3\4", 22), (b"PK\1\2", 24)):
        at = data.find(magic)
        data[at + place : at + place + 4] = struct.pack("<I", 1000)
    (tmp_path / "x.zip").write_bytes(data)
    assert "damaged" in refused(tmp_path / "x.zip")


@pytest.mark.parametrize("pack", [gzip.compress, bz2.compress, lzma.compress], ids=["gz", "bz2", "xz"])
def test_a_tar_bomb_by_ratio(tmp_path: Path, pack: Callable[[bytes], bytes]) -> None:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        add_to_tar(archive, tarfile.TarInfo("a/1.png"), bytes(20_000_000))
    (tmp_path / "x.tar").write_bytes(pack(buffer.getvalue()))
    assert "unpacks to more than" in refused(tmp_path / "x.tar", Limits(unpacked=1_000_000, entries=100))
    assert "a picture has at most" in refused(tmp_path / "x.tar")


def test_an_xz_file_that_needs_much_memory(tmp_path: Path) -> None:
    data = write_tar(tmp_path / "x.tar", LETTERS).read_bytes()
    filters = [{"id": lzma.FILTER_LZMA2, "dict_size": 256 << 20, "mode": lzma.MODE_FAST, "mf": lzma.MF_HC4, "depth": 1}]
    (tmp_path / "x.tar.xz").write_bytes(lzma.compress(data, filters=filters))
    assert "emory" in refused(tmp_path / "x.tar.xz")


@pytest.mark.parametrize("pack", [gzip.compress, bz2.compress, lzma.compress], ids=["gz", "bz2", "xz"])
def test_compressed_data_in_several_streams(tmp_path: Path, pack: Callable[[bytes], bytes]) -> None:
    data = write_tar(tmp_path / "x.tar", LETTERS).read_bytes()
    (tmp_path / "y.tar").write_bytes(pack(data[:2000]) + pack(data[2000:]) + bytes(100))
    assert len(items_of(tmp_path / "y.tar")) == 3


SUFFIXES = {"x.zip": "w", "x.tar": "w", "x.tar.gz": "w:gz", "x.tar.bz2": "w:bz2", "x.tar.xz": "w:xz"}


@pytest.mark.parametrize("name", SUFFIXES)
def test_an_archive_that_is_cut_off_anywhere(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    write_zip(path, LETTERS) if name.endswith("zip") else write_tar(path, LETTERS, SUFFIXES[name])
    data = path.read_bytes()
    end = data.rstrip(b"\0") if name == "x.tar" else data
    for length in {1, 10, 100, *range(512, len(end), max(len(end) // 23, 1)), len(end) - 1}:
        path.write_bytes(data[:length])
        refused(path)


@pytest.mark.parametrize("name", SUFFIXES)
def test_an_archive_with_other_bytes_gives_a_sentence_or_items(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    write_zip(path, LETTERS) if name.endswith("zip") else write_tar(path, LETTERS, SUFFIXES[name])
    data = path.read_bytes()
    messages = set[str]()
    for at in range(0, min(len(data), 4000), 7):
        path.write_bytes(data[:at] + bytes([data[at] ^ 0xFF]) + data[at + 1 :])
        try:
            items_of(path)
        except InvalidImages as error:
            messages.add(str(error))
    assert all(message.isprintable() for message in messages)
    assert len(messages) > 1


def test_more_entries_than_allowed_are_found_before_they_are_parsed(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "x.zip", "w") as archive:
        for number in range(2000):
            archive.writestr(f"a/{number}.png", b"")
    assert "more than 1,000 files" in refused(tmp_path / "x.zip", Limits(entries=1000))
    data = bytearray((tmp_path / "x.zip").read_bytes())
    data[-14:-10] = struct.pack("<HH", 1, 1)  # the end of the archive says that it has one entry
    (tmp_path / "x.zip").write_bytes(data)
    assert "more than 1,000 files" in refused(tmp_path / "x.zip", Limits(entries=1000))


def test_a_tar_with_more_entries_than_allowed(tmp_path: Path) -> None:
    path = write_tar(tmp_path / "x.tar", {f"a/{number}.png": b"" for number in range(200)})
    assert "more than 100 files" in refused(path, Limits(entries=100))


def test_a_tar_with_a_large_header(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "x.tar", "w", format=tarfile.PAX_FORMAT) as archive:
        info = tarfile.TarInfo("a/1.png")
        info.pax_headers = {"comment": "x" * 100_000}
        add_to_tar(archive, info, PNG)
    assert "header of more than 65,536 bytes" in refused(tmp_path / "x.tar")


def test_a_long_name_in_a_tar(tmp_path: Path) -> None:
    for number, kind in enumerate((tarfile.GNU_FORMAT, tarfile.PAX_FORMAT)):
        with tarfile.open(tmp_path / f"{number}.tar", "w", format=kind) as archive:
            add_to_tar(archive, tarfile.TarInfo(f"a/{'ü' * 120}.png"), PNG)
        assert items_of(tmp_path / f"{number}.tar")[0].name == f"a/{'ü' * 120}.png"


def test_names_in_utf_8_without_the_flag(tmp_path: Path) -> None:
    data = write_zip(tmp_path / "x.zip", {"ab/1.png": PNG}).read_bytes()
    (tmp_path / "x.zip").write_bytes(data.replace(b"ab/1.png", "ü/1.png".encode()))
    assert items_of(tmp_path / "x.zip")[0].label == "ü"


def test_archives_with_nothing_to_read(tmp_path: Path) -> None:
    assert refused(write_zip(tmp_path / "x.zip", {})) == "x.zip is an empty zip archive"
    assert "no images" in refused(write_tar(tmp_path / "x.tar.gz", {}, "w:gz"))


OTHERS = {
    b"7z\xbc\xaf\x27\x1c": "pack it as .zip or .tar.gz",
    b"Rar!\x1a\x07": "pack it as .zip or .tar.gz",
    b"\x89HDF\r\n\x1a\n": "save its arrays as .npz",
    b"MATLAB 5.0 MAT-file": "save its arrays as .npz",
    b"\x93NUMPY\x01\0": "save images and labels together",
    b"\x80\x04\x95": "a pickle",
    b"<!DOCTYPE html>": "a web page",
    b"": "an empty file",
    bytes(2000): "a file of zeros",
    PNG: "no labelled images",
    gzip.compress(b"hello"): "no labelled images",
}


@pytest.mark.parametrize("head", OTHERS, ids=OTHERS.values())
def test_files_of_other_kinds(tmp_path: Path, head: bytes) -> None:
    (tmp_path / "upload").write_bytes(head)
    assert OTHERS[head] in refused(tmp_path / "upload")


def test_temporary_files_are_removed(tmp_path: Path) -> None:
    (tmp_path / "scratch").mkdir()
    path = write_tar(tmp_path / "x.tar.gz", LETTERS, "w:gz")
    with open_source(path, scratch=tmp_path / "scratch") as source:
        assert len(list(source.items())) == 3
        assert list((tmp_path / "scratch").iterdir()) == []  # it has no name
    write_tree(tmp_path, {"scratch/file": b""})
    with pytest.raises(OSError, match="cannot be unpacked to a temporary file"):
        open_source(path, scratch=tmp_path / "missing")
