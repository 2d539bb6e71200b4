"""`acgan up` on a full disk, and with few open files: callers get the reason, and the service recovers."""

import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest

from app.server.home_locks import CannotStart
from app.server.supervisor import naming_what_is_refused
from tests.faults.test_disk import fill
from tests.faults.world import TINY
from tests.support.disks import mounted_disk
from tests.support.running_service import Service, running, stopped_at_the_end

pytestmark = pytest.mark.faults

FILES = 64
CALLERS = 60


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A separate file system of 24 MB."""
    with mounted_disk(tmp_path / "disk", 24) as folder:
        yield folder


def test_a_full_disk_at_the_start_is_named_in_one_sentence(disk: Path) -> None:
    fill(disk)
    command = [sys.executable, "-m", "app.cli", "up", "--home", str(disk / "home")]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 2
    assert "Traceback" not in ended.stderr
    assert "is full: free space" in " ".join(ended.stderr.split())


def test_a_disk_that_fills_up_is_named_and_jobs_are_accepted_again_when_there_is_room(disk: Path) -> None:
    store = disk.parent / "checkpoints"
    with running(disk / "home", ACGAN_STORE=str(store), ACGAN_DEVICE="cpu") as service:
        assert service.client.post("/train", json={**TINY, "epochs": 1}).status_code == 202
        fill(disk)
        refusal = service.until("a job is refused", lambda: refused(service), 60)
        assert (refusal.status_code, "Retry-After" in refusal.headers) == (503, True)
        assert "disk" in refusal.json()["detail"]
        assert "full" in refusal.json()["detail"]
        assert "disk" in service.client.get("/readyz").json()["redis"]
        assert service.client.get("/livez").status_code == 200
        (disk / "filler").unlink()
        job_id = service.until("a job is accepted", lambda: accepted(service), 60)
        assert service.until_ended(job_id)["status"] == "succeeded"


def refused(service: Service) -> httpx2.Response | None:
    answer = service.client.post("/train", json={**TINY, "epochs": 1})
    return None if answer.status_code == 202 else answer


def accepted(service: Service) -> str | None:
    answer = service.client.post("/train", json={**TINY, "epochs": 1})
    return answer.json()["id"] if answer.status_code == 202 else None


def test_with_few_open_files_every_caller_is_answered_and_jobs_run(tmp_path: Path) -> None:
    limited = f'ulimit -n {FILES}; exec {sys.executable} "$@"'
    script = tmp_path / "python"
    script.write_text(f"#!/bin/bash\n{limited}\n")
    script.chmod(0o755)
    limited_service = Service(tmp_path / "home", {"ACGAN_DEVICE": "cpu"}, (str(script), "-m", "app.cli"))
    with stopped_at_the_end(limited_service) as service:
        job_id = service.train(**{**TINY, "epochs": 1})
        answers = ask_at_once(f"http://127.0.0.1:{service.port}", CALLERS)
        assert set(answers) <= {"200", "503"}, answers
        assert answers["200"] > 0
        assert service.until_ended(job_id)["status"] == "succeeded"
        message = service.log.read_text()
    assert f"{FILES}" in message, "the log names the limit"


def ask_at_once(url: str, count: int) -> Counter[str]:
    """Open this many connections at the same time, and send a request over each. Returns the count of each outcome."""
    answers: Counter[str] = Counter()
    everyone, lock = threading.Barrier(count), threading.Lock()

    def ask() -> None:
        with httpx2.Client(base_url=url, timeout=30) as client:
            everyone.wait()
            try:
                answer = str(client.get("/livez").status_code)
            except httpx2.TransportError as error:
                answer = f"{type(error).__name__}: {error}"
            with lock:
                answers[answer] += 1

    threads = [threading.Thread(target=ask) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return answers


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (OSError(28, "No space left on device"), "the disk of /home is full"),
        (OSError(24, "Too many open files"), "ulimit -n"),
        (PermissionError(13, "Permission denied", "/home/logs"), "/home/logs cannot be used (Permission denied)"),
    ],
)
def test_an_operating_system_error_becomes_a_sentence(error: OSError, sentence: str) -> None:
    with pytest.raises(CannotStart) as raised, naming_what_is_refused(Path("/home")):
        raise error
    assert sentence in str(raised.value)
