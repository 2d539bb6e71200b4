"""Data sets on order from a generator of another number of classes than ten, in every layout."""

import gzip
import io
import json
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

from models.data.catalog import LETTERS
from models.data.idx import read_idx
from models.networks.acgan import Generator
from models.networks.inference import FoldedGenerator
from models.sampling.sampler import draw_digits, prepare
from models.synthesis.builder import make
from models.synthesis.layouts import huggingface
from models.synthesis.layouts.table import LAYOUTS
from models.synthesis.order import DatasetManifest, DatasetOrder, read_manifest
from models.synthesis.verified_sampler import DatasetDrawer, drawing_threads
from tests.models.synthesis.test_builder import ORIGIN
from tests.models.synthesis.test_layouts import source_of

CPU = torch.device("cpu")
ORDER = DatasetOrder(per_class=7, test_per_class=3, seed=4)


@pytest.fixture(scope="module")
def generator() -> FoldedGenerator:
    torch.manual_seed(1)
    return prepare(Generator(12, 26).eval(), CPU)


@pytest.fixture(scope="module")
def folder(generator: FoldedGenerator, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("letters")
    with drawing_threads(CPU) as pool:
        drawer = DatasetDrawer(generator, ORDER, None, pool)
        assert list(make(folder, ORDER, ORIGIN, drawer, classes=LETTERS))[-1] == 260
    return folder


def archive(folder: Path, layout: str) -> zipfile.ZipFile:
    return zipfile.ZipFile(io.BytesIO(b"".join(LAYOUTS[layout].write(source_of(folder)))))


def idx(folder: Path, name: str) -> np.ndarray:
    return read_idx(gzip.decompress((folder / f"{name}-ubyte.gz").read_bytes()))


def test_every_class_has_its_digits_in_the_order_of_labels(folder: Path, generator: FoldedGenerator) -> None:
    for name, n, first in (("train", 7, 0), ("t10k", 3, 7)):
        images, labels = idx(folder, f"{name}-images-idx3"), idx(folder, f"{name}-labels-idx1")
        assert np.array_equal(labels, np.tile(np.arange(26), n))
        for label in (0, 10, 25):
            assert np.array_equal(images[labels == label], draw_digits(generator, label, n, ORDER.seed, first))


def test_the_manifest_names_the_classes(folder: Path) -> None:
    manifest = read_manifest(folder)
    assert manifest
    assert (manifest.classes, manifest.examples) == (list(LETTERS), 260)
    assert manifest.files["t10k-labels-idx1-ubyte.gz"].examples == 78


def test_a_manifest_of_an_earlier_version_is_that_of_digits(folder: Path) -> None:
    fields = json.loads((folder / "manifest.json").read_text())
    del fields["classes"]
    manifest = DatasetManifest.model_validate(fields)
    assert (manifest.classes, manifest.examples) == (list("0123456789"), 100)
    assert manifest.splits == manifest.order.splits


def test_keras_and_torchvision_get_every_image(folder: Path) -> None:
    with archive(folder, "keras") as members, members.open("x_train.npy") as file:
        assert np.array_equal(np.load(io.BytesIO(file.read())), idx(folder, "train-images-idx3"))
    with archive(folder, "torchvision") as members:
        assert np.array_equal(
            read_idx(members.read("MNIST/raw/t10k-labels-idx1-ubyte")), idx(folder, "t10k-labels-idx1")
        )


def test_hugging_face_gets_the_names_of_the_classes(folder: Path) -> None:
    import pyarrow.parquet

    with archive(folder, "huggingface") as members:
        table = pyarrow.parquet.read_table(io.BytesIO(members.read("data/test-00000-of-00001.parquet")))
        text = members.read("README.md").decode()
    features = json.loads(table.schema.metadata[b"huggingface"])["info"]["features"]
    assert features["label"]["names"] == list(LETTERS)
    assert table.column("label").to_pylist() == list(range(26)) * 3
    assert "          '25': 'Z'" in text
    assert "num_examples: 182" in text
    assert "260 images, 28 x 28 pixels" in text
    assert "image k // 26 of label k % 26" in text


def test_a_name_with_a_quotation_mark_is_quoted_as_in_yaml() -> None:
    assert huggingface.quoted("it's") == "'it''s'"
