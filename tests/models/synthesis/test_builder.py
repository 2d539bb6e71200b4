import gzip
import hashlib
import itertools
import os
import tracemalloc
import zlib
from pathlib import Path

import numpy as np
import pytest

from models.data.idx import read_idx
from models.synthesis.builder import make, writing_gzip
from models.synthesis.order import FILES, PART, PARTS, DatasetOrder, Provenance, read_manifest

ORIGIN = Provenance(generator_sha256="0" * 64, device="cpu", code_version="test")
ORDER = DatasetOrder(per_class=2 * PART + 7, test_per_class=30, seed=4)


class Drawer:
    """Draws digits whose pixels encode their address, and counts them."""

    def __init__(self) -> None:
        self.drawn = list[tuple[int, int]]()

    def __call__(self, n: int, index: int) -> tuple[np.ndarray, np.ndarray]:
        self.drawn.append((n, index))
        addresses = np.arange(10 * index, 10 * (index + n), dtype=np.uint32)
        digits = np.zeros((10 * n, 28, 28), np.uint8)
        digits[:, 0, :4] = addresses[:, None] >> np.array([0, 8, 16, 24]) & 255
        return digits, (np.arange(10 * n) % 3).astype(np.uint8)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.name.endswith(".gz")}


@pytest.fixture
def made(tmp_path: Path) -> Path:
    assert list(make(tmp_path / "whole", ORDER, ORIGIN, Drawer()))[-1] == ORDER.digits
    return tmp_path / "whole"


def test_any_loader_reads_the_files(made: Path) -> None:
    for name, n, first in (("train", ORDER.per_class, 0), ("t10k", 30, ORDER.per_class)):
        images = read_idx(gzip.decompress((made / f"{name}-images-idx3-ubyte.gz").read_bytes()))
        labels = read_idx(gzip.decompress((made / f"{name}-labels-idx1-ubyte.gz").read_bytes()))
        assert images.shape == (10 * n, 28, 28)
        assert np.array_equal(labels, np.tile(np.arange(10), n))
        assert np.array_equal(images, Drawer()(n, first)[0])


def test_the_manifest_describes_the_files(made: Path) -> None:
    manifest = read_manifest(made)
    assert manifest
    assert manifest.order == ORDER
    assert set(manifest.files) == set(contents(made)) == {name for name in FILES if "redraws" not in name}
    for name, data in contents(made).items():
        result = manifest.files[name]
        assert (result.size, result.sha256) == (len(data), hashlib.sha256(data).hexdigest())
        assert result.unpacked_sha256 == hashlib.sha256(gzip.decompress(data)).hexdigest()
    assert manifest.files["t10k-images-idx3-ubyte.gz"].first_index == ORDER.per_class
    assert not (made / PARTS).exists()
    assert {path.name for path in made.iterdir()} == {*manifest.files, "manifest.json"}


def test_redraws_are_recorded_if_digits_are_verified(tmp_path: Path) -> None:
    order = ORDER.model_copy(update={"verify": 0.5})
    list(make(tmp_path, order, ORIGIN, Drawer()))
    manifest = read_manifest(tmp_path)
    assert manifest
    assert set(manifest.files) == set(FILES)
    result = read_idx(gzip.decompress((tmp_path / "t10k-redraws-idx1-ubyte.gz").read_bytes()))
    assert np.array_equal(result, np.arange(300) % 3)


@pytest.mark.parametrize("steps", range(1, 6))
def test_after_a_stop_only_missing_parts_are_drawn(made: Path, tmp_path: Path, steps: int) -> None:
    first, second = Drawer(), Drawer()
    stopped = list(itertools.islice(make(tmp_path / "again", ORDER, ORIGIN, first), steps))
    assert read_manifest(tmp_path / "again") is None
    whole = list(make(tmp_path / "again", ORDER, ORIGIN, second))
    assert whole[:steps] == stopped
    assert sorted(first.drawn + second.drawn) == [(7, 2 * PART), (30, ORDER.per_class), (PART, 0), (PART, PART)]
    assert contents(tmp_path / "again") == contents(made)


