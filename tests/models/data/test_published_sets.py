"""Data sets of which only the published form has a known checksum: gzip files (Fashion-MNIST), one archive (EMNIST).

Their real files were never here, so small files of the same formats take their place: their digests, sizes and
addresses are put into rows of the catalog, and a local HTTP server publishes them.
"""

import gzip
import hashlib
import io
import logging
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

from models.config import TrainingConfig
from models.data import downloads
from models.data.catalog import DATASETS, Archive, IdxFile, TrainingData
from models.data.dataset import load_dataset
from models.data.idx import idx_header
from models.data.idx_archive import SUMS
from models.data.idx_source import DatasetUnavailable, load_idx
from tests.conftest import NOWHERE
from tests.models.data.test_idx_source import Mirror, put

TRAIN, TEST = 60, 20
CLOTHES = DATASETS["fashion_mnist"].classes
NAMES = list(DATASETS["mnist"].files)


class Published(NamedTuple):
    """The plain files by name, and the bytes by address that a server answers with."""

    plain: dict[str, bytes]
    answers: dict[str, bytes]


def idx(array: np.ndarray) -> bytes:
    return idx_header(array.shape) + array.tobytes()


def files_of(names: list[str], seed: int, classes: int, first_label: int = 0) -> dict[str, bytes]:
    """Make four IDX files of random images, with every label."""
    random = np.random.default_rng(seed)
    data = {}
    for position, n in enumerate((TRAIN, TEST)):
        images = random.integers(256, size=(n, 28, 28), dtype=np.uint8)
        labels = ((np.arange(n) + seed) % classes + first_label).astype(np.uint8)
        data[names[2 * position]], data[names[2 * position + 1]] = idx(images), idx(labels)
    return data


def shape_of(plain: bytes) -> tuple[int, ...]:
    return tuple(int.from_bytes(plain[at : at + 4], "big") for at in range(4, 4 + 4 * plain[3], 4))


def gzip_row(name: str, plain: dict[str, bytes]) -> tuple[TrainingData, dict[str, bytes]]:
    packed = {known: gzip.compress(data, mtime=0) for known, data in plain.items()}
    files = {
        known: IdxFile(None, shape_of(data), hashlib.sha256(packed[known]).hexdigest()) for known, data in plain.items()
    }
    return DATASETS[name]._replace(files=files), {f"/{known}.gz": data for known, data in packed.items()}


@pytest.fixture
def fashion(monkeypatch: pytest.MonkeyPatch) -> Published:
    """Fashion-MNIST and Kuzushiji-MNIST in the catalog, small; the files are those of Fashion-MNIST."""
    plain = files_of(NAMES, 1, 10)
    row, answers = gzip_row("fashion_mnist", plain)
    monkeypatch.setitem(DATASETS, "fashion_mnist", row)
    monkeypatch.setitem(DATASETS, "kmnist", gzip_row("kmnist", files_of(NAMES, 2, 10))[0])
    small = {name: IdxFile(hashlib.sha256(data).hexdigest(), shape_of(data)) for name, data in mnist_like().items()}
    monkeypatch.setitem(DATASETS, "mnist", DATASETS["mnist"]._replace(files=small))
    return Published(plain, answers)


def mnist_like() -> dict[str, bytes]:
    return files_of(NAMES, 3, 10)


def expected(plain: dict[str, bytes]) -> list[np.ndarray]:
    return [np.frombuffer(data, np.uint8, offset=4 + 4 * data[3]).reshape(shape_of(data)) for data in plain.values()]


def load(name: str, folder: Path | None, cache: Path, mirrors: list[str]) -> list[np.ndarray]:
    return list(load_idx(DATASETS[name], folder, cache, mirrors))


def check(loaded: list[np.ndarray], plain: dict[str, bytes]) -> None:
    for found, array in zip(loaded, expected(plain), strict=True):
        assert np.array_equal(found, array)


