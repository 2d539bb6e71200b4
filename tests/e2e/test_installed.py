"""The wheel in an environment of its own, used from folders whose files have the names of our packages."""

import os
import shutil
import subprocess
import sys
import sysconfig
import venv
from collections.abc import Iterator
from pathlib import Path

import pytest

from models.config import DatasetName
from tests.conftest import DATA_DIR, NOWHERE
from tests.support.running_service import Service, stopped_at_the_end

ROOT = Path(__file__).parents[2]
PIP = (sys.executable, "-m", "pip", "--disable-pip-version-check")
PACKAGES = ("app", "models", "worker", "redis", "torch")
MODULES = ("random", "signal", "celeryconfig", "sitecustomize")
SIZES = {"epochs": 1, "batch_size": 6, "train_examples": 18, "test_examples": 12}
TRAP = """
from pathlib import Path
with (Path({folder!r}) / "imported").open("a") as file:
    file.write(__file__ + "\\n")
raise ImportError("a file of the user was imported")
"""


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`acgan`, installed from a wheel. Its environment finds all other packages where these tests find them."""
    folder = tmp_path_factory.mktemp("installed")
    source = folder / "source"
    for name in ("app", "worker", "models"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    build = (*PIP, "wheel", "--quiet", "--no-index", "--no-deps", "--no-build-isolation", "--wheel-dir")
    subprocess.run([*build, folder, source], check=True)
    shutil.rmtree(source)
    venv.create(folder / "venv", symlinks=True)
    python = folder / "venv" / "bin" / "python"
    site = {"base": str(folder / "venv"), "platbase": str(folder / "venv")}
    libraries = {sysconfig.get_path(kind) for kind in ("purelib", "platlib")}
    (Path(sysconfig.get_path("purelib", vars=site)) / "libraries.pth").write_text("\n".join(sorted(libraries)))
    (wheel,) = folder.glob("acgan-*.whl")
    subprocess.run([*PIP, "--python", python, "install", "--quiet", "--no-index", "--no-deps", wheel], check=True)
    return folder / "venv" / "bin" / "acgan"


@pytest.fixture(params=["packages", "modules"])
def hostile(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Path]:
    """A folder of a user with packages, or with modules, of our names. Fails if one of them is imported."""
    folder = tmp_path / "user"
    folder.mkdir()
    for name in PACKAGES + MODULES:
        if request.param == "packages" and name in PACKAGES:
            (folder / name).mkdir()
        file = folder / name / "__init__.py" if (folder / name).is_dir() else folder / f"{name}.py"
        file.write_text(TRAP.format(folder=str(folder)))
    yield folder
    imported = folder / "imported"
    assert not imported.exists(), f"imported: {imported.read_text()}"


def run(program: Path, folder: Path, *words: str, **environment: str) -> str:
    """Run a command in the folder, without the checkout on the import path."""
    without = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        [program, *words], cwd=folder, env={**without, **environment}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"{done.stdout}{done.stderr}"
    return done.stdout


@pytest.mark.long
@pytest.mark.timeout(240)
def test_commands_import_nothing_from_the_folder_in_which_they_start(
    program: Path, hostile: Path, dataset_name: DatasetName, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Paths that the user gives stay relative to that folder."""
    monkeypatch.delenv("PYTHONPATH", raising=False)
    relative = {"ACGAN_MNIST_MIRRORS": NOWHERE, "ACGAN_STORE": "kept"}
    if DATA_DIR:
        relative["ACGAN_DATA_DIR"] = os.path.relpath(DATA_DIR, hostile)
    with stopped_at_the_end(Service(hostile / "home", relative, [str(program)], hostile)) as service:
        url = {"ACGAN_URL": f"http://127.0.0.1:{service.port}"}
        job = service.train(dataset=dataset_name, **SIZES)
        assert service.until_ended(job)["status"] == "succeeded"
        service.until("digits are served", lambda: service.client.get("/digits/7").is_success)
        words = ["order", "--per-class", "2", "--test-per-class", "1", "--out", "mine"]
        run(program, hostile, *words, **url)
        children = service.processes().keys() - {service.process.pid}
        redis, others = hostile / "home" / "redis", hostile / "home" / "run"
        assert {Path(f"/proc/{pid}/cwd").readlink() for pid in children} == {redis, others}
        service.stop()
    assert len(list((hostile / "mine").iterdir())) == 4
    assert list((hostile / "kept" / job).glob("*/manifest.json"))
    options = [word for name, value in SIZES.items() for word in (f"--{name.replace('_', '-')}", str(value))]
    run(program, hostile, "train", "--dataset", dataset_name, "--out", "run", *options, **relative)
    run(program, hostile, "digits", "7", "--out", "sevens.png", "--home", "home", **relative)
    run(program, hostile, "export", "--out", "digits.h5", "--home", "home", **relative)
    assert (hostile / "run" / "params_generator_epoch_001.safetensors").is_file()
    assert (hostile / "sevens.png").read_bytes().startswith(b"\x89PNG")
    assert (hostile / "digits.h5").is_file()
