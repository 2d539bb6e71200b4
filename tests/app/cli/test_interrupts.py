"""Ctrl-C: every command that can wait ends with one line that says what continues, and exit code 130."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.cli.application import GROUPS, PANELS
from tests.app.conftest import fresh_weights
from tests.models.interop.test_keras import write_like_keras
from tests.support.hostile_server import JOB_ID, Answer, as_json, dataset, evaluation, hostile, job
from tests.support.serving import until

WAITING = {
    "start": (["start"], "`acgan jobs` lists it"),
    "start --follow": (["start", "--follow"], f"`acgan follow {JOB_ID}` follows it again"),
    "jobs": (["jobs"], "nothing was changed"),
    "follow": (["follow", JOB_ID], f"`acgan cancel {JOB_ID}` cancels it"),
    "cancel": (["cancel", JOB_ID], "may have received the request"),
    "resume": (["resume", JOB_ID], "may have received the request"),
    "retry": (["retry", JOB_ID], "may have received the request"),
    "front": (["front", "latest"], "may have received the request"),
    "label": (["label", JOB_ID, "--name", "mine"], "may have received the request"),
    "history": (["history", JOB_ID], "nothing was changed"),
    "checkpoints": (["checkpoints"], "nothing was changed"),
    "serving": (["serving", "best"], "`acgan serving` prints it"),
    "import": (["import", "g.safetensors"], "never published twice"),
    "numbers": (["numbers", "31"], "nothing was changed"),
    "morph": (["morph", "3", "8"], "nothing was changed"),
    "evolution": (["evolution", JOB_ID], "nothing was changed"),
    "images": (["images", "mnist", "-o", "x.png"], "nothing was changed"),
    "order": (["order"], "`acgan datasets` lists it"),
    "datasets": (["datasets"], "nothing was changed"),
    "download a data set": (
        ["download", JOB_ID, "-o", "mine"],
        "-o mine` downloads the others",
    ),
    "download a checkpoint": (["download", "latest"], "complete files are kept"),
    "delete": (["delete", "job", JOB_ID, "--yes"], "repeat it"),
    "training-data add": (["training-data", "add", "x", "g.safetensors", "--upload"], "they are stored once"),
    "train": (["train", "--out", "run"], "the same command starts again"),
    "evaluate": (["evaluate", "g.safetensors"], "the same command starts again"),
    "evaluate --service": (["evaluate", "latest", "--service"], f"`acgan follow {JOB_ID}` follows it"),
    "download an archive": (
        ["download", JOB_ID, "--layout", "torchvision", "-o", "mine"],
        f"nothing is kept of an archive: `acgan download {JOB_ID} --layout torchvision -o mine` downloads it again",
    ),
    "import-keras": (["import-keras", "keras"], "epochs that are published stay"),
}
OTHERS = {
    "digits": "draws within seconds",
    "export": "writes within seconds",
    "key": "waits for nothing",
    "up": "Ctrl-C ends it in order: tests/e2e",
    "serve": "Ctrl-C ends it in order: tests/e2e",
    "worker": "Ctrl-C ends it in order: tests/e2e",
    "training-data list": "reads the store",
    "training-data show": "reads the store",
    "training-data remove": "waits only for an answer to its question",
}
OF_TWO_REQUESTS = {"start --follow", "download a data set", "download an archive", "evaluate --service"}
ANSWERED: dict[str, bytes] = {
    "/train": as_json(job()),
    f"/datasets/{JOB_ID}": as_json(dataset()),
    "/evaluations": as_json(evaluation()),
}


def stalled(kind: bytes) -> Iterator[bytes]:
    """A response whose end never arrives."""
    yield b"HTTP/1.1 200 OK\r\nContent-Type: " + kind + b"\r\nContent-Length: 1000\r\n\r\n"
    while True:
        time.sleep(60)
        yield b" "


class Answers(dict[str, bytes]):
    """Some responses; those to all other requests stall."""

    def get(self, path: str, _other: object = None) -> Answer:  # type: ignore[override]
        kind = b"text/event-stream" if path.endswith("/events") else b"application/json"
        return self[path] if path in self else stalled(kind)


def test_every_command_is_tested_here_or_does_not_wait() -> None:
    commands = {name for commands in PANELS.values() for name in commands}
    commands |= {f"{group} {name}" for group, (_, members) in GROUPS.items() for name in members}
    waiting = {" ".join(words[: 2 if words[0] in GROUPS else 1]) for words, _ in WAITING.values()}
    assert waiting | OTHERS.keys() == commands
    assert not waiting & OTHERS.keys()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("work")
    (folder / "g.safetensors").write_bytes(fresh_weights(7))
    (folder / "keras").mkdir()
    write_like_keras(folder / "keras" / "params_generator_epoch_001.hdf5", "generator", "sequential_4/")
    return folder


@pytest.mark.parametrize("name", WAITING)
def test_ctrl_c_says_what_continues(name: str, folder: Path) -> None:
    words, sentence = WAITING[name]
    answered = Answers(ANSWERED if name in OF_TWO_REQUESTS else {})
    with hostile(answered) as service:
        environment = {**os.environ, "ACGAN_URL": service.url, "ACGAN_HOME": "home", "ACGAN_JUDGE": "true"}
        environment |= {"ACGAN_MNIST_MIRRORS": f"{service.url}/", "PYTHONPATH": os.pathsep.join(sys.path)}
        environment.pop("ACGAN_DATA_DIR", None)
        process = subprocess.Popen(
            [sys.executable, "-m", "app.cli", *words],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environment,
            cwd=folder,
        )
        requests = 2 if answered else 1
        until("the command waits", lambda: len(service.requests) >= requests or process.poll() is not None, 60)
        time.sleep(0.1)
        process.send_signal(signal.SIGINT)
        _, printed = process.communicate(timeout=60)
    assert process.returncode == 130, printed
    last = printed.strip().splitlines()[-1]
    assert last.startswith("stopped: ")
    assert sentence in last
    assert "Traceback" not in printed
    assert "Aborted" not in printed
