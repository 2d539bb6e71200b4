"""The addresses that the service prints, the mode of its home, and variables of other programs."""

import os
import stat
import subprocess
import sys
from pathlib import Path

import httpx2
import pytest

from app.server.embedded_redis import prepare
from app.server.supervisor import listens
from models.atomic_files import make_private
from tests.app.middleware.test_request_log import Process, running
from tests.support.ports import free_port
from tests.support.serving import until
from worker.observability.addresses import host_port, http_address
from worker.settings import WorkerSettings


@pytest.mark.parametrize(
    ("host", "written", "opened"),
    [
        ("127.0.0.1", "127.0.0.1:80", "http://127.0.0.1:80"),
        ("::1", "[::1]:80", "http://[::1]:80"),
        ("::", "[::]:80", "http://[::1]:80"),
        ("0.0.0.0", "0.0.0.0:80", "http://127.0.0.1:80"),  # noqa: S104
        ("fe80::1%eth0", "[fe80::1%eth0]:80", "http://[fe80::1%eth0]:80"),
        ("example.com", "example.com:80", "http://example.com:80"),
    ],
)
def test_a_printed_address_can_be_opened(host: str, written: str, opened: str) -> None:
    assert host_port(host, 80) == written
    assert http_address(host, 80) == opened


def printed_address(process: Process) -> str:
    return next((word for word in process.text.split() if word.startswith("http://")), "")


@pytest.mark.parametrize("host", ["::1", "::", "0.0.0.0"])  # noqa: S104
def test_serve_and_the_worker_print_addresses_that_answer(redis_url: str, tmp_path: Path, host: str) -> None:
    port = free_port()
    settings = {"REDIS_URL": redis_url, "LOG_FORMAT": "text", "HOST": host, "PORT": str(port)}
    with running(tmp_path, "serve", **settings) as process:
        until("it listens", lambda: listens(host, port), 60)
        assert httpx2.get(f"{printed_address(process)}/livez").status_code == 200


def test_a_port_in_use_is_named_with_brackets(redis_url: str, tmp_path: Path) -> None:
    port = free_port()
    settings = {"REDIS_URL": redis_url, "HOST": "::1", "PORT": str(port)}
    with running(tmp_path, "serve", **settings):
        until("it listens", lambda: listens("::1", port), 60)
        (tmp_path / "other").mkdir()
        with running(tmp_path / "other", "serve", **settings) as second:
            assert second.process.wait(60) == 2
            assert f"[::1]:{port}" in second.text


@pytest.mark.parametrize("exists", [False, True])
def test_a_variable_of_another_program_is_ignored(
    redis_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, exists: bool
) -> None:
    folder = tmp_path / "multiproc"
    if exists:
        folder.mkdir()
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(folder))
    port = free_port()
    with running(tmp_path, "serve", "--port", str(port), REDIS_URL=redis_url):
        until("it listens", lambda: listens("127.0.0.1", port), 60)
        assert "acgan_http_requests_in_flight 1.0" in httpx2.get(f"http://127.0.0.1:{port}/metrics").text
    made = subprocess.run(
        [sys.executable, "-c", "from worker.observability import metrics; metrics.JOBS_TAKEN.inc()"], check=False
    )
    assert made.returncode == 0
    assert folder.exists() is exists
    assert not exists or list(folder.iterdir()) == []


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_only_its_owner_can_enter_the_home(tmp_path: Path) -> None:
    fresh, old = tmp_path / "a" / "fresh", tmp_path / "old"
    old.mkdir(mode=0o755)
    for home in (fresh, old):
        WorkerSettings(home=home).open_store()
        assert mode(home) == 0o700
    prepare(tmp_path / "redis")
    assert mode(tmp_path / "redis") == 0o700


def test_the_mode_of_a_shared_home_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here, sticky, below = tmp_path / "here", tmp_path / "sticky", tmp_path / "here" / "below"
    for folder, wanted in ((here, 0o755), (sticky, 0o1777), (below, 0o755)):
        folder.mkdir()
        folder.chmod(wanted)
    monkeypatch.setenv("HOME", str(here))
    make_private(here)
    monkeypatch.setenv("HOME", "/")
    monkeypatch.chdir(below)
    for folder in (here, sticky, below):
        make_private(folder)
    assert [mode(folder) for folder in (here, sticky, below)] == [0o755, 0o1777, 0o755]
    if os.geteuid() == 0:
        foreign = tmp_path / "foreign"
        foreign.mkdir(mode=0o755)
        os.chown(foreign, 1, 1)
        make_private(foreign)
        assert mode(foreign) == 0o755


def test_serve_closes_its_home(redis_url: str, tmp_path: Path) -> None:
    home, port = tmp_path / "served", free_port()
    home.mkdir(mode=0o755)
    with running(tmp_path, "serve", "--port", str(port), REDIS_URL=redis_url, HOME=str(home)):
        until("it listens", lambda: listens("127.0.0.1", port), 60)
        assert mode(home) == 0o700
