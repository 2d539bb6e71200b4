"""A download from an untrusted server writes nothing outside the folder and leaves no partial file."""

import asyncio
import json
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from acgan_client import AsyncClient, Client, ClientError, NotUnderstood
from tests.app.cli.test_cli import acgan
from tests.support.hostile_server import (
    IMAGES,
    JOB_ID,
    LABELS,
    Answer,
    as_json,
    dataset,
    endless,
    hostile,
    http,
    manifest,
    record,
)

MANIFEST = f"/datasets/{JOB_ID}/manifest.json"
DATA = b"images"


def download(url: str, folder: Path) -> list[Path]:
    with Client(url) as client:
        return list(client.download(JOB_ID, folder))


def download_async(url: str, folder: Path) -> list[Path]:
    async def ask() -> list[Path]:
        async with AsyncClient(url) as client:
            return [path async for path in client.download(JOB_ID, folder)]

    return asyncio.run(ask())


def download_by_command(url: str, folder: Path) -> list[Path]:
    result = acgan("download", JOB_ID, "--url", url, "--out", str(folder))
    assert "Traceback" not in result.stderr
    if result.returncode:
        assert result.returncode == 2, result
        raise NotUnderstood(result.stderr)
    return [folder / path.name for path in folder.iterdir()]


Download = Callable[[str, Path], list[Path]]
WAYS = pytest.mark.parametrize("way", [download, download_async, download_by_command])


def everything(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


def files() -> dict[str, Answer | Callable[[], Answer]]:
    return {f"/datasets/{JOB_ID}": as_json(dataset())}


@WAYS
def test_the_files_of_a_data_set_are_downloaded(way: Download, tmp_path: Path) -> None:
    sent = files() | {MANIFEST: as_json(manifest({IMAGES: record(DATA)})), f"/datasets/{JOB_ID}/{IMAGES}": http(DATA)}
    with hostile(sent) as server:
        assert way(server.url, tmp_path / "mine") == [tmp_path / "mine" / IMAGES]
    assert (tmp_path / "mine" / IMAGES).read_bytes() == DATA
    assert not stat.S_IMODE((tmp_path / "mine" / IMAGES).stat().st_mode) & 0o111


NAMES = [
    "../../evil",
    f"../{IMAGES}",
    "/home/evil",
    f"sub/{IMAGES}",
    f"..\\{IMAGES}",
    f"C:{IMAGES}",
    ".",
    "..",
    "",
    "manifest.json",
    ".bashrc",
    f"{IMAGES}\0",
    f"{IMAGES}\n",
    f"./{IMAGES}",
    IMAGES.upper(),
    "train-images-idx9-ubyte.gz",
    "test-images-idx3-ubyte.gz",
    "\x1b[31m",
]


@pytest.mark.parametrize("name", NAMES)
def test_a_file_name_that_no_data_set_has_is_refused(name: str, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    for names in ([name], [IMAGES, name]):
        sent = {MANIFEST: as_json(manifest({each: record(DATA) for each in names}))}
        with hostile(sent) as server:
            for way in (download, download_async):
                with pytest.raises(NotUnderstood, match="names files that no data set has") as refused:
                    way(server.url, tmp_path / "mine")
                assert str(refused.value).isprintable()
            assert len(server.requests) == 2
    assert everything(tmp_path) == {"mine"}


@WAYS
@pytest.mark.parametrize(
    "changes",
    [
        {"size": -1},
        {"size": 10**12},
        {"size": 2**70},
        {"sha256": "../../x"},
        {"sha256": ""},
        {"size": "many"},
    ],
    ids=str,
)
def test_an_impossible_file_record_is_refused(way: Download, changes: dict[str, Any], tmp_path: Path) -> None:
    sent = files() | {MANIFEST: as_json(manifest({IMAGES: record(DATA, **changes)}))}
    with hostile(sent) as server, pytest.raises(NotUnderstood):
        way(server.url, tmp_path / "mine")
    assert everything(tmp_path) in (set(), {"mine"})


def test_a_file_that_is_named_twice_or_none_is_refused(tmp_path: Path) -> None:
    text = json.dumps(manifest({IMAGES: record(DATA)}))
    entry = json.dumps(record(DATA))
    for body in (text.replace(f'"{IMAGES}":', f'"{IMAGES}": {entry}, "{IMAGES}":'), json.dumps(manifest({}))):
        with hostile({MANIFEST: http(body.encode())}) as server, pytest.raises(NotUnderstood):
            download(server.url, tmp_path)
    many = {f"{number}-{IMAGES}": record(DATA) for number in range(20_000)}
    with hostile({MANIFEST: as_json(manifest(many))}) as server, pytest.raises(NotUnderstood, match="larger than"):
        download(server.url, tmp_path)
    assert everything(tmp_path) == set()


@WAYS
@pytest.mark.parametrize("sent", ["longer", "shorter", "endless", "other", "compressed", "lost"])
def test_a_file_that_differs_from_its_record_leaves_no_part(way: Download, sent: str, tmp_path: Path) -> None:
    def lost() -> bytes:
        return http(DATA, Content_Length="99")

    answers: dict[str, Answer | Callable[[], Answer]] = {
        "longer": http(DATA + b"."),
        "shorter": http(DATA[:-1]),
        "endless": endless,
        "other": http(DATA[::-1]),
        "compressed": http(DATA, Content_Encoding="gzip"),
        "lost": lost,
    }
    paths = files() | {
        MANIFEST: as_json(manifest({IMAGES: record(DATA)})),
        f"/datasets/{JOB_ID}/{IMAGES}": answers[sent],
    }
    expected = (ClientError,) if sent == "lost" else (NotUnderstood,)
    with hostile(paths) as server:
        if way is download_by_command and sent == "lost":
            assert acgan("download", JOB_ID, "--url", server.url, "--out", str(tmp_path / "mine")).returncode == 4
        else:
            with pytest.raises(expected):
                way(server.url, tmp_path / "mine")
        assert server.sent < 30_000_000
    assert everything(tmp_path) == {"mine"}


@WAYS
def test_a_link_in_the_folder_is_replaced_and_never_written_through(way: Download, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    for name in (IMAGES, f".{IMAGES}.part"):
        (tmp_path / f"other-{name}").write_bytes(b"mine")
        (tmp_path / "mine" / name).symlink_to(tmp_path / f"other-{name}")
    (tmp_path / "mine" / LABELS).symlink_to(tmp_path / "not-there")
    kept = {IMAGES: record(DATA), LABELS: record(b"labels")}
    paths = files() | {
        MANIFEST: as_json(manifest(kept)),
        f"/datasets/{JOB_ID}/{IMAGES}": http(DATA),
        f"/datasets/{JOB_ID}/{LABELS}": http(b"labels"),
    }
    with hostile(paths) as server:
        way(server.url, tmp_path / "mine")
    assert [(tmp_path / f"other-{name}").read_bytes() for name in (IMAGES, f".{IMAGES}.part")] == [b"mine"] * 2
    assert not (tmp_path / "not-there").exists()
    assert (tmp_path / "mine" / IMAGES).read_bytes() == DATA
    assert not (tmp_path / "mine" / IMAGES).is_symlink()
