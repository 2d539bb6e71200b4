"""Runs every command of the documentation, in order, beside a service that `acgan up` started."""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from app.cli.training_data_upload import pack
from models.data.catalog import DIGITS
from models.registry import bundled
from models.registry.store import CheckpointStore
from tests.app.conftest import publish_own
from tests.conftest import DATA_DIR
from tests.support.documentation import Command, commands, python_blocks
from tests.support.forks import run_acgan
from tests.support.image_archives import zip_of_pictures
from tests.support.running_service import Service, running

SMALL = {"dataset": "printed", "batch_size": 10, "train_examples": 20, "test_examples": 10}
TINY_OPTDIGITS = "--dataset optdigits --epochs 1 --batch-size 10 --train-examples 20 --test-examples 10"
SMALLER = "--epochs 1 --dataset printed --batch-size 10 --train-examples 20 --test-examples 10"
NOT_TYPED = {
    r"make up": "`acgan up`, which it starts when it has installed, runs beside all of these",
    r"make test": "runs these tests",
    r"acgan up": "runs beside all of these",
    r"acgan serve$": "runs beside all of these",
    r"acgan worker$": "runs beside all of these",
    r"acgan worker --device cuda": "needs a GPU",
    r"docker ": "needs Docker",
    r".*acgan download DATASET --layout huggingface": "needs pyarrow: tests/integrations runs it",
    r".*acgan evaluate": "takes minutes: tests/app/cli/test_local.py runs it",
    r"curl .*localhost:8000/evaluations": "a worker takes minutes: tests/app/api/test_evaluations.py sends it",
    r"acgan delete": "deletes what the other commands need: tests/client/test_weights.py runs it",
    r".*--report-to": "needs the extra tracking: tests/integrations/test_tracking.py runs it",
    r".*models.bundling": "changes the package",
    r"(\.venv/bin/)?pip install": "needs a package index, and changes the environment",
}
REFUSED = {
    "curl 'localhost:8000/digits/7?n=1001'": 422,
    "curl -X PUT -H 'Content-Type: application/json' localhost:8000/serving -d '{\"dataset\": \"printed\"}'": 404,
    "curl -X DELETE localhost:8000/training-data/letters": 404,  # there are none
    "curl -X DELETE localhost:8000/checkpoints/20261124-094951-00001c-e001": 409,  # here it is the one that is served
}
if not DATA_DIR:  # MNIST is not on this machine
    REFUSED["curl -i -o nearest.png 'localhost:8000/digits/7/neighbours?seed=4&n=3&scale=2&padding=1'"] = 404
LOADS_TORCH = re.compile(
    r"(\.venv/bin/)?acgan (digits|train|export|import-keras) [^|>]*$"
)  # run by the server that forks
LOAD_DIGITS = """
from types import SimpleNamespace

import numpy as np


def load_digits():
    random, target = np.random.default_rng(1), np.arange(200) % 10
    images = random.integers(1, 17, (200, 8, 8)).astype(float)  # as scikit-learn's: 0 to 16, the border is empty
    images[:, [0, -1]] = images[:, :, [0, -1]] = 0
    return SimpleNamespace(images=images, target=target)
"""
COMMANDS = list({command.text.removeprefix(".venv/bin/"): command for command in commands()}.values())