def test_gzip_files_are_downloaded_verified_and_kept_as_published(fashion: Published, tmp_path: Path) -> None:
    with Mirror(fashion.answers.__getitem__) as mirror:
        check(load("fashion_mnist", None, tmp_path, [mirror]), fashion.plain)
    assert {f"/{path.name}": path.read_bytes() for path in tmp_path.iterdir()} == fashion.answers
    check(load("fashion_mnist", None, tmp_path, [NOWHERE]), fashion.plain)


def test_a_damaged_file_in_the_cache_is_downloaded_again(fashion: Published, tmp_path: Path) -> None:
    put(tmp_path / "train-images-idx3-ubyte.gz", gzip.compress(fashion.plain[NAMES[0]][:-1] + b"\0", mtime=0))
    with Mirror(fashion.answers.__getitem__) as mirror:
        check(load("fashion_mnist", None, tmp_path, [mirror]), fashion.plain)


@pytest.mark.parametrize("answer", [b"", b"<html>login", gzip.compress(idx(np.zeros((TRAIN, 28, 28), np.uint8)))])
def test_a_server_with_other_bytes_is_refused(answer: bytes, fashion: Published, tmp_path: Path) -> None:
    with Mirror(lambda path: answer) as mirror, pytest.raises(DatasetUnavailable, match="Put the four files as publ"):
        load("fashion_mnist", None, tmp_path, [mirror])
    assert list(tmp_path.iterdir()) == []


def test_packed_files_of_the_user_are_found_under_any_name(fashion: Published, tmp_path: Path) -> None:
    for number, data in enumerate(fashion.answers.values()):
        put(tmp_path / "raw" / f"file-{number}", data)
    check(load("fashion_mnist", tmp_path, tmp_path / "cache", [NOWHERE]), fashion.plain)


def test_unpacked_files_without_a_known_checksum_are_refused_with_the_reason(
    fashion: Published, tmp_path: Path
) -> None:
    for name, data in fashion.plain.items():
        put(tmp_path / name, data)
    reason = r"not the bytes of train-images-idx3-ubyte\.gz as published, the only form with a known checksum"
    with pytest.raises(DatasetUnavailable, match=reason):
        load("fashion_mnist", tmp_path, tmp_path / "cache", [NOWHERE])


def test_files_of_another_set_are_named_and_never_used(fashion: Published, tmp_path: Path) -> None:
    for address, data in fashion.answers.items():
        put(tmp_path / "fashion" / address.strip("/"), data)
    with pytest.raises(DatasetUnavailable, match=r"ubyte\.gz \(Fashion-MNIST's: train with `dataset: fashion_mnist`"):
        load("mnist", tmp_path / "fashion", tmp_path / "cache", [NOWHERE])
    with pytest.raises(
        DatasetUnavailable, match=r"Kuzushiji-MNIST was not found: train-images-idx3-ubyte was looked for"
    ):
        load("kmnist", tmp_path / "fashion", tmp_path / "cache", [NOWHERE])


