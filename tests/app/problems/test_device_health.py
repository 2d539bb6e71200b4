"""An API whose device is broken, as after an illegal memory access of a GPU, ends, so that a new process is started.

On a CPU no such error occurs: the tests raise torch's own error where a GPU would.
"""

import os
import subprocess
import sys
import threading
from pathlib import Path

import httpx2
import pytest
import torch

from app.main import create_app
from app.server.server import Server
from app.server.supervisor import listens
from app.settings import AppSettings
from models.registry.store import CheckpointStore
from tests.support.ports import free_port
from tests.support.serving import until
from worker.lifecycle.lease import EXIT_CODE

ILLEGAL_ACCESS = "CUDA error: an illegal memory access was encountered"
OUT_OF_MEMORY = "CUDA error: out of memory"
BROKEN = f"""
import torch
from app.inference import batcher

def fail(*_):
    raise torch.AcceleratorError({ILLEGAL_ACCESS!r})

batcher.draw_batch = fail
import app.cli.__main__
"""


class Running:
    """A server in a thread whose device raises an error at each draw. Without a stock, each request draws."""

    def __init__(self, settings: AppSettings, monkeypatch: pytest.MonkeyPatch, error: str, drain: float) -> None:
        def fail(*_: object) -> None:
            raise torch.AcceleratorError(error)

        monkeypatch.setattr("app.inference.batcher.draw_batch", fail)
        port = free_port()
        self.address = f"http://127.0.0.1:{port}"
        self.server = Server(create_app(settings.model_copy(update={"stock": 0})), drain, port=port)
        self.thread = threading.Thread(target=self.server.run)
        self.thread.start()
        until("the server listens", lambda: self.server.started)

    def end(self) -> None:
        self.server.drain_seconds, self.server.should_exit = 0.0, True
        self.thread.join()

    def get(self, path: str) -> httpx2.Response:
        return httpx2.get(self.address + path, timeout=60)


def test_a_broken_device_is_reported_and_ends_the_server(
    settings: AppSettings, store: CheckpointStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    running = Running(settings, monkeypatch, ILLEGAL_ACCESS, drain=3600)
    try:
        assert running.get("/readyz").json()["ready"]
        answer = running.get("/digits/3?seed=4")
        assert (answer.status_code, answer.json()["type"]) == (503, "/problems/unavailable")
        assert "the service restarts" in answer.json()["detail"]
        assert int(answer.headers["Retry-After"])
        until("it is not ready", lambda: running.get("/readyz").status_code == 503)
        assert running.get("/readyz").json()["draining"]
        assert running.get("/jobs").status_code == 200  # other requests are answered until the end
    finally:
        running.end()


def test_too_little_memory_is_reported_and_ends_nothing(
    settings: AppSettings, store: CheckpointStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    running = Running(settings, monkeypatch, OUT_OF_MEMORY, drain=0)
    try:
        answer = running.get("/digits/3?seed=4")
        assert (answer.status_code, answer.json()["type"]) == (503, "/problems/unavailable")
        assert "too little memory" in answer.json()["detail"]
        assert not running.server.device_is_broken
    finally:
        running.end()


def test_serve_ends_with_an_exit_code_after_which_it_is_started_again(redis_url: str, tmp_path: Path) -> None:
    port = free_port()
    words = ["serve", "--port", str(port), "--home", str(tmp_path / "home")]
    environment = {**os.environ, "ACGAN_REDIS_URL": redis_url, "ACGAN_STOCK": "0", "ACGAN_PRETRAINED": "1"}
    with (
        (tmp_path / "log").open("wb") as log,
        subprocess.Popen([sys.executable, "-c", BROKEN, *words], env=environment, stderr=log) as process,
    ):
        try:
            until("it listens", lambda: listens("127.0.0.1", port))
            answer = httpx2.get(f"http://127.0.0.1:{port}/digits/3?seed=4", timeout=60)
            assert answer.json()["type"] == "/problems/unavailable"
            assert process.wait(60) == EXIT_CODE
        finally:
            process.kill()
    assert ILLEGAL_ACCESS in (tmp_path / "log").read_text()
