"""Archives of an untrusted server: only the files of a layout are written, with a limited size, or none."""

import asyncio
import io
import struct
import warnings
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import get_args

import pytest

from acgan_client import AsyncClient, Client, Misconfigured, NotUnderstood
from acgan_client.archives import CONTENTS, Layout, check_directory
from tests.client.test_hostile_server import DATA, MANIFEST, everything
from tests.support.hostile_server import IMAGES, JOB_ID, Answer, as_json, endless, hostile, http, manifest, record

ARCHIVE = f"/datasets/{JOB_ID}/archive"
LAYOUTS = [layout for layout in get_args(Layout) if layout != "mnist"]


def archive(names: tuple[str, ...], content: bytes = b"x", method: int = zipfile.ZIP_DEFLATED) -> bytes:
    file = io.BytesIO()
    with warnings.catch_warnings(), zipfile.ZipFile(file, "w", method) as written:
        warnings.simplefilter("ignore")  # a name that appears twice
        for name in names:
            written.writestr(name, content)
    return file.getvalue()


def a_link(names: tuple[str, ...]) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as written:
        for name in names:
            entry = zipfile.ZipInfo(name)
            entry.external_attr = 0o120777 << 16
            written.writestr(entry, "/etc/passwd")
    return file.getvalue()


def sized(data: bytes, entries: int, length: int) -> bytes:
    return data[:-22] + struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, entries, entries, length, 0, 0)


def large(data: bytes, length: int) -> bytes:
    """With the records of an archive of more than 4 GB, which has a directory of `length` bytes."""
    end = struct.pack("<4sQ2H2L4Q", b"PK\6\6", 44, 45, 45, 0, 0, 4, 4, length, 0)
    return data[:-22] + end + struct.pack("<4sLQL", b"PK\6\7", 0, len(data) - 22, 1) + data[-22:]


def two_records(data: bytes, length: int) -> bytes:
    """With a second such record. Newer versions of zipfile read the one that the locator names, not the last one."""
    before, end = large(data, length)[: -20 - 22], struct.pack("<4sQ2H2L4Q", b"PK\6\6", 44, 45, 45, 0, 0, 4, 4, 100, 0)
    return before + end + struct.pack("<4sLQL", b"PK\6\7", 0, len(data) - 22, 1) + data[-22:]


HOSTILE: dict[str, Callable[[tuple[str, ...]], bytes]] = {
    "no archive": lambda names: b"no archive",
    "an empty response": lambda names: b"",
    "no files": lambda names: archive(()),
    "a path out of the folder": lambda names: archive((*names[1:], "../outside")),
    "an absolute path": lambda names: archive((*names[1:], "/outside")),
    "another file": lambda names: archive((*names, "Makefile")),
    "a file too few": lambda names: archive(names[1:]),
    "a file twice": lambda names: archive((*names[1:], names[1])),
    "a file that unpacks to much": lambda names: archive(names, bytes(3_000_000)),
    "another compression": lambda names: archive(names, method=zipfile.ZIP_LZMA),
    "a wrong checksum": lambda names: archive(names).replace(
        struct.pack("<L", zlib.crc32(b"x")), struct.pack("<L", zlib.crc32(b"y"))
    ),
    "an archive that ends early": lambda names: archive(names)[:-30],
    "a comment": lambda names: archive(names)[:-2] + b"\1\0!",
    "many entries": lambda names: sized(archive(names), 60_000, 100),
    "a long directory": lambda names: sized(archive(names), 4, 2**31),
    "a long directory of a large archive": lambda names: large(archive(names), 2**60),
    "a small directory beside a long one": lambda names: two_records(archive(names), 2**60),
}


def download(url: str, folder: Path, layout: Layout) -> list[Path]:
    with Client(url) as client:
        return list(client.download(JOB_ID, folder, layout))


def sent(answer: Answer | Callable[[], Answer]) -> dict[str, Answer | Callable[[], Answer]]:
    return {MANIFEST: as_json(manifest({IMAGES: record(DATA)})), ARCHIVE: answer}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_an_archive_with_the_files_of_its_layout_is_written(layout: Layout, tmp_path: Path) -> None:
    contents = CONTENTS[layout]
    with hostile(sent(http(archive(contents.names)))) as server:
        paths = download(server.url, tmp_path, layout)
    assert {str(path.relative_to(tmp_path)) for path in paths} == set(
        (contents.kept_as,) if contents.kept_as else contents.names
    )
    assert all(path.is_file() for path in paths)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("kind", HOSTILE)
def test_another_archive_leaves_no_file(kind: str, layout: Layout, tmp_path: Path) -> None:
    data = HOSTILE[kind](CONTENTS[layout].names)
    with hostile(sent(http(data))) as server, pytest.raises(NotUnderstood):
        download(server.url, tmp_path / "mine", layout)
    assert {name for name in everything(tmp_path) if (tmp_path / name).is_file()} == set()


@pytest.mark.parametrize("end", [large, two_records])
def test_a_long_directory_is_refused_before_it_is_read(end: Callable[[bytes, int], bytes]) -> None:
    with pytest.raises(NotUnderstood):
        check_directory(io.BytesIO(end(archive(CONTENTS["keras"].names), 2**60)))


def test_a_link_in_an_archive_becomes_a_file_with_its_text(tmp_path: Path) -> None:
    with hostile(sent(http(a_link(CONTENTS["torchvision"].names)))) as server:
        for path in download(server.url, tmp_path, "torchvision"):
            assert not path.is_symlink()
            assert path.read_text() == "/etc/passwd"


def test_an_endless_archive_is_cut_off(tmp_path: Path) -> None:
    async def ask(url: str) -> list[Path]:
        async with AsyncClient(url) as client:
            return [path async for path in client.download(JOB_ID, tmp_path, "keras")]

    with hostile(sent(endless)) as server, pytest.raises(NotUnderstood, match="larger than"):
        asyncio.run(ask(server.url))
    assert everything(tmp_path) == set()


def test_a_description_of_another_origin_is_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text("my project")
    with hostile(sent(http(archive(CONTENTS["huggingface"].names)))) as server:
        with pytest.raises(Misconfigured, match="choose an empty folder"):
            download(server.url, tmp_path, "huggingface")
        assert {name for name in everything(tmp_path) if (tmp_path / name).is_file()} == {"README.md"}
        (tmp_path / "README.md").unlink()
        assert download(server.url, tmp_path, "huggingface") == download(server.url, tmp_path, "huggingface")