def test_a_folder_with_only_other_sets_is_not_the_folder_of_this_one(
    fashion: Published, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A service with MNIST in ACGAN_DATA_DIR can train on Fashion-MNIST. MNIST itself never comes from elsewhere."""
    for name, data in mnist_like().items():
        put(tmp_path / "mine" / name, data)
    with Mirror(fashion.answers.__getitem__) as mirror, caplog.at_level(logging.INFO):
        check(load("fashion_mnist", tmp_path / "mine", tmp_path / "cache", [mirror]), fashion.plain)
    assert "holds no file of Fashion-MNIST" in caplog.text
    check(load("mnist", tmp_path / "mine", tmp_path / "cache", [NOWHERE]), mnist_like())


def test_an_incomplete_folder_is_not_completed_from_elsewhere(fashion: Published, tmp_path: Path) -> None:
    put(tmp_path / "mine" / "labels.gz", fashion.answers["/train-labels-idx1-ubyte.gz"])
    with (
        Mirror(fashion.answers.__getitem__) as mirror,
        pytest.raises(DatasetUnavailable, match="Missing: train-images-idx3-ubyte, t10k-images"),
    ):
        load("fashion_mnist", tmp_path / "mine", tmp_path / "cache", [mirror])


# ----------------------------------------------------------------------------
# The archive of EMNIST.

EMNIST = ["emnist_letters", "emnist_digits", "emnist_balanced"]


def zipped(members: dict[str, bytes]) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, data in members.items():
            archive.writestr(f"gzip/{name}.gz", gzip.compress(data, mtime=0))
        archive.writestr("gzip/emnist-byclass-train-images-idx3-ubyte.gz", bytes(10_000))
    return file.getvalue()


class Emnist(NamedTuple):
    plain: dict[str, bytes]
    archive: bytes
    requests: list[str]


@pytest.fixture
def emnist(monkeypatch: pytest.MonkeyPatch) -> Iterator[Emnist]:
    """A small EMNIST in the catalog, with three sets, and a server that publishes its archive."""
    plain = dict[str, bytes]()
    for seed, name in enumerate(EMNIST):
        row = DATASETS[name]
        plain |= files_of(list(row.files), seed, len(row.classes), row.first_label)
    requests, archive = list[str](), zipped(plain)

    def answer(path: str) -> bytes:
        requests.append(path)
        return archive

    with Mirror(answer) as mirror:
        source = Archive("emnist", f"{mirror}gzip.zip", hashlib.sha256(archive).hexdigest(), len(archive))
        for name in EMNIST:
            files = {known: IdxFile(None, shape_of(plain[known])) for known in DATASETS[name].files}
            monkeypatch.setitem(DATASETS, name, DATASETS[name]._replace(files=files, archive=source))
        yield Emnist(plain, archive, requests)


def readable(name: str, emnist: Emnist) -> list[np.ndarray]:
    """Return the arrays as they must be loaded: images transposed, labels from 0."""
    images, labels, test_images, test_labels = expected({known: emnist.plain[known] for known in DATASETS[name].files})
    first = DATASETS[name].first_label
    return [images.transpose(0, 2, 1), labels - first, test_images.transpose(0, 2, 1), test_labels - first]


@pytest.fixture(autouse=True)
def all_classes(monkeypatch: pytest.MonkeyPatch) -> None:
    """The test split has every class of the 47 too."""
    monkeypatch.setattr("tests.models.data.test_published_sets.TEST", 50)


def check_emnist(name: str, emnist: Emnist, loaded: list[np.ndarray]) -> None:
    for found, array in zip(loaded, readable(name, emnist), strict=True):
        assert np.array_equal(found, array)
        assert found.flags.c_contiguous
    assert set(loaded[1].tolist()) == set(range(len(DATASETS[name].classes)))


def test_one_download_serves_all_sets_of_the_archive(emnist: Emnist, tmp_path: Path) -> None:
    for name in EMNIST:
        check_emnist(name, emnist, load(name, None, tmp_path, []))
    assert emnist.requests == ["/gzip.zip"]
    assert {path.name for path in tmp_path.iterdir()} == {f"{known}.gz" for known in emnist.plain} | {SUMS}
    sums = dict(line.split("  ")[::-1] for line in (tmp_path / SUMS).read_text().splitlines())
    for path in tmp_path.glob("*.gz"):
        assert sums[path.name] == hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.parametrize("damage", ["changed", "deleted", "no sums"])
def test_a_member_that_changed_in_the_cache_is_not_used(damage: str, emnist: Emnist, tmp_path: Path) -> None:
    load("emnist_letters", None, tmp_path, [])
    member = tmp_path / "emnist-letters-train-images-idx3-ubyte.gz"
    if damage == "changed":
        member.write_bytes(gzip.compress(bytes(100)))
    elif damage == "deleted":
        member.unlink()
    else:
        (tmp_path / SUMS).unlink()
    check_emnist("emnist_letters", emnist, load("emnist_letters", None, tmp_path, []))
    assert len(emnist.requests) == 2


@pytest.mark.parametrize("change", [lambda data: data[:-100], lambda data: data[:-1] + b"!", lambda data: data + b"!"])
def test_another_archive_is_refused_and_leaves_nothing(
    change: object, emnist: Emnist, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert callable(change)
    with Mirror(lambda path: change(emnist.archive)) as mirror:
        row = DATASETS["emnist_digits"]
        assert row.archive is not None
        moved = row._replace(archive=row.archive._replace(address=f"{mirror}gzip.zip"))
        monkeypatch.setitem(DATASETS, "emnist_digits", moved)
        with pytest.raises(
            DatasetUnavailable, match=r"EMNIST digits was not found: .* Put gzip\.zip, or its four files"
        ):
            load("emnist_digits", None, tmp_path, [])
    assert list(tmp_path.iterdir()) == []


def test_the_archive_of_the_user_is_read_in_place(emnist: Emnist, tmp_path: Path) -> None:
    put(tmp_path / "mine" / "downloaded.zip", emnist.archive)
    for name in EMNIST:
        check_emnist(name, emnist, load(name, tmp_path / "mine", tmp_path / "cache", []))
    assert emnist.requests == []
    assert not (tmp_path / "cache").exists()


@pytest.mark.parametrize("is_packed", [True, False])
def test_single_files_of_the_user_are_accepted_by_name_shape_and_labels(
    is_packed: bool, emnist: Emnist, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for known, data in emnist.plain.items():
        put(tmp_path / f"{known}{'.gz' * is_packed}", gzip.compress(data) if is_packed else data)
    with caplog.at_level(logging.WARNING):
        check_emnist("emnist_letters", emnist, load("emnist_letters", tmp_path, tmp_path / "cache", []))
    assert "no checksums of single files of EMNIST letters are published" in caplog.text


def test_other_data_under_the_names_of_emnist_are_refused(emnist: Emnist, tmp_path: Path) -> None:
    letters = list(DATASETS["emnist_letters"].files)
    for known, data in files_of(letters, 9, 26, first_label=0).items():
        put(tmp_path / "labels" / known, data)
    with pytest.raises(DatasetUnavailable, match="the labels of EMNIST letters are 0 to 25 instead of 1 to 26"):
        load("emnist_letters", tmp_path / "labels", tmp_path / "cache", [])
    for number, known in enumerate(letters):
        put(tmp_path / "names" / f"file-{number}", emnist.plain[known])
    with pytest.raises(DatasetUnavailable, match="without a known checksum the name is required"):
        load("emnist_letters", tmp_path / "names", tmp_path / "cache", [])
    assert emnist.requests == []


def test_a_long_download_logs_its_progress(
    emnist: Emnist, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The server sends the second half after the first message about progress."""

    def slowly(path: str) -> Iterator[bytes]:
        yield emnist.archive[:1000]
        end = time.monotonic() + 30
        while "MB so far, of at most" not in caplog.text and time.monotonic() < end:
            time.sleep(0.01)
        yield emnist.archive[1000:]

    row = DATASETS["emnist_digits"]
    assert row.archive is not None
    monkeypatch.setattr(downloads, "PROGRESS_SECONDS", 0.01)
    with Mirror(slowly) as mirror, caplog.at_level(logging.INFO):
        moved = row._replace(archive=row.archive._replace(address=f"{mirror}gzip.zip"))
        monkeypatch.setitem(DATASETS, "emnist_digits", moved)
        check_emnist("emnist_digits", emnist, load("emnist_digits", None, tmp_path, []))
    assert "MB so far, of at most" in caplog.text


def test_a_config_that_names_letters_loads_26_classes(emnist: Emnist, tmp_path: Path) -> None:
    dataset = load_dataset(TrainingConfig(dataset="emnist_letters", batch_size=10), None, tmp_path)
    assert (dataset.class_count, dataset.classes[0], len(dataset.train_images)) == (26, "A", TRAIN)
    assert (tmp_path / "emnist" / SUMS).exists()
