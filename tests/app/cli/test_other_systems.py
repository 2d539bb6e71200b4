"""On a system without fcntl, resource or fork, commands work, and those that need them exit with a sentence."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from models import file_locks
from models.file_locks import try_lock
from tests.support.hostile_server import IMAGES as IMAGES_NAME
from tests.support.hostile_server import JOB_ID, as_json, dataset, hostile, http, job, manifest, record


def acgan(*words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "tests.support.other_system", *words]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=Path(__file__).parents[3])


def test_commands_that_call_a_service_work(tmp_path: Path) -> None:
    answers = {
        "/jobs": as_json({"jobs": [job()], "next": None}),
        f"/datasets/{JOB_ID}": as_json(dataset()),
        f"/datasets/{JOB_ID}/manifest.json": as_json(manifest({IMAGES_NAME: record(b"data")})),
        f"/datasets/{JOB_ID}/{IMAGES_NAME}": http(b"data"),
    }
    with hostile(answers) as server:
        result = acgan("jobs", "--url", server.url)
        assert (result.returncode, result.stderr, JOB_ID in result.stdout) == (0, "", True)
        result = acgan("download", JOB_ID, "--url", server.url, "-o", str(tmp_path))
        assert (result.returncode, result.stderr) == (0, "")
    assert (tmp_path / IMAGES_NAME).read_bytes() == b"data"


def test_commands_that_need_no_service_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ACGAN_PRETRAINED", "true")
    sizes = ["--epochs", "1", "--batch-size", "20", "--train-examples", "60", "--test-examples", "40"]
    for words in (
        ["--help"],
        ["key", "ana"],
        ["digits", "7", "-o", str(tmp_path / "7.png")],
        ["train", "--dataset", "printed", "--out", str(tmp_path / "run"), *sizes],
        ["digits", "7", "--checkpoint", str(tmp_path / "run" / "params_generator_epoch_001.safetensors")],
        ["export", "-o", str(tmp_path / "g.onnx")],
    ):
        result = acgan(*words)
        assert result.returncode == 0, (words, result.stderr)
    assert (tmp_path / "7.png").read_bytes()[:4] == b"\x89PNG"


@pytest.mark.parametrize("command", ["up", "serve", "worker"])
def test_commands_that_run_the_service_exit_with_a_sentence(command: str) -> None:
    result = acgan(command)
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr.startswith("error: the service runs on Linux, macOS and (in WSL) Windows")
    assert result.stderr.count("\n") == 1


def test_a_lock_is_held_by_one_descriptor(tmp_path: Path) -> None:
    first, second = (os.open(tmp_path / "lock", os.O_RDWR | os.O_CREAT) for _ in range(2))
    assert (try_lock(first), try_lock(second)) == (True, False)
    os.close(first)
    assert try_lock(second)
    os.close(second)


def test_a_system_with_neither_kind_of_lock_has_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(file_locks, "_fcntl", None)
    monkeypatch.setattr(file_locks, "_msvcrt", None)
    first, second = (os.open(tmp_path / "lock", os.O_RDWR | os.O_CREAT) for _ in range(2))
    assert (try_lock(first), try_lock(second)) == (True, True)
    for descriptor in (first, second):
        os.close(descriptor)
