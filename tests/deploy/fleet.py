"""docker-compose.yml with docker-compose.scale.yml, built and run: replicas and workers behind HAProxy."""

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import httpx2
import redis

from tests.deploy.manifests import ROOT
from tests.support.ports import free_port

Answer = TypeVar("Answer")

IMAGE = "acgan-under-test"
# Only these differ from the shipped files: the image's name, and settings that reduce the load on a small machine.
SMALL = f"""
services:
  api:
    image: {IMAGE}
    environment: {{ACGAN_STOCK: "100"}}
  worker:
    image: {IMAGE}
    environment: {{OMP_WAIT_POLICY: passive}}
"""


class Fleet:
    def __init__(self, folder: Path, api: int, worker: int) -> None:
        self.scale = {"api": api, "worker": worker}
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.project = f"acgan-test-{self.port}"
        small = folder / "small.yml"
        small.write_text(SMALL)
        files = [ROOT / "docker-compose.yml", ROOT / "docker-compose.scale.yml", small]
        self.command = ["docker-compose", "--project-directory", str(ROOT), "-p", self.project]
        self.command += [option for path in files for option in ("-f", str(path))]
        self.environment = {**os.environ, "ACGAN_PORT": str(self.port), "OMP_NUM_THREADS": "1"}
        for name in ("ACGAN_DATA_DIR", "ACGAN_API_KEYS", "ACGAN_READ_NEEDS_KEY"):
            self.environment.pop(name, None)

    def compose(self, *words: str) -> str:
        done = subprocess.run(
            [*self.command, *words], env=self.environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
        return done.stdout

    def up(self, *options: str) -> None:
        scales = [word for name, count in self.scale.items() for word in ("--scale", f"{name}={count}")]
        self.compose("up", "-d", *options, *scales)

    def until_ready(self, seconds: float = 600) -> None:
        """Wait until every replica is ready and the proxy has detected it."""
        self.until("the replicas are healthy", lambda: all(map(self.is_healthy, self.containers("api"))), seconds)
        self.until("the proxy has replicas", lambda: httpx2.get(f"{self.url}/readyz").status_code == 200, 60)

    def until(self, what: str, answer: Callable[[], Answer | None], seconds: float) -> Answer:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            try:
                if found := answer():
                    return found
            except httpx2.TransportError:
                pass
            time.sleep(0.5)
        raise AssertionError(f"{what}: not within {seconds} s\n{self.compose('logs', '--tail', '30')}")

    def containers(self, service: str) -> list[str]:
        return self.compose("ps", "-q", service).split()

    def is_healthy(self, container: str) -> bool:
        return inspect(container, "{{.State.Health.Status}}") == "healthy"

    @contextmanager
    def redis(self) -> Iterator["redis.Redis"]:
        """A client of the Redis container, at its address on the Docker host's network."""
        (container,) = self.containers("redis")
        address = inspect(container, "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}")
        with redis.Redis(host=address, decode_responses=True) as client:
            yield client

    def running(self, container: str) -> bool:
        """Whether this worker runs a job now: the records name its container."""
        with self.redis() as client:
            jobs: Any = client.zrange("acgan:leases", 0, -1)
            workers = [client.hget(f"acgan:job:{job}", "worker") or "" for job in jobs]
        return any(inspect(container, "{{.Config.Hostname}}") in worker for worker in workers)

    def end(self) -> None:
        subprocess.run([*self.command, "down", "--volumes", "--timeout", "5"], env=self.environment, check=False)


def inspect(container: str, what: str) -> str:
    return docker("inspect", "--format", what, container)


def docker(*words: str) -> str:
    done = subprocess.run(["docker", *words], capture_output=True, text=True, check=False)  # noqa: S607
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def kill(container: str) -> None:
    """Kill the process from inside: Docker does not restart a container that was killed through Docker."""
    os.kill(int(inspect(container, "{{.State.Pid}}")), signal.SIGKILL)


def reported_epochs(client: "redis.Redis") -> list[tuple[str, int]]:
    """Every epoch in the event stream, in order."""
    events: Any = client.xrange("acgan:events")
    return [(event["job"], json.loads(event["data"])["epoch"]) for _, event in events if event["kind"] == "epoch"]
