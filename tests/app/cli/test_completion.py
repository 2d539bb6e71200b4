"""Completion of values, in a real bash with the installed program: ids and names come from the service, or nothing."""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.settings import AppSettings
from models.data.catalog import DATASETS
from models.registry.store import CheckpointStore
from tests.models.registry.test_store import NEW, OLD
from tests.support.hostile_server import JOB_ID, as_json, hostile, job
from tests.support.ports import free_port
from tests.support.serving import serving
from tests.support.training_sets import bring

BASH = shutil.which("bash") or ""
pytestmark = pytest.mark.skipif(not BASH, reason="this system has no bash")
BIN = Path(sys.executable).parent
PATIENCE = """
import os
if "PATIENCE_SECONDS" in os.environ:
    from app.cli import completion
    completion.SECONDS = float(os.environ["PATIENCE_SECONDS"])
"""  # of a service that answers; a slow machine may take longer than users would wait
ASK = 'COMP_CWORD=$((${#COMP_WORDS[@]} - 1)); _acgan_completion acgan; printf "%s\\n" "${COMPREPLY[@]}"'


def bash(script: str, home: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    variables = {**os.environ, "HOME": str(home), "PATH": f"{BIN}:{os.environ['PATH']}", **environment}
    variables["PYTHONPATH"] = os.pathsep.join([str(home), *sys.path])  # PATIENCE, and this checkout
    return subprocess.run(
        [BASH, "--norc", "-c", script], capture_output=True, text=True, env=variables, cwd=home, check=False
    )


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home folder in which `acgan --install-completion` has run."""
    home = tmp_path_factory.mktemp("user")
    (home / "sitecustomize.py").write_text(PATIENCE)
    done = bash("acgan --install-completion; exit $?", home)  # two commands: bash stays its parent
    assert done.returncode == 0, done.stderr
    assert "completion" in (home / ".bashrc").read_text()
    return home


def test_a_file_of_the_shell_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / ".bashrc").mkdir()
    ended = bash("acgan --install-completion; exit $?", tmp_path)
    assert (ended.returncode, ended.stderr) == (2, f"error: {tmp_path}/.bashrc cannot be used: Is a directory\n")


def complete(home: Path, *words: str, **environment: str) -> list[str]:
    """Return what bash offers after these words; the last one is incomplete."""
    line = " ".join(f"'{word}'" for word in ("acgan", *words))
    result = bash(f"source ~/.bashrc; COMP_WORDS=({line}); {ASK}", home, **environment)
    assert (result.returncode, result.stderr) == (0, "")
    return result.stdout.split("\n")[:-1]


def names() -> list[dict[str, object]]:
    """Runs with a name, with one that a shell would divide, and with one that it would execute."""
    words = ("mine", "two words", "$(touch pwned)", "mine")
    return [job(id=f"20260131-12000{n}-00001c", name=word) for n, word in enumerate(words)]


@pytest.fixture(scope="module")
def service() -> Iterator[str]:
    answers = {"/jobs": as_json({"jobs": names(), "next": None}), "/datasets": as_json({"datasets": [], "next": None})}
    with hostile(answers) as server:
        yield server.url


def test_job_ids_and_names_come_from_the_service(home: Path, service: str) -> None:
    offered = complete(home, "follow", "", ACGAN_URL=service, PATIENCE_SECONDS="60")
    assert offered == [f"20260131-12000{n}-00001c" for n in range(4)] + ["mine", "latest"]
    assert complete(home, "cancel", "m", ACGAN_URL=service, PATIENCE_SECONDS="60") == ["mine"]
    assert complete(home, "history", "--url", service, "20260131-120003", PATIENCE_SECONDS="60") == [
        "20260131-120003-00001c"
    ]
    assert complete(home, "delete", "job", "la", ACGAN_URL=service, PATIENCE_SECONDS="60") == ["latest"]
    assert not (home / "pwned").exists()


def test_checkpoints_come_from_the_service_or_the_home_folder(
    home: Path, settings: AppSettings, store: CheckpointStore
) -> None:
    with serving(settings) as address:
        ids = [f"{NEW}-e001", f"{OLD}-e001"]
        assert complete(home, "serving", "", ACGAN_URL=address, PATIENCE_SECONDS="60") == ["newest", "best", *ids]
        assert complete(home, "numbers", "7", "--checkpoint", "l", ACGAN_URL=address, PATIENCE_SECONDS="60") == [
            "latest"
        ]
        assert complete(home, "download", "2026", ACGAN_URL=address, PATIENCE_SECONDS="60") == ids
    (home / "weights.safetensors").touch()
    assert complete(home, "digits", "7", "--checkpoint", "2026", ACGAN_HOME=str(settings.home)) == ids
    bring(store.training_data, "bars")
    assert complete(home, "digits", "7", "--checkpoint", "training", ACGAN_HOME=str(settings.home)) == [""]
    assert complete(home, "evaluate", "wei", ACGAN_HOME=str(settings.home)) == ["weights.safetensors"]


@pytest.mark.parametrize(
    ("words", "values"),
    [
        (["start", "--recipe", ""], ["seed", "sharp", "thorough"]),
        (["train", "--dataset", ""], list(DATASETS)),
        (["start", "--precision", "b"], ["bf16"]),
        (["order", "--layout", ""], ["mnist", "torchvision", "keras", "huggingface"]),
        (["export", "--format", ""], ["onnx", "keras", "keras3", "huggingface"]),
        (["digits", "7", "--format", ""], ["png", "zip", "npy"]),
        (["morph", "3", "8", "--format", ""], ["gif", "webp", "png"]),
        (["jobs", "--status", "c"], ["cancelling", "cancelled"]),
        (["start", "--runs-on", ""], ["any", "cpu", "gpu"]),
        (["evolu"], ["evolution"]),
    ],
)
def test_fixed_values_are_offered(home: Path, words: list[str], values: list[str]) -> None:
    assert complete(home, *words) == values


def test_a_service_that_is_absent_or_answers_nonsense_offers_nothing_and_prints_nothing(home: Path) -> None:
    assert complete(home, "follow", "", ACGAN_URL=f"127.0.0.1:{free_port()}") == [""]
    assert complete(home, "follow", "", ACGAN_URL="ftp://somewhere") == [""]
    with hostile({"/jobs": b"nonsense", "/datasets": b""}) as server:
        assert complete(home, "follow", "", ACGAN_URL=server.url) == [""]
    assert complete(home, "digits", "7", "--checkpoint", "2026", ACGAN_PORT="nonsense") == [""]


def test_a_service_that_stalls_is_given_up(home: Path) -> None:
    def stalled() -> Iterator[bytes]:
        yield b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{"
        time.sleep(60)

    with hostile({"/jobs": stalled, "/datasets": stalled}) as server:
        assert complete(home, "history", JOB_ID[:3], ACGAN_URL=server.url) == [""]
