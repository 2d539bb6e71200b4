"""Measured lists of jobs from a real `acgan serve`, for scale.py; figures: docs/scale.md, "Lists".

One client at a time requests them: time and size of each response.
"""

import http.client
import random
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from itertools import cycle
from pathlib import Path
from typing import NamedTuple

from app.server.embedded_redis import free_port
from benchmarks.load import percentile
from benchmarks.processes import Running, running
from benchmarks.redis_server import connect
from benchmarks.servers import ROOT, get
from worker.jobs.keys import JOBS

PATIENCE_SECONDS = 60.0


class ListTimes(NamedTuple):
    """Responses to one kind of request. Times are in ms, `size` is the bytes of one response."""

    answers: int
    p50: float
    p99: float
    undisturbed_p50: float  # without the time in which client, server or Redis waited for a processor
    undisturbed_p99: float
    server: float  # processor time for each response; `redis` likewise
    redis: float
    size: int


@contextmanager
def serving(url: str, folder: Path) -> Iterator[Running]:
    """Run `acgan serve` with this Redis, without pre-generated digits, whose drawing would take its processor first."""
    port = free_port()
    fields = {
        "HOME": str(folder / "home"),
        "STORE": "",
        "DEVICE": "cpu",
        "REDIS_URL": url,
        "STOCK": "0",
        "API_KEYS": "",
    }
    env = {"PYTHONPATH": str(ROOT), **{f"ACGAN_{name}": value for name, value in fields.items()}}
    command = [sys.executable, "-m", "app.cli", "serve", "--host", "127.0.0.1", "--port", str(port)]
    with running(command, env, folder, port, get("/jobs?limit=1")) as process:
        yield process


def requests(url: str) -> dict[str, list[str]]:
    """Return paths by kind of request. Those of one kind name different jobs."""
    with connect(url) as client:
        jobs = client.zrange(JOBS, 0, -1)
    chance = random.Random(0)
    older = jobs[: len(jobs) // 2 + 1]
    return {
        "`GET /jobs`": ["/jobs"],
        "`GET /jobs?epochs=last`": ["/jobs?epochs=last"],
        "`GET /jobs?limit=100&epochs=last`": ["/jobs?limit=100&epochs=last"],
        "`GET /jobs?before=`, in the older half": [f"/jobs?before={chance.choice(older)}" for _ in range(50)],
        "`GET /jobs/{id}`": [f"/jobs/{chance.choice(jobs)}" for _ in range(200)],
        "`GET /jobs?status=failed`, one in a thousand": ["/jobs?status=failed"],
        "`GET /jobs?status=cancelled`, none": ["/jobs?status=cancelled"],
    }


def request_all(url: str, folder: Path, answers: int, seconds: float) -> dict[str, ListTimes | None]:
    """Send each kind of request `answers` times or for `seconds`, and at least once."""
    with connect(url) as client:
        redis_pid = int(client.info("server")["process_id"])
    with serving(url, folder) as server:
        caller = Caller(server, redis_pid)
        with closing(caller.connection):
            return {request: caller.measure_all(paths, answers, seconds) for request, paths in requests(url).items()}


class Turns(NamedTuple):
    """Seconds in which a process' first thread, the only one that matters here, ran and waited for a processor."""

    ran: float
    stood: float

    @classmethod
    def of(cls, pid: int | str) -> "Turns":
        ran, stood, _ = Path(f"/proc/{pid}/schedstat").read_text().split()
        return cls(int(ran) / 1e9, int(stood) / 1e9)


class Measurement(NamedTuple):
    """One response: seconds, and bytes."""

    took: float
    undisturbed: float
    server: float
    redis: float
    size: int


class Caller:
    def __init__(self, server: Running, redis_pid: int) -> None:
        self.connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=PATIENCE_SECONDS)
        self.pids = (server.pid, redis_pid, "self")

    def measure_all(self, paths: list[str], answers: int, seconds: float) -> ListTimes | None:
        """Measure one kind of request; None if even the first response takes more than a minute."""
        path, began = cycle(paths), time.monotonic()
        try:
            measured = [self.measure(next(path))]
            while len(measured) <= answers and time.monotonic() - began < seconds:
                measured.append(self.measure(next(path)))
        except TimeoutError:
            self.connection.close()
            return None
        measured = measured[1:] or measured  # the first one includes one-time work
        count = len(measured)
        times, undisturbed = [[1e3 * one[n] for one in measured] for n in (0, 1)]
        server, redis = (1e3 * sum(one[n] for one in measured) / count for n in (2, 3))
        p50, p99 = (percentile(times, share) for share in (0.5, 0.99))
        quiet50, quiet99 = (percentile(undisturbed, share) for share in (0.5, 0.99))
        return ListTimes(count, p50, p99, quiet50, quiet99, server, redis, measured[-1].size)

    def measure(self, path: str) -> Measurement:
        before, asked = [Turns.of(pid) for pid in self.pids], time.perf_counter()
        size = self.request(path)
        took, after = time.perf_counter() - asked, [Turns.of(pid) for pid in self.pids]
        stood = sum(last.stood - first.stood for first, last in zip(before, after, strict=True))
        server, redis, _ = (last.ran - first.ran for first, last in zip(before, after, strict=True))
        return Measurement(took, took - min(took, stood), server, redis, size)

    def request(self, path: str) -> int:
        self.connection.request("GET", path)
        answer = self.connection.getresponse()
        body = answer.read()
        if answer.status != 200:
            raise RuntimeError(f"{path} returned {answer.status}: {body[:200]!r}")
        return len(body)
