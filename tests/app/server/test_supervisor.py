"""`acgan up` and `acgan serve` with their environment: homes, addresses, limits."""

import contextlib
import http.client
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.cli.commands.up import stopped
from app.server import home_locks
from app.server.home_locks import CannotStart, hold, locks_of_path
from app.server.stop_signals import StopSignals
from app.server.supervisor import Part, listens, stop, watch
from models.file_locks import try_lock
from tests.support.ports import free_port
from tests.worker.conftest import until
from worker.lifecycle.signal_flag import SignalFlag
from worker.observability.addresses import http_address

FILES = 64
CALLERS = 60


def test_a_home_runs_one_service(tmp_path: Path) -> None:
    home, other = tmp_path / "home", tmp_path / "other"
    home.mkdir()
    other.mkdir()
    with hold(home), hold(other), pytest.raises(CannotStart, match="another `acgan up` runs"):
        hold(home)
    hold(home).close()


def test_a_renamed_home_admits_no_second_service_at_either_path(tmp_path: Path) -> None:
    """The processes of the first service still use the path, and the folder still holds its lock."""
    home, renamed = tmp_path / "home", tmp_path / "renamed"
    home.mkdir()
    with hold(home):
        home.rename(renamed)
        home.mkdir()
        for folder in (home, renamed):
            with pytest.raises(CannotStart, match="another `acgan up` runs"):
                hold(folder)
    hold(home).close()
    hold(renamed).close()


