"""Layouts of data sets: their content, their bytes, damage, and memory."""

import gzip
import io
import os
import sys
import tracemalloc
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from models.bounded_reading import FileDamaged, FileInvalid
from models.data.idx import read_idx
from models.interop.formats import ExtraMissing
from models.synthesis.builder import make
from models.synthesis.layouts import huggingface
from models.synthesis.layouts.source import DatasetSource, regrouped
from models.synthesis.layouts.table import LAYOUTS
from models.synthesis.order import FILES, DatasetOrder, read_manifest
from tests.models.synthesis.test_builder import ORIGIN, Drawer

WITHOUT_PARQUET = sorted(set(LAYOUTS) - {"huggingface"})
FOUR = [name for name in FILES if "redraws" not in name]


def source_of(folder: Path) -> DatasetSource:
    def read(name: str, start: int, end: int) -> bytes:
        with (folder / name).open("rb") as file:
            file.seek(start)
            return file.read(end - start)

    manifest = read_manifest(folder)
    assert manifest
    return DatasetSource(manifest, read)


def make_data_set(folder: Path, per_class: int, verify: float | None = None) -> DatasetSource:
    order = DatasetOrder(per_class=per_class, test_per_class=30, seed=4, verify=verify)
    list(make(folder, order, ORIGIN, Drawer()))
    return source_of(folder)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("layouts")
    make_data_set(folder, 123, verify=0.5)
    return folder


def idx(folder: Path, name: str) -> np.ndarray:
    return read_idx(gzip.decompress((folder / f"{name}-ubyte.gz").read_bytes()))


def written(folder: Path, layout: str) -> bytes:
    return b"".join(LAYOUTS[layout].write(source_of(folder)))


def members(data: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        assert archive.testzip() is None
        assert {info.date_time for info in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}
        assert {info.external_attr >> 16 for info in archive.infolist()} == {0o644}
        return {name: archive.read(name) for name in archive.namelist()}


def test_mnist_has_the_stored_files(folder: Path) -> None:
    found = members(written(folder, "mnist"))
    assert list(found) == ["manifest.json", *FILES]
    assert all(found[name] == (folder / name).read_bytes() for name in found)


def test_torchvision_has_the_unpacked_files(folder: Path) -> None:
    found = members(written(folder, "torchvision"))
    assert found == {
        f"MNIST/raw/{name.removesuffix('.gz')}": gzip.decompress((folder / name).read_bytes()) for name in FOUR
    }


def test_keras_has_the_arrays_of_its_own_file(folder: Path) -> None:
    with np.load(io.BytesIO(written(folder, "keras")), allow_pickle=False) as arrays:
        assert list(arrays) == ["x_train", "y_train", "x_test", "y_test"]
        for split, name in (("train", "train"), ("test", "t10k")):
            assert arrays[f"x_{split}"].dtype == arrays[f"y_{split}"].dtype == np.uint8
            assert np.array_equal(arrays[f"x_{split}"], idx(folder, f"{name}-images-idx3"))
            assert np.array_equal(arrays[f"y_{split}"], idx(folder, f"{name}-labels-idx1"))


@pytest.mark.parametrize("layout", WITHOUT_PARQUET)
def test_the_same_data_set_gives_the_same_bytes(folder: Path, layout: str) -> None:
    assert written(folder, layout) == written(folder, layout)


@pytest.mark.parametrize("layout", WITHOUT_PARQUET)
@pytest.mark.parametrize("damage", ["a bit of an image", "a bit of a label", "a shorter file"])
def test_an_archive_of_a_damaged_file_does_not_end(folder: Path, tmp_path: Path, layout: str, damage: str) -> None:
    for path in folder.iterdir():
        os.link(path, tmp_path / path.name)
    path = tmp_path / ("t10k-labels-idx1-ubyte.gz" if "label" in damage else "train-images-idx3-ubyte.gz")
    data = bytearray(path.read_bytes())
    path.unlink()
    data[-12] ^= 1
    path.write_bytes(data[:-1] if damage == "a shorter file" else data)
    with pytest.raises(FileInvalid, match=path.name):
        written(tmp_path, layout)


def test_a_file_of_another_shape_is_damage(folder: Path) -> None:
    source = source_of(folder)
    shorter = source.manifest.order.model_copy(update={"per_class": 122})
    changed = source._replace(manifest=source.manifest.model_copy(update={"order": shorter}))
    with pytest.raises(FileDamaged, match="does not have the shape"):
        list(LAYOUTS["keras"].write(changed))


@pytest.mark.parametrize("layout", WITHOUT_PARQUET)
def test_memory_does_not_depend_on_the_size(tmp_path: Path, layout: str) -> None:
    source = make_data_set(tmp_path, 2000)
    tracemalloc.start()
    try:
        largest = max(len(piece) for piece in LAYOUTS[layout].write(source))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert largest < 3_000_000
    assert peak < 8_000_000 < 20_000 * 28 * 28


def test_without_the_library_the_error_comes_before_the_first_byte(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    for call in (lambda: LAYOUTS["huggingface"].write(source_of(folder)), LAYOUTS["huggingface"].libraries):
        with pytest.raises(ExtraMissing, match=r"acgan\[parquet\]"):
            call()


def test_the_description_names_the_checkpoint_the_seed_and_the_sizes(folder: Path) -> None:
    text = huggingface.read_me(source_of(folder).manifest, {"train": 5, "test": 3})
    for line in (
        "num_bytes: 5",
        "num_examples: 1230",
        "num_examples: 300",
        "- Checkpoint: `latest`",
        "- Seed: 4",
        "judge: 0.5",
    ):
        assert line in text


def test_values_are_regrouped() -> None:
    def pieces() -> Iterator[bytes]:
        yield from (b"ab", b"", b"cdefg", b"h")

    assert list(regrouped(pieces(), 3, 2)) == [b"abc", b"de", b"fg", b"h"]