@pytest.mark.parametrize("damage", [b"", b"\0" * 9, None])
def test_a_damaged_part_is_drawn_again(made: Path, tmp_path: Path, damage: bytes | None) -> None:
    list(itertools.islice(make(tmp_path / "again", ORDER, ORIGIN, Drawer()), 3))
    part = sorted((tmp_path / "again" / PARTS).iterdir())[1]
    data = part.read_bytes()
    part.write_bytes(data[:-9] + bytes([data[-9] ^ 1]) + data[-8:] if damage is None else damage)
    second = Drawer()
    list(make(tmp_path / "again", ORDER, ORIGIN, second))
    assert (PART, PART) in second.drawn
    assert contents(tmp_path / "again") == contents(made)


@pytest.mark.parametrize(
    "change", [{"generator_sha256": "1" * 64}, {"code_version": "newer"}, {"device": "cuda:0 (NVIDIA H100)"}], ids=str
)
def test_parts_that_were_drawn_otherwise_are_drawn_again(made: Path, tmp_path: Path, change: dict[str, str]) -> None:
    drawer, other = Drawer(), ORIGIN.model_copy(update=change)
    list(itertools.islice(make(tmp_path / "again", ORDER, other, Drawer()), 3))
    list(make(tmp_path / "again", ORDER, ORIGIN, drawer))
    assert len(drawer.drawn) == len(ORDER.parts)
    assert contents(tmp_path / "again") == contents(made)


def test_parts_of_helpers_count_also_after_an_interruption(tmp_path: Path) -> None:
    helper = ORIGIN.model_copy(update={"device": "cpu (4 threads)", "helpers": {"cpu (4 threads)": 1}})
    list(itertools.islice(make(tmp_path, ORDER, helper, Drawer()), 3))
    list(make(tmp_path, ORDER, ORIGIN, Drawer()))
    manifest = read_manifest(tmp_path)
    assert manifest
    assert manifest.helpers == {"cpu (4 threads)": 3}
    assert manifest.device == ORIGIN.device


def test_a_sparse_file_in_place_of_a_part_is_drawn_again_unread(made: Path, tmp_path: Path) -> None:
    list(itertools.islice(make(tmp_path / "again", ORDER, ORIGIN, Drawer()), 3))
    os.truncate(sorted((tmp_path / "again" / PARTS).iterdir())[1], 6 << 30)
    second = Drawer()
    tracemalloc.start()
    list(make(tmp_path / "again", ORDER, ORIGIN, second))
    assert tracemalloc.get_traced_memory()[1] < 1 << 28
    tracemalloc.stop()
    assert (PART, PART) in second.drawn
    assert contents(tmp_path / "again") == contents(made)


def test_an_existing_data_set_is_not_made_again(made: Path) -> None:
    drawer = Drawer()
    assert list(make(made, ORDER, ORIGIN, drawer)) == []
    assert drawer.drawn == []


def test_the_gzip_file_has_a_single_member(made: Path) -> None:
    """Some readers of gzip stop after the first member."""
    stream = zlib.decompressobj(zlib.MAX_WBITS | 16)
    stream.decompress((made / "train-images-idx3-ubyte.gz").read_bytes())
    assert stream.eof
    assert stream.unused_data == b""


def test_two_workers_write_the_same_file_at_once(tmp_path: Path) -> None:
    """One of them was paused beyond its lease."""
    path = tmp_path / "digits.gz"
    with writing_gzip(path) as first:
        first.add(b"1" * 1000)
        with writing_gzip(path) as second:
            second.add(b"2" * 3000)
            first.add(b"1" * 1000)
        assert gzip.decompress(path.read_bytes()) == b"2" * 3000
        first.add(b"1" * 1000)
    data = path.read_bytes()
    assert gzip.decompress(data) == b"1" * 3000
    assert (first.size, first.packed.hexdigest()) == (len(data), hashlib.sha256(data).hexdigest())
    assert list(tmp_path.iterdir()) == [path]
    assert path.stat().st_mode & 0o777 == 0o644


def test_a_file_whose_writing_fails_leaves_the_old_one(tmp_path: Path) -> None:
    (path := tmp_path / "digits.gz").write_bytes(b"old")

    def write() -> None:
        with writing_gzip(path) as file:
            file.add(b"new")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write()
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]
