"""Tests on a real GPU. They need torch and the project's own files: no Redis, no network, no pytest plugin.

`pytest -m gpu tests/gpu` runs them; with `--rehearse` they run on the CPU of a machine without a GPU.
"""

from pathlib import Path
from typing import Any

import pytest
import torch

from app.settings import AppSettings
from benchmarks.gpu.context import data_dir
from models.config import RecipeName, TrainingConfig
from models.data.dataset import Dataset, load_dataset
from models.torch_device import find_device
from models.training.recipes import RECIPES

CPU = torch.device("cpu")
NO_MIRROR = "http://127.0.0.1:9/"  # no test downloads anything


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--rehearse", action="store_true", help="without a GPU, run its tests on the CPU")


@pytest.fixture(scope="session")
def device(request: pytest.FixtureRequest) -> torch.device:
    """The GPU; in a rehearsal the CPU."""
    if torch.cuda.is_available():
        return find_device("cuda")
    if request.config.getoption("--rehearse", default=False):
        return CPU
    pytest.skip("this machine has no CUDA device")


@pytest.fixture
def gpu(device: torch.device) -> torch.device:
    """The GPU, for tests that a CPU cannot rehearse."""
    if device.type != "cuda":
        pytest.skip("a CPU cannot rehearse this")
    return device


@pytest.fixture(params=RECIPES)
def recipe(request: pytest.FixtureRequest) -> RecipeName:
    name: RecipeName = request.param
    return name


@pytest.fixture(params=["fp32", "bf16"])
def config(request: pytest.FixtureRequest, device: torch.device, recipe: RecipeName) -> TrainingConfig:
    """Each recipe in both precisions. A rehearsal has one recipe, in the CPU's own precision."""
    if device.type == "cuda":
        return small(recipe=recipe, precision=request.param)
    if request.param == "fp32":
        pytest.skip("one precision is enough for a rehearsal")
    return small(recipe=recipe)


@pytest.fixture(scope="session")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """Three batches of training images."""
    return load_dataset(small(), None, tmp_path_factory.mktemp("cache"), [])


@pytest.fixture
def settings(device: torch.device, tmp_path: Path) -> AppSettings:
    home = tmp_path / "home"
    return AppSettings(
        home=home, data_dir=data_dir(), mnist_mirrors=NO_MIRROR, device=str(device), judge=True, pretrained=True
    )


def small(**changes: Any) -> TrainingConfig:
    """Two epochs of three iterations of printed digits: every step of a run happens, nothing is learned.

    A GPU gets the default batch size, for which cuDNN chooses other kernels than for a few images.
    """
    batch = 100 if torch.cuda.is_available() else 4
    sizes = {"batch_size": batch, "train_examples": 3 * batch, "test_examples": 2 * batch}
    return TrainingConfig.model_validate({"epochs": 2, "dataset": "printed", **sizes, **changes})