@pytest.fixture
def runtime(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Folders for temporary files and of the session, which other tests do not use."""
    for name in ("home", f"users/{os.getuid()}", f"users/{os.getuid() + 1}", "temporary"):
        (tmp_path / name).mkdir(parents=True)
    monkeypatch.setattr(home_locks, "PRIVATE", tmp_path / "users")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    return tmp_path


@pytest.mark.parametrize("kind", ["symlink", "dangling", "folder", "pipe"])
def test_what_another_user_puts_in_the_place_of_a_lock_is_ignored(runtime: Path, kind: str) -> None:
    home, target = runtime / "home", runtime / "target"
    locks = locks_of_path(home)
    assert len(locks) == 2
    for lock in locks:
        match kind:
            case "symlink":
                target.touch()
                lock.symlink_to(target)
            case "dangling":
                lock.symlink_to(target)
            case "folder":
                lock.mkdir()
            case "pipe":
                os.mkfifo(lock)
    with hold(home), pytest.raises(CannotStart, match="another `acgan up` runs"):
        hold(home)
    assert target.exists() == (kind == "symlink")


def test_a_lock_that_another_user_holds_is_ignored(runtime: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home, user = runtime / "home", os.getuid()
    if user != 0:  # only root can give a file to another user
        monkeypatch.setattr(os, "getuid", lambda: user + 1)
    with contextlib.ExitStack() as theirs:
        for lock in locks_of_path(home):
            descriptor = os.open(lock, os.O_RDWR | os.O_CREAT, 0o666)
            theirs.callback(os.close, descriptor)
            if user == 0:
                os.fchown(descriptor, 12345, -1)
            assert try_lock(descriptor)
        hold(home).close()


@pytest.mark.parametrize("gone", ["users", "temporary"])
def test_a_new_folder_at_the_path_of_a_running_service_is_refused(runtime: Path, gone: str) -> None:
    """Also if only one of the two folders outside exists."""
    home = runtime / "home"
    with hold(home):
        home.rename(runtime / "renamed")
        home.mkdir()
        shutil.rmtree(runtime / gone)
        with pytest.raises(CannotStart, match="another `acgan up` runs"):
            hold(home)


@pytest.mark.parametrize(("host", "family"), [("::", socket.AF_INET6), ("0.0.0.0", socket.AF_INET)])  # noqa: S104
def test_a_server_on_all_addresses_of_a_family_is_found(host: str, family: socket.AddressFamily) -> None:
    """Servers on `::` accept no IPv4 connections, as asyncio creates them."""
    with socket.socket(family) as server:
        if family == socket.AF_INET6:
            server.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        server.bind((host, 0))
        server.listen()
        assert listens(host, server.getsockname()[1])
    assert not listens(host, free_port())


def test_a_part_whose_log_was_deleted_is_restarted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    log, stopping = tmp_path / "logs" / "worker.log", SignalFlag()
    part = Part(
        "worker", [sys.executable, "-c", "import time; print('it runs', flush=True); time.sleep(60)"], {}, tmp_path, log
    )
    first = part.process.pid
    lost: list[int] = []
    watching = threading.Thread(target=watch, args=([part], stopping, lost.append))
    try:
        until(lambda: b"it runs" in log.read_bytes())
        shutil.rmtree(log.parent)
        watching.start()
        part.process.kill()
        until(lambda: log.exists() and b"it runs" in log.read_bytes())
        assert (lost, part.has_ended()) == ([first], False)
        assert "worker ended with code -9" in caplog.text
    finally:
        stopping.set()
        watching.join(10)
        part.end_children()
        part.process.wait()


WAITS = "import signal, time; signal.signal(signal.SIGTERM, {}); print('up', flush=True); time.sleep(600)"
IGNORES, ENDS = WAITS.format("lambda *_: None"), WAITS.format("lambda *_: exit()")


def test_a_second_signal_kills_only_what_has_not_ended(tmp_path: Path) -> None:
    """One that comes with the first is ignored: supervisors often signal twice."""
    signals = StopSignals()
    parts = [
        Part(name, [sys.executable, "-c", program], {}, tmp_path, tmp_path / name)
        for name, program in (("worker-1", ENDS), ("worker-2", IGNORES), ("api", ENDS))
    ]
    killed: list[str] = []

    def second_signal() -> bool:
        signals.note()
        return signals.hurry.is_set()

    stopping = threading.Thread(target=lambda: killed.extend(stop(parts, signals.hurry.is_set)))
    try:
        until(lambda: all(part.log and part.log.exists() and b"up" in part.log.read_bytes() for part in parts))
        signals.note()
        signals.note()
        assert (signals.stopping.is_set(), signals.hurry.is_set()) == (True, False)
        stopping.start()
        until(lambda: parts[0].has_ended() and parts[2].has_ended())
        assert stopping.is_alive()
        until(second_signal)
        stopping.join(60)
        assert (killed, [part.has_ended() for part in parts]) == (["worker-2"], [True] * 3)
    finally:
        for part in parts:
            part.end_children()
            part.process.wait()


def test_the_last_line_names_what_was_killed() -> None:
    assert stopped([]) == stopped(["api"])
    assert "killed before its state was saved: worker-2." in stopped(["worker-2", "api"])


def test_an_ipv6_address_has_brackets() -> None:
    assert http_address("::1", 8000) == "http://[::1]:8000"
    assert http_address("localhost", 8000) == "http://localhost:8000"


WITHOUT_POSIX = """
import runpy, sys
for name in ("fcntl", "resource", "pwd", "grp", "termios"):
    sys.modules[name] = None
sys.argv[0] = "acgan"
runpy.run_module("app.cli", run_name="__main__")
"""


@pytest.mark.parametrize("command", ["up", "serve", "worker"])
def test_a_system_without_posix_gets_a_sentence(command: str) -> None:
    result = subprocess.run([sys.executable, "-c", WITHOUT_POSIX, command], capture_output=True, text=True, check=False)
    assert result.returncode == 2
    assert "Linux, macOS" in result.stderr
    assert "Traceback" not in result.stderr


@pytest.fixture
def serve_with_few_files(redis_url: str, tmp_path: Path) -> Iterator[tuple[int, "subprocess.Popen[bytes]", Path]]:
    port, log = free_port(), tmp_path / "serve.log"
    command = f"ulimit -n {FILES}; exec {sys.executable} -m app.cli serve --port {port}"
    environment = {**os.environ, "ACGAN_REDIS_URL": redis_url}
    with log.open("wb") as output:
        process = subprocess.Popen(["/bin/bash", "-c", command], stdout=output, stderr=output, env=environment)
    until(lambda: listens("127.0.0.1", port), 60)
    yield port, process, log
    process.kill()
    process.wait()


def test_with_few_open_files_callers_get_a_problem_and_no_reset(
    serve_with_few_files: tuple[int, "subprocess.Popen[bytes]", Path],
) -> None:
    port, process, log = serve_with_few_files
    outcomes: list[object] = []
    together = threading.Barrier(CALLERS)

    def ask() -> None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        together.wait()
        try:
            connection.request("GET", "/readyz")
            outcomes.append(connection.getresponse().status)
        except OSError as error:
            outcomes.append(type(error).__name__)
        together.wait()  # all keep their connections until each has a response
        connection.close()

    threads = [threading.Thread(target=ask) for _ in range(CALLERS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert f"may have {FILES} files open" in log.read_text()
    assert set(outcomes) <= {200, 503}, outcomes
    assert outcomes.count(200) >= 4
    process.send_signal(signal.SIGHUP)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(60)
    assert process.returncode == -signal.SIGTERM, "a closed terminal ends it as SIGTERM does"
