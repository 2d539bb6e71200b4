"""The snippets of docs/guide.md load a data set that a real service drew, with the real libraries and no network."""

import gzip
import io
import os
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from acgan_client import Client
from app.settings import AppSettings
from models.bounded_reading import FileInvalid
from models.data.idx import read_idx
from models.synthesis.layouts.table import LAYOUTS
from tests.conftest import RunningRedis, set_environment
from tests.models.synthesis.test_layouts import make_data_set, source_of
from tests.support.documentation import commands, python_blocks
from tests.support.serving import serving
from worker.runner import run_next_job

pytestmark = pytest.mark.integrations

PAGE = "docs/guide.md"
NOWHERE = "http://127.0.0.1:9/"
OFFLINE = {"HF_HUB_OFFLINE": "1", "KERAS_BACKEND": "torch", "HTTP_PROXY": NOWHERE, "HTTPS_PROXY": NOWHERE}
# PyPI's torchvision for Linux is built for a torch with CUDA. With another torch its operators are missing, and its
# import fails. The readers of data sets use none of them.
OPERATORS = """
import torch
try:
    import torchvision
except RuntimeError:
    operators = torch.library.Library("torchvision", "DEF")
    operators.define("nms(Tensor boxes, Tensor scores, float threshold) -> Tensor")
    operators.define("qnms(Tensor boxes, Tensor scores, float threshold) -> Tensor")
"""
SAVE = """
import numpy as np
np.savez("loaded.npz", x_train=x_train, y_train=y_train, x_test=x_test, y_test=y_test)
"""
ARRAYS = {
    "torchvision": "x_train, y_train, x_test, y_test = (a.numpy() for s in (train, test) for a in (s.data, s.targets))",
    "numpy": "",
    "datasets": """
import numpy
x_train, x_test = (numpy.stack([numpy.asarray(image) for image in digits[s]["image"]]) for s in ("train", "test"))
y_train, y_test = (numpy.array(digits[s]["label"]) for s in ("train", "test"))
print(digits["train"].features)
print({s: (digits[s].num_rows, digits[s].column_names) for s in digits})
""",
}


@pytest.fixture(scope="module")
def folder(shared_redis: RunningRedis, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder in which a reader of the guide has typed its commands for a data set that the service drew."""
    folder = tmp_path_factory.mktemp("reader")
    with pytest.MonkeyPatch.context() as patch:
        set_environment(patch, folder / "home")
        patch.setenv("ACGAN_PRETRAINED", "true")
        settings = AppSettings(redis_url=shared_redis.url)
        with serving(settings) as address, Client(address) as client:
            patch.setenv("ACGAN_URL", address)
            ordered = client.order(per_class=30, test_per_class=7, seed=4)
            run_next_job(settings)
            assert len(list(client.download(ordered, folder / "mine"))) == 4
            texts = [command.text for command in commands() if command.page == PAGE and " --layout " in command.text]
            assert {text.split("--layout ")[1].split()[0] for text in texts} == set(LAYOUTS) - {"mnist"}
            for text in texts:
                words = text.replace("DATASET", ordered.id).split()[1:]
                subprocess.run([sys.executable, "-m", "app.cli", *words], cwd=folder, check=True)
        yield folder


def idx(folder: Path, name: str) -> np.ndarray:
    return read_idx(gzip.decompress((folder / "mine" / f"{name}-ubyte.gz").read_bytes()))


def snippet(library: str) -> str:
    (found,) = (block for block in python_blocks(PAGE) if block.split()[1].partition(".")[0] == library)
    return found


def run(program: str, folder: Path) -> subprocess.CompletedProcess[str]:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "KERAS_"))}
    here = {"HF_HOME": str(folder / "hf"), "KERAS_HOME": str(folder / "keras")}
    return subprocess.run(
        [sys.executable, "-c", program],
        cwd=folder,
        env={**inherited, **OFFLINE, **here},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("library", ARRAYS)
def test_a_library_loads_the_pixels_and_labels_of_the_idx_files(folder: Path, library: str) -> None:
    operators = OPERATORS if library == "torchvision" else ""
    done = run("\n".join((operators, snippet(library), ARRAYS[library], SAVE)), folder)
    assert done.returncode == 0, done.stderr
    with np.load(folder / "loaded.npz") as loaded:
        for split, name in (("train", "train"), ("test", "t10k")):
            assert np.array_equal(loaded[f"x_{split}"], idx(folder, f"{name}-images-idx3"))
            assert np.array_equal(loaded[f"y_{split}"], idx(folder, f"{name}-labels-idx1"))
    (folder / "loaded.npz").unlink()
    assert "gnoring" not in done.stderr  # as `datasets` does with a description that it does not understand
    if library == "datasets":
        names = ", ".join(f"'{label}'" for label in range(10))
        assert "'image': Image(" in done.stdout
        assert f"'label': ClassLabel(names=[{names}])" in done.stdout
        assert "{'train': (300, ['image', 'label']), 'test': (70, ['image', 'label'])}" in done.stdout


def test_parquet_files_have_their_features_without_the_description(folder: Path) -> None:
    program = "from datasets import load_dataset; print(load_dataset('parquet', data_files='for-datasets/data/test-*'))"
    done = run(program.replace("))", ")['train'].features)"), folder)
    assert done.returncode == 0, done.stderr
    assert "ClassLabel" in done.stdout


def test_keras_loads_the_arrays_only_with_numpy(folder: Path) -> None:
    """The guide says so. If Keras accepts other digits one day, the guide can be shorter."""
    program = """
import os, shutil
os.makedirs("keras/datasets", exist_ok=True)
shutil.copy("for-keras/mnist.npz", "keras/datasets/mnist.npz")
import keras
keras.datasets.mnist.load_data()
"""
    done = run(program, folder)
    assert done.returncode != 0
    assert "hash does not match" in done.stdout + done.stderr
    assert "URL fetch failure" in done.stderr


def test_the_parquet_layout_is_deterministic_and_ends_only_if_the_data_set_is_intact(tmp_path: Path) -> None:
    source = make_data_set(tmp_path, 123)
    data = b"".join(LAYOUTS["huggingface"].write(source))
    assert data == b"".join(LAYOUTS["huggingface"].write(source_of(tmp_path)))
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        assert archive.testzip() is None
        assert archive.namelist() == [*(f"data/{s}-00000-of-00001.parquet" for s in ("train", "test")), "README.md"]
    labels = tmp_path / "train-labels-idx1-ubyte.gz"
    labels.write_bytes(labels.read_bytes()[:-12] + b"?" + labels.read_bytes()[-11:])
    with pytest.raises(FileInvalid, match=labels.name):
        list(LAYOUTS["huggingface"].write(source))
