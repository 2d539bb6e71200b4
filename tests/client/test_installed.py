"""The wheel of the client, with its dependencies only, in an environment of its own."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import pytest

from app.settings import AppSettings
from models.registry.store import CheckpointStore
from tests.support.other_system import MODULES
from tests.support.serving import serving
from worker.runner import run_next_job

CLIENT = Path(__file__).parents[2] / "client"
LARGEST = 20_000_000  # bytes, with all dependencies
SCRIPT = """
from acgan_client import Change, Client, Drawn

changes: list[Change] = []
with Client() as client:
    job = client.train(dataset="printed", epochs=1, batch_size=20, train_examples=60, test_examples=40, name="mine")
    for change in client.follow(job):
        changes.append(change)
        print(change.kind, change.job.status, change.job.progress)
    done = client.wait(job)
    checkpoint = done.checkpoint or "latest"
    drawn: Drawn = client.digits(7, n=4, seed=1, checkpoint=checkpoint)
    print(drawn, drawn.save("sevens.png"))
"""
MISTAKES = {
    "n=4, seed=1, checkpoint=checkpoint)": "number=4, seed=1, checkpoint=checkpoint)",
    "change.job.progress)": "change.job.progres)",
    "checkpoint=checkpoint)": "checkpoint=done.checkpoint)",
    'dataset="printed"': "dataset=7",
}


def dependencies(name: str, seen: set[str]) -> None:
    """Add a distribution and all that it needs here, without extras."""
    if name in seen:
        return
    seen.add(name)
    for requirement in metadata.requires(name) or ():
        needed, _, marker = requirement.partition(";")
        is_needed = not any(word in marker for word in ("extra ==", "emscripten' and", "python_version <"))
        child = re.split(r"[\s<>=!~\[]", needed.strip())[0]
        if is_needed:
            dependencies(child, seen)


def copy_distribution(name: str, target: Path) -> None:
    distribution = metadata.distribution(name)
    for file in distribution.files or ():
        if not str(file).startswith("..") and file.suffix != ".pyc":
            (target / file).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(str(distribution.locate_file(file)), target / file)


def pip(*words: str | Path) -> None:
    subprocess.run([sys.executable, "-m", "pip", "--quiet", *words], check=True)


class Environment:
    """A virtual environment with the client and its dependencies, copied from the environment of the tests."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.python = folder / "venv" / "bin" / "python"
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder / "venv"], check=True)
        (self.packages,) = (folder / "venv" / "lib").glob("python*/site-packages")
        leftovers = shutil.ignore_patterns("__pycache__", "build", "*.egg-info")
        source = shutil.copytree(CLIENT, folder / "client", ignore=leftovers)
        pip("wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", folder / "dist", source)
        (wheel,) = (folder / "dist").glob("acgan_client-*.whl")
        pip("install", "--no-deps", "--target", self.packages, wheel)
        needed: set[str] = set()
        for name in ("httpx2", "pydantic"):
            dependencies(name, needed)
        for name in needed:
            copy_distribution(name, self.packages)

    def run(self, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "ACGAN_"))}
        return subprocess.run(
            [self.python, *arguments],
            capture_output=True, text=True, check=False, cwd=self.folder, env=kept | variables,
        )  # fmt: skip


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Environment]:
    folder = tmp_path_factory.mktemp("installed")
    yield Environment(folder)
    shutil.rmtree(folder)


def test_it_is_small_typed_and_quick_to_import(environment: Environment) -> None:
    size = sum(path.stat().st_size for path in environment.packages.rglob("*") if path.is_file())
    for _ in range(2):  # the first import compiles, as pip does
        result = environment.run("-X", "importtime", "-c", "import acgan_client")
    assert result.returncode == 0, result.stderr
    microseconds = int(result.stderr.splitlines()[-1].split("|")[1])
    print(f"{size / 1e6:.1f} MB installed, imported in {microseconds / 1e6:.3f} s")  # noqa: T201
    assert size < LARGEST
    assert (environment.packages / "acgan_client" / "py.typed").exists()
    (described,) = environment.packages.glob("acgan_client-*.dist-info/METADATA")
    needed = re.findall(r"^Requires-Dist: ([a-z0-9]+)>=[0-9.]+$", described.read_text(), re.MULTILINE)
    assert needed == ["httpx2", "pydantic"]


def test_a_script_trains_follows_and_draws(
    environment: Environment, settings: AppSettings, store: CheckpointStore
) -> None:
    (environment.folder / "script.py").write_text(SCRIPT)
    with serving(settings) as address:
        command = [str(environment.python), "script.py"]
        variables = {"ACGAN_URL": address, "PATH": os.environ["PATH"]}
        with subprocess.Popen(
            command, cwd=environment.folder, env=variables, stdout=subprocess.PIPE, text=True
        ) as script:
            while not run_next_job(settings) and script.poll() is None:
                pass
            shown, _ = script.communicate(timeout=60)
    assert script.returncode == 0
    assert "succeeded" in shown
    assert (environment.folder / "sevens.png").read_bytes()[:4] == b"\x89PNG"


def test_mypy_finds_each_mistake_and_nothing_else(environment: Environment) -> None:
    (environment.folder / "right.py").write_text(SCRIPT)
    for number, (right, wrong) in enumerate(MISTAKES.items()):
        assert right in SCRIPT
        (environment.folder / f"wrong_{number}.py").write_text(SCRIPT.replace(right, wrong))
    wrong_files = [f"wrong_{number}.py" for number in range(len(MISTAKES))]
    mypy = [sys.executable, "-m", "mypy", "--strict", "--python-executable", str(environment.python)]
    checked = subprocess.run(
        [*mypy, "right.py", *wrong_files], capture_output=True, text=True, check=False, cwd=environment.folder
    )
    errors = sorted(line for line in checked.stdout.splitlines() if " error: " in line)
    assert [line.partition(":")[0] for line in errors] == wrong_files, checked.stdout


def test_it_imports_on_a_system_without_posix(environment: Environment) -> None:
    hidden = f"import sys; sys.modules.update(dict.fromkeys({MODULES!r})); import os; del os.O_NOFOLLOW"
    result = environment.run("-c", f"{hidden}; from acgan_client import Client; print(Client())")
    assert (result.stdout, result.stderr) == ("Client('http://127.0.0.1:8000')\n", "")
