"""Processes that need the same files at once: one downloads them, and the others wait and read the cache."""

import logging
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from models.data import idx_source
from models.data.catalog import DATASETS
from models.data.idx_archive import SUMS
from models.data.idx_source import DatasetUnavailable, load_idx
from models.file_locks import try_lock
from tests.models.data.test_idx_source import Mirror, put
from tests.models.data.test_published_sets import (
    EMNIST,
    Emnist,
    Published,
    all_classes,
    check,
    check_emnist,
    emnist,
    fashion,
    load,
)

__all__ = ["all_classes", "emnist", "fashion"]
WAITS = "waiting for it"


def in_halves(data: bytes, requests: list[str], wanted: int, caplog: pytest.LogCaptureFixture) -> Iterator[bytes]:
    """Yield the second half when another process waits, or if it asks too: after `wanted` requests."""
    yield data[: len(data) // 2]
    end = time.monotonic() + 30
    while WAITS not in caplog.text and len(requests) < wanted and time.monotonic() < end:
        time.sleep(0.01)
    yield data[len(data) // 2 :]


def test_a_second_process_waits_for_the_archive_that_the_first_downloads(
    emnist: Emnist, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """They are threads here: a lock of an open file excludes both alike."""
    requests, two = list[str](), EMNIST[:2]

    def answer(path: str) -> Iterator[bytes]:
        requests.append(path)
        return in_halves(emnist.archive, requests, 2, caplog)

    with Mirror(answer) as mirror, caplog.at_level(logging.INFO), ThreadPoolExecutor() as threads:
        source = DATASETS[EMNIST[0]].archive
        assert source is not None
        for name in EMNIST:
            moved = DATASETS[name]._replace(archive=source._replace(address=f"{mirror}gzip.zip"))
            monkeypatch.setitem(DATASETS, name, moved)
        loads = {name: threads.submit(load, name, None, tmp_path, []) for name in two}
        for name, loaded in loads.items():
            check_emnist(name, emnist, loaded.result())
    assert requests == ["/gzip.zip"]
    assert caplog.text.count(WAITS) == 1
    assert {path.name for path in tmp_path.iterdir()} == {f"{known}.gz" for known in emnist.plain} | {SUMS}


def test_a_second_process_waits_for_the_files_that_the_first_downloads(
    fashion: Published, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    requests = list[str]()

    def answer(path: str) -> Iterator[bytes]:
        requests.append(path)
        return in_halves(fashion.answers[path], requests, len(fashion.answers) + 1, caplog)

    with Mirror(answer) as mirror, caplog.at_level(logging.INFO), ThreadPoolExecutor() as threads:
        loads = [threads.submit(load, "fashion_mnist", None, tmp_path, [mirror]) for _ in range(2)]
        for loaded in loads:
            check(loaded.result(), fashion.plain)
    assert sorted(requests) == sorted(fashion.answers)
    assert f"another process downloads Fashion-MNIST to {tmp_path}: {WAITS}" in caplog.text


def test_a_download_deletes_what_a_killed_process_left(emnist: Emnist, tmp_path: Path) -> None:
    put(tmp_path / ".downloading", b"")
    put(tmp_path / ".download-killed" / "download", bytes(100))
    check_emnist("emnist_digits", emnist, load("emnist_digits", None, tmp_path, []))
    assert {path.name for path in tmp_path.iterdir()} == {f"{known}.gz" for known in emnist.plain} | {SUMS}


def test_a_process_that_holds_the_lock_for_too_long_is_reported(
    emnist: Emnist, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(idx_source, "ARCHIVE_SECONDS", 0.2)
    with (tmp_path / ".downloading").open("wb") as held:
        assert try_lock(held.fileno())
        with pytest.raises(DatasetUnavailable, match=r"another process has held .*\.downloading for 0\.2 s"):
            load("emnist_digits", None, tmp_path, [])
    assert emnist.requests == []


class Stopped(Exception):
    """The caller of a download wants it to end."""


def stop_when(is_time: Callable[[], bool]) -> Callable[[], None]:
    def check() -> None:
        if is_time():
            raise Stopped

    return check


@pytest.mark.parametrize("name", ["fashion_mnist", "emnist_digits"])
def test_a_check_ends_a_download_and_leaves_no_file(
    fashion: Published, emnist: Emnist, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """The server sends a half, and the rest only after the end."""
    has_begun, is_over = threading.Event(), threading.Event()

    def answer(path: str) -> Iterator[bytes]:
        data = fashion.answers.get(path, emnist.archive)
        yield data[: len(data) // 2]
        has_begun.set()
        assert is_over.wait(60)
        yield data[len(data) // 2 :]

    with Mirror(answer) as mirror:
        row = DATASETS[name]
        source = row.archive and row.archive._replace(address=f"{mirror}gzip.zip")
        monkeypatch.setitem(DATASETS, name, row._replace(archive=source))
        with pytest.raises(Stopped):
            load_idx(DATASETS[name], None, tmp_path, [mirror], check=stop_when(has_begun.is_set))
        is_over.set()
    assert list(tmp_path.iterdir()) == []


def test_a_check_ends_the_wait_for_another_process(
    emnist: Emnist, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    check = stop_when(lambda: WAITS in caplog.text)
    with (tmp_path / ".downloading").open("wb") as held, caplog.at_level(logging.INFO):
        assert try_lock(held.fileno())
        with pytest.raises(Stopped):
            load_idx(DATASETS["emnist_digits"], None, tmp_path, [], check=check)
    assert emnist.requests == []
