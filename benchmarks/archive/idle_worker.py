"""Measured the requests of an idle `acgan worker` to Redis, for scale.py; figures: docs/scale.md, "Load on Redis"."""

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

from benchmarks.processes import stop
from benchmarks.redis_server import between, connect, read
from benchmarks.servers import ROOT

START_SECONDS = 120.0
BY_THIS_BENCHMARK = frozenset({"info", "client|list"})


class IdleWorker(NamedTuple):
    connections: int
    commands: float  # per second
    received: float  # bytes per second
    sent: float
    most: str  # the most frequent commands, with their number per second


def measure_idle_worker(url: str, folder: Path, seconds: float) -> IdleWorker:
    """Run a worker for this time. No job may be waiting."""
    variables = {"HOME": str(folder / "worker"), "STORE": "", "DEVICE": "cpu", "REDIS_URL": url, "LOG_FORMAT": "json"}
    env = {**os.environ, "PYTHONPATH": str(ROOT), **{f"ACGAN_{name}": value for name, value in variables.items()}}
    with connect(url) as client, (folder / "worker.log").open("wb") as log:
        before, listening = len(client.client_list()), read(client).calls.get("brpop", 0)
        process = subprocess.Popen(
            [sys.executable, "-m", "app.cli", "worker"],
            env=env, stdout=log, stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip
        try:
            deadline = time.monotonic() + START_SECONDS
            while read(client).calls.get("brpop", 0) == listening:
                if process.poll() is not None or time.monotonic() > deadline:
                    raise SystemExit(f"the worker does not listen:\n{(folder / 'worker.log').read_text()[-2000:]}")
                time.sleep(0.1)
            first = read(client)
            time.sleep(seconds)
            work = between(first, read(client))
            connections = len(client.client_list()) - before
        finally:
            stop(process)
    calls = {name: count / work.seconds for name, count in work.calls.items() if name not in BY_THIS_BENCHMARK}
    often = sorted(calls, key=lambda name: -calls[name])[:4]
    most = ", ".join(f"{name} {calls[name]:.2f}" for name in often)
    return IdleWorker(connections, sum(calls.values()), work.received, work.sent, most)
