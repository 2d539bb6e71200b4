"""A separate Redis for a benchmark, with the settings of `acgan up`, and its counters."""

import subprocess
import time
from pathlib import Path
from typing import Any, NamedTuple

import redis

from app.server.embedded_redis import prepare
from benchmarks.processes import stop

START_SECONDS = 300.0  # reading a large file takes a while


class RedisServer:
    """Context manager for a server on a free loopback port that writes every change to its file in `folder`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.server = prepare(folder)
        self.url = self.server.url
        self.start()

    @property
    def version(self) -> str:
        with connect(self.url) as client:
            info: dict[str, Any] = client.info("server")
        name = info.get("server_name", "redis")
        return f"{name} {info.get(f'{name}_version')}"

    def start(self) -> None:
        with (self.folder / "redis.log").open("ab") as log:
            self.process = subprocess.Popen(  # noqa: S603
                self.server.command, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
            )
        deadline = time.monotonic() + START_SECONDS
        with connect(self.url) as client:
            while not answers(client):
                if self.process.poll() is not None or time.monotonic() > deadline:
                    stop(self.process)
                    raise SystemExit(f"Redis did not start:\n{(self.folder / 'redis.log').read_text()[-2000:]}")
                time.sleep(0.02)

    def restart(self) -> float:
        """Kill the server and start it again. Returns the seconds until it replies."""
        self.process.kill()
        self.process.wait()
        began = time.monotonic()
        self.start()
        return time.monotonic() - began

    def __enter__(self) -> "RedisServer":
        return self

    def __exit__(self, *_: object) -> None:
        stop(self.process)


def connect(url: str) -> "redis.Redis":
    return redis.Redis.from_url(url, decode_responses=True, socket_timeout=60)


def answers(client: "redis.Redis") -> bool:
    try:
        return bool(client.ping())
    except redis.RedisError:
        return False


# ----------------------------------------------------------------------------
# Counters of the server's work.


class Reading(NamedTuple):
    """Counters of a server since its start, and the time at which they were read."""

    at: float
    calls: dict[str, int]  # by command, including calls by scripts
    script_usec: float  # inside scripts
    cpu: float  # processor seconds of the thread that runs commands, including its system calls
    busy: float  # seconds in which this thread did not wait for requests; includes its waits for the disk
    loops: int  # rounds of this thread; each writes to the disk once
    received: int  # bytes
    sent: int
    memory: int
    file: int  # bytes of the append-only file


def read(client: "redis.Redis") -> Reading:
    info: dict[str, Any] = client.info("everything")
    commands = {name.removeprefix("cmdstat_"): stat for name, stat in info.items() if name.startswith("cmdstat_")}
    return Reading(
        time.monotonic(),
        {name: int(stat["calls"]) for name, stat in commands.items()},
        float(commands.get("evalsha", {}).get("usec", 0)),
        float(info["used_cpu_user_main_thread"]) + float(info["used_cpu_sys_main_thread"]),
        int(info["eventloop_duration_sum"]) / 1e6,
        int(info["eventloop_cycles"]),
        int(info["total_net_input_bytes"]),
        int(info["total_net_output_bytes"]),
        int(info["used_memory"]),
        int(info["aof_current_size"]),
    )


class Work(NamedTuple):
    """Work of a server between two readings. Rates are per second, times per operation are in µs."""

    seconds: float
    scripts: int
    script_usec: float  # inside each script
    cpu_usec: float  # processor time of the thread, divided by the number of scripts
    busy_usec: float
    cpu_share: float
    busy_share: float
    loops: float
    received: float
    sent: float
    file: float
    calls: dict[str, int]

    @property
    def capacity(self) -> float:
        """Scripts per second that one such processor could run with no other work and no waits for the disk."""
        return 1e6 / self.cpu_usec if self.cpu_usec else 0.0


def between(first: Reading, last: Reading) -> Work:
    seconds = last.at - first.at
    calls = {name: count - first.calls.get(name, 0) for name, count in last.calls.items()}
    scripts = calls.get("evalsha", 0)
    usec_a_script = 1e6 / scripts if scripts else 0.0
    return Work(
        seconds,
        scripts,
        (last.script_usec - first.script_usec) * usec_a_script / 1e6,
        (last.cpu - first.cpu) * usec_a_script,
        (last.busy - first.busy) * usec_a_script,
        (last.cpu - first.cpu) / seconds,
        (last.busy - first.busy) / seconds,
        (last.loops - first.loops) / seconds,
        (last.received - first.received) / seconds,
        (last.sent - first.sent) / seconds,
        (last.file - first.file) / seconds,
        {name: count for name, count in calls.items() if count},
    )
