"""Starts, measures and ends a server: a process with all its children."""

import contextlib
import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

TICKS = os.sysconf("SC_CLK_TCK")
PAGE_MIB = os.sysconf("SC_PAGE_SIZE") / 2**20
START_SECONDS = 120.0
STOP_SECONDS = 10.0


class Process(NamedTuple):
    pid: int
    parent: int
    session: int
    cpu: float  # seconds, including children that have ended
    rss: float  # MiB


class Memory(NamedTuple):
    rss: float  # MiB; a page that is shared counts in each process
    pss: float  # MiB; it counts once


def read_process(folder: Path) -> Process | None:
    try:
        fields = (folder / "stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    cpu = sum(int(field) for field in fields[11:15]) / TICKS
    return Process(int(folder.name), int(fields[1]), int(fields[3]), cpu, int(fields[21]) * PAGE_MIB)


def tree(root: int) -> list[Process]:
    """Return a process, its descendants, and all processes in their sessions."""
    processes = [process for path in Path("/proc").glob("[0-9]*") if (process := read_process(path))]
    members = {root}
    while True:
        sessions = {process.session for process in processes if process.pid in members and process.session in members}
        more = {p.pid for p in processes if p.parent in members or p.session in sessions} - members
        if not more:
            return [process for process in processes if process.pid in members]
        members |= more


def cpu_seconds(root: int) -> float:
    return sum(process.cpu for process in tree(root))


def memory(root: int) -> Memory:
    processes = tree(root)
    pss = 0.0
    for process in processes:
        with contextlib.suppress(OSError):
            lines = Path(f"/proc/{process.pid}/smaps_rollup").read_text().splitlines()
            pss += sum(int(line.split()[1]) for line in lines if line.startswith("Pss:")) / 1024
    return Memory(sum(process.rss for process in processes), pss)


class Running(NamedTuple):
    pid: int
    port: int
    ready_after: float  # seconds from its start to its first good response


@contextlib.contextmanager
def running(command: list[str], env: dict[str, str], folder: Path, port: int, first: bytes) -> Iterator[Running]:
    """Run a server in a new session. The block starts after its first response with 200; the server ends with it."""
    log = folder / "server.log"
    with log.open("wb") as output:
        started = time.monotonic()
        process = subprocess.Popen(  # noqa: S603
            command, env={**os.environ, **env}, stdout=output, stderr=subprocess.STDOUT, start_new_session=True
        )
    try:
        while not answers(port, first):
            if process.poll() is not None or time.monotonic() - started > START_SECONDS:
                raise SystemExit(f"{' '.join(command)} did not start to serve:\n{log.read_text()[-3000:]}")
            time.sleep(0.02)
        yield Running(process.pid, port, time.monotonic() - started)
    finally:
        stop(process)


def answers(port: int, request: bytes) -> bool:
    """Return whether the response to a request is 200."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
            connection.sendall(request)
            return connection.recv(12)[9:12] == b"200"
    except OSError:
        return False


def stop(process: "subprocess.Popen[bytes]") -> None:
    """Send SIGTERM to a server, and after a while SIGKILL to its remaining processes."""
    members = {member.pid for member in tree(process.pid)}
    process.terminate()
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(STOP_SECONDS)
    left = remaining(members - {process.pid}, STOP_SECONDS / 4)
    for pid in left | ({process.pid} if process.poll() is None else set()):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    process.wait()
    remaining(left, STOP_SECONDS)


def remaining(pids: set[int], seconds: float) -> set[int]:
    """Wait until all have ended, at most for this time. Returns those that have not."""
    deadline = time.monotonic() + seconds
    while (left := {pid for pid in pids if alive(pid)}) and time.monotonic() < deadline:
        time.sleep(0.05)
    return left


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
