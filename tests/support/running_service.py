"""The whole service as a user starts it: `acgan up`, with its own Redis, worker and API as real processes."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, TypeVar

import httpx2

from tests.support.failures import describe_job, explained, last_lines
from tests.support.ports import free_port

Answer = TypeVar("Answer")

CHECKOUT = (sys.executable, "-m", "app.cli")


class Service:
    def __init__(
        self, home: Path, environment: dict[str, str], program: Sequence[str] = CHECKOUT, folder: Path | None = None
    ) -> None:
        """Start `program up`. With a `folder`, start it there, and give it the home as a relative path."""
        self.home = home
        self.port = free_port()
        self.log = home.parent / f"{home.name}.log"
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("ACGAN_")}
        # Tests train for seconds, and their generators must be served.
        unjudged = {"ACGAN_JUDGE": "false", "ACGAN_PRETRAINED": "false"}
        self.environment = {**inherited, **unjudged, **environment}
        self.client = httpx2.Client(base_url=f"http://127.0.0.1:{self.port}", timeout=60)
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [*program, "up", "--home", os.path.relpath(home, folder) if folder else home, "--port", str(self.port)],
                cwd=folder,
                env=self.environment,
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    def until(self, what: str, answer: Callable[[], Answer | None], seconds: float = 120) -> Answer:
        """Poll until the value is true."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            try:
                if value := answer():
                    return value
            except httpx2.TransportError:
                pass
            except httpx2.HTTPStatusError as error:  # a busy disk can delay Redis beyond the patience of the API
                if error.response.status_code != 503:
                    raise
            assert self.process.poll() is None, f"acgan up ended:\n{self.log.read_text()}"
            time.sleep(0.1)
        raise AssertionError(f"{what}: not within {seconds} s")

    def job(self, job_id: str) -> dict[str, Any]:
        job: dict[str, Any] = self.client.get(f"/jobs/{job_id}").raise_for_status().json()
        return job

    def train(self, **fields: Any) -> str:
        job_id: str = self.client.post("/train", json=fields).raise_for_status().json()["id"]
        return job_id

    def until_ended(self, job_id: str) -> dict[str, Any]:
        def ended() -> dict[str, Any] | None:
            job = self.job(job_id)
            return job if job["status"] in ("succeeded", "failed", "cancelled") else None

        return self.until(f"job {job_id} ends", ended, 300)

    def worker_log(self) -> str:
        log = self.home / "logs" / "worker.log"
        return log.read_text() if log.exists() else ""

    def explain(self) -> str:
        """Each job with its error and trouble from the API, then the last lines of the logs."""
        try:
            jobs = self.client.get("/jobs").raise_for_status().json()["jobs"]
            described = [describe_job(job) for job in jobs]
        except (httpx2.HTTPError, RuntimeError) as error:  # RuntimeError: the client is closed
            described = [f"GET /jobs: {error!r}"]
        return "\n".join([*described, last_lines(self.log), last_lines(self.home / "logs" / "worker.log")])

    def processes(self) -> dict[int, str]:
        """Every living process of this service: its command, environment or folder contains the service's home."""
        processes = {}
        for entry in Path("/proc").iterdir():
            try:
                command = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode()
                known_by = (entry / "environ").read_bytes().decode() + command + str((entry / "cwd").readlink())
            except (OSError, UnicodeDecodeError):
                continue
            if command and entry.name != str(os.getpid()) and str(self.home) in known_by:
                processes[int(entry.name)] = command
        return processes

    def find(self, part: str) -> int:
        """The process id of a part: `-server 127.0.0.1` (Redis), `app.cli worker`, `app.cli serve`."""
        return next(pid for pid, command in self.processes().items() if part in command)

    @contextmanager
    def without_restarts(self) -> Iterator[None]:
        """Within this block `acgan up` is stopped, and restarts no part that ends: it would after two seconds."""
        self.process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self.process.send_signal(signal.SIGCONT)

    def stop(self) -> float:
        """Press Ctrl-C. Returns the seconds until every process had ended."""
        started = time.monotonic()
        self.process.send_signal(signal.SIGINT)
        code = self.process.wait(60)
        assert code == 0, f"acgan up ended with {code}:\n{self.log.read_text()}"
        return time.monotonic() - started


def running(home: Path, **environment: str) -> AbstractContextManager[Service]:
    return stopped_at_the_end(Service(home, environment))


@contextmanager
def stopped_at_the_end(service: Service) -> Iterator[Service]:
    """Wait until the API answers."""
    try:
        with explained(service):
            service.until("the API answers", lambda: service.client.get("/livez").status_code == 200)
            yield service
    finally:
        service.client.close()
        if service.process.poll() is None:
            service.process.terminate()
            try:
                service.process.wait(20)
            except subprocess.TimeoutExpired:
                service.process.kill()
                service.process.wait()