class Reader:
    """Runs commands in a folder with a `.venv`, and has its own run and data set."""

    def __init__(self, service: Service, folder: Path) -> None:
        self.service, self.folder = service, folder
        (folder / ".venv").symlink_to(sys.prefix)
        self.finished = service.train(epochs=2, **SMALL)
        service.until_ended(self.finished)
        ordered = service.client.post("/datasets", json={"per_class": 2, "test_per_class": 1}).raise_for_status().json()
        self.dataset = ordered["id"]
        self.is_published = False
        service.until_ended(self.dataset)
        self.checkpoint = service.client.get("/digits/7").raise_for_status().headers["x-checkpoint"]
        self.environment = {
            **service.environment,
            "PATH": f"{Path(sys.prefix) / 'bin'}:{os.environ['PATH']}",
            "ACGAN_HOME": str(service.home),
            "ACGAN_URL": f"http://127.0.0.1:{service.port}",
            "ACGAN_PRETRAINED": "true",
            "JOB": self.finished,
        }

    def types(self, text: str) -> subprocess.CompletedProcess[str]:
        result = self.translate(text)
        if LOADS_TORCH.match(result):
            words = shlex.split(result)[1:]
            return run_acgan(*words, environment=self.environment, folder=self.folder)
        if result.startswith("curl "):
            result = result.replace("curl ", "curl -sS -w '\\nanswered with %{http_code}' ", 1)
        return subprocess.run(
            ["/bin/bash", "-o", "pipefail", "-c", result],
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=200,
        )

    def translate(self, text: str) -> str:
        """Replace the ids of the examples by real ones, and reduce the work."""
        result = text.replace("localhost:8000", f"127.0.0.1:{self.service.port}")
        result = re.sub(r"\d{8}-\d{6}-00001c-e\d{3}", self.checkpoint, result)
        result = re.sub(r"\d{8}-\d{6}-00001d", self.dataset, result)
        result = re.sub(r"\d{8}-\d{6}-00001c|\bJOB\b(?<!\$JOB)", lambda _: self.job_for(text), result)
        result = result.replace('{"epochs": 2}', json.dumps({"epochs": 1, **SMALL}))
        result = result.replace('{"per_class": 6000, "seed": 1}', '{"per_class": 2, "test_per_class": 1}')
        result = re.sub(r"acgan start (--follow )?--epochs \d+( --dataset.*)?", rf"acgan start \1{SMALLER}", result)
        result = re.sub(r"--recipe \w+ --name", "--name", result)
        result = re.sub(r"--dataset optdigits --recipe sharp --epochs \d+", TINY_OPTDIGITS, result)
        result = result.replace("--per-class 6000", "--per-class 2 --test-per-class 1").replace("DATASET", self.dataset)
        result = re.sub(
            r"acgan train (--recipe \w+ )?(--epochs \d+ )?--out run", rf"acgan train \1{SMALLER} --out run", result
        )
        result = result.replace("run/params_generator_epoch_100", "run/params_generator_epoch_001")
        result = re.sub(r"import-keras (DIR|FOLDER)", f"import-keras --dataset printed {self.folder / 'seeds'}", result)
        result = result.replace("training-data add NAME PATH", "training-data add pictures pictures.zip")
        return result.replace("CHECKPOINT", self.checkpoint)

    def job_for(self, text: str) -> str:
        """A job in a state that allows the command."""
        if "cancel" in text:
            self.long = self.service.train(**{**SMALL, "epochs": 1000, "train_examples": 200})
            return self.long
        if "resume" in text:
            self.service.until_ended(self.long)
            return self.long
        if "front" in text:
            waiting = self.service.client.get("/jobs", params={"status": "queued"}).raise_for_status().json()["jobs"]
            return str(waiting[0]["id"])
        return self.finished

    def prepare(self, text: str) -> None:
        """Create the files and jobs that a command needs and the documentation mentions elsewhere."""
        if "--out run" in text:
            shutil.rmtree(self.folder / "run", ignore_errors=True)
        if "import-keras" in text:
            (self.folder / "seeds").mkdir(exist_ok=True)
            file = self.folder / "seeds" / "params_generator_epoch_001.hdf5"
            assert self.types(f"acgan export {self.checkpoint} -o {file}").returncode == 0
        if text.endswith("python write_digits.py"):
            write_program(self.folder)
        if "optdigits.zip" in text:
            pack(self.folder / "optdigits", self.folder / "optdigits.zip")
        if "images/optdigits" in text or "acgan images optdigits" in text:
            self.publish_optdigits()
        if "letters.zip" in text:
            (self.folder / "letters.zip").write_bytes(zip_of_pictures())
        if "add NAME PATH" in text:
            (self.folder / "pictures.zip").write_bytes(zip_of_pictures())
        if "mine.safetensors" in text:  # the bundled one: the service has it, so nothing is published
            first = bundled.checkpoint()
            assert first, "the package has no generator"
            manifest = bundled.STORE.manifest(first)
            (self.folder / "mine.safetensors").write_bytes(bundled.STORE.read(manifest, manifest.draws))

    def publish_optdigits(self) -> None:
        """Publish a generator of these training data: the run that a command started has ended with a refused one."""
        if not self.is_published:
            store = CheckpointStore(self.service.home / "checkpoints")
            publish_own(store, "20261124-094951-0000aa", "optdigits@1", DIGITS)
            self.is_published = True

    def free_the_worker(self) -> None:
        for status in ("queued", "running"):
            for job in self.service.client.get("/jobs", params={"status": status}).raise_for_status().json()["jobs"]:
                self.service.client.post(f"/jobs/{job['id']}/cancel")


def write_program(folder: Path) -> None:
    """Write the program of the documentation, and 200 images in place of those of scikit-learn, which is not here."""
    (program,) = python_blocks("docs/your-own-images.md")
    (folder / "write_digits.py").write_text(program)
    (folder / "sklearn").mkdir()
    (folder / "sklearn" / "__init__.py").touch()
    (folder / "sklearn" / "datasets.py").write_text(LOAD_DIGITS)


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Reader]:
    """Default settings: digits are judged, and the bundled generator draws until a run has learned to."""
    folder = tmp_path_factory.mktemp("reader")
    given = {"ACGAN_DATA_DIR": str(Path(DATA_DIR).resolve())} if DATA_DIR else {}
    with running(folder / "home", ACGAN_JUDGE="true", ACGAN_PRETRAINED="true", **given) as service:
        yield Reader(service, folder)


def name(command: Command) -> str:
    return f"{command.page}:{command.line}"


@pytest.mark.parametrize("command", COMMANDS, ids=name)
def test_a_documented_command_works(reader: Reader, command: Command) -> None:
    if reason := next((why for what, why in NOT_TYPED.items() if re.match(what, command.text)), None):
        pytest.skip(reason)
    reader.prepare(command.text)
    done = reader.types(command.text)
    assert done.returncode == 0, done.stderr
    if command.text.startswith("curl "):
        status = int(done.stdout.rsplit("answered with ", 1)[1])
        wanted = REFUSED.get(command.text)
        assert status == wanted if wanted else status < 400, done.stdout
    if "front" in command.text:
        reader.free_the_worker()


def test_the_documented_program_runs(reader: Reader) -> None:
    (program,) = python_blocks("docs/commands.md")
    text = program.replace("http://127.0.0.1:8000", f"http://127.0.0.1:{reader.service.port}")
    text = text.replace('dataset="printed"', 'dataset="printed", batch_size=10, train_examples=20, test_examples=10')
    scope: dict[str, Any] = {}
    exec(compile(text, "docs/commands.md", "exec"), scope)  # noqa: S102
    assert scope["sevens"].shape == (40, 28, 28)
    assert scope["sheet"].checkpoint == reader.checkpoint


def test_commands_are_found() -> None:
    """If the reader found no commands, the other tests would pass without running any."""
    texts = [command.text for command in COMMANDS]
    assert len(texts) > 50
    assert {"acgan cancel JOB", "acgan front JOB", "acgan serving best", "make up"} <= set(texts)
    assert all(any(re.match(what, text) for text in texts) for what in NOT_TYPED)
