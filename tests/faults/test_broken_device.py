"""`acgan up` on a machine whose GPU reports a fault once in a worker and once in the API: both processes are replaced.

On a CPU no such error occurs: a module that Python imports at its start raises torch's own error where a GPU would.
"""

import os
from pathlib import Path

import pytest

from tests.faults.world import TINY
from tests.support.running_service import running

pytestmark = pytest.mark.faults

ROOT = Path(__file__).parents[2]
RESTARTED = "api ended with code 75; restarting it"
DIGITS = "/digits/3?seed=4"

BREAK_ONCE = """
import os, pathlib, sys

def broken_once(name, real):
    mark = pathlib.Path(os.environ["MARKS"]) / name

    def run(*args):
        import torch
        if mark.exists():
            return real(*args)
        mark.write_text(str(os.getpid()))
        raise torch.AcceleratorError("CUDA error: an illegal memory access was encountered")

    return run

if "serve" in sys.orig_argv:
    from app.inference import batcher
    batcher.draw_batch = broken_once("api", batcher.draw_batch)
elif "up" not in sys.orig_argv:  # the worker, and the process that runs its jobs
    from worker import runner
    runner.HANDLERS = {kind: broken_once("worker", handler) for kind, handler in runner.HANDLERS.items()}
"""


def test_processes_that_lose_their_device_are_replaced(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(BREAK_ONCE)
    marks = tmp_path / "marks"
    marks.mkdir()
    environment = {
        "PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}",
        "MARKS": str(marks),
        "ACGAN_PRETRAINED": "true",
        "ACGAN_STOCK": "0",
        "ACGAN_DEVICE": "cpu",
    }
    with running(tmp_path / "home", **environment) as service:
        first, second = (service.train(**TINY | {"epochs": 1}) for _ in range(2))
        assert "illegal memory access" in service.until_ended(first)["error"]
        assert service.until_ended(second)["status"] == "succeeded"
        answer = service.client.get(DIGITS)
        assert (answer.status_code, answer.json()["type"]) == (503, "/problems/unavailable")
        service.until("the API ends", lambda: RESTARTED in service.log.read_text())
        service.until("the API draws again", lambda: service.client.get(DIGITS).status_code == 200)
        assert {mark.name for mark in marks.iterdir()} == {"api", "worker"}
