"""`acgan up`: runs Redis, workers and the API on one machine, as child processes that end with it."""

import contextlib
import ctypes
import errno
import logging
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path

import redis

from app.server.embedded_redis import explain, prepare
from app.server.home_locks import CannotStart, hold
from app.server.log_rotation import rotate
from app.server.stop_signals import StopSignals
from app.settings import AppSettings
from models.devices import count_gpus, processors, settle_device
from worker.jobs.consumer import JobConsumer
from worker.jobs.errors import StoreUnavailable
from worker.lifecycle.signal_flag import SignalFlag
from worker.observability.addresses import OPENABLE, host_port, http_address

logger = logging.getLogger(__name__)

PATIENCE_SECONDS = 60.0  # for a part to start
GRACE_SECONDS = 7.0  # for the API to end before it is killed
WORKER_GRACE_SECONDS = 30.0  # a worker saves the state of its run in one or two seconds; on a busy machine in many more
REDIS_GRACE_SECONDS = 2.0
RESTART_SECONDS = 2.0  # between a part's unexpected end and its next start
LAST_WORDS = 16_384  # bytes at the end of a part's log, searched for the reason why it ended
PR_SET_PDEATHSIG = 1
LOCAL = ("127.0.0.1", "0.0.0.0")  # noqa: S104


class Part:
    """A child process in a folder of its own, and in a separate session: Ctrl-C reaches only the supervisor."""

    def __init__(
        self,
        name: str,
        command: list[str],
        environment: Mapping[str, str],
        folder: Path,
        log: Path | None = None,
        explain: Callable[[str], str | None] = lambda _said: None,
    ) -> None:
        self.name = name
        self.command = command
        self.environment = {**os.environ, **environment}
        self.folder = folder
        self.log = log
        self.explain = explain
        self.begun = 0  # size of the log when this process started
        self.process = self._start()

    def _start(self) -> subprocess.Popen[bytes]:
        if self.log is not None:
            self.log.parent.mkdir(parents=True, exist_ok=True)  # it may have been deleted since the first start
        output = None if self.log is None else self.log.open("ab")
        self.begun = 0 if output is None else output.tell()
        try:
            return subprocess.Popen(  # noqa: S603
                self.command,
                cwd=self.folder,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT if output else None,
                start_new_session=True,
                preexec_fn=die_with_parent,
            )
        finally:
            if output:
                output.close()

    def has_ended(self) -> bool:
        return self.process.poll() is not None

    def how_it_ended(self) -> str:
        """Return why the process ended, if the end of its log has the reason, otherwise its exit code."""
        ended = f"{self.name} ended with code {self.process.returncode}"
        if self.log is None:
            return ended
        try:
            with self.log.open("rb") as log:
                size = log.seek(0, os.SEEK_END)
                log.seek(max(self.begun if self.begun <= size else 0, size - LAST_WORDS))
                text = log.read().decode(errors="replace")
        except OSError as error:  # it was deleted, or its disk cannot be read: the part is restarted all the same
            return f"{ended}; {self.log} cannot be read: {error.strerror}"
        return self.explain(text) or f"{ended}: see {self.log}"

    def restart(self) -> None:
        self.end_children()
        self.process = self._start()

    def end_children(self) -> None:
        """Kill the child processes of a part that has ended; they would otherwise keep running."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process.pid, signal.SIGKILL)

    def ask_to_end(self) -> None:
        if not self.has_ended():
            self.process.terminate()

    def end_by(self, deadline: float, is_urgent: Callable[[], bool] = lambda: False) -> bool:
        """Wait for the process to end, and kill it after `deadline`, with all processes that it started.

        Also kills it if `is_urgent` returns true. Returns whether it has ended by itself.
        """
        while not (has_ended := self.has_ended()) and time.monotonic() < deadline and not is_urgent():
            time.sleep(0.05)
        if not has_ended:
            logger.warning("%s did not end in time; killing it", self.name)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        return has_ended


def die_with_parent() -> None:
    """Make the kernel kill this child when its parent is killed (Linux only)."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def up(settings: AppSettings, announce: Callable[[str], None]) -> list[str]:
    """Run all parts until SIGINT, SIGTERM or SIGHUP. Returns the names of the parts that had to be killed then.

    Raises CannotStart, DeviceUnavailable, NoRedisServer.
    """
    home = settings.home.resolve()
    with naming_what_is_refused(home):
        settings.protect_home()
        (home / "logs").mkdir(parents=True, exist_ok=True)
        folder = settings.make_working_folder()
        lock = hold(home)
    check_port(settings.host, settings.port)
    workers = environments(settings)
    signals = StopSignals()
    signals.listen()
    stopping = signals.stopping
    parts: list[Part] = []
    killed: list[str] = []
    environment = {
        **settings.absolute_paths(),
        "ACGAN_HOST": settings.host,
        "ACGAN_PORT": str(settings.port),
        "ACGAN_DRAIN_SECONDS": "0",  # no load balancer could remove it from rotation meanwhile
        "ACGAN_REDIS_URL": settings.redis_url,
    }
    try:
        with naming_what_is_refused(home):
            if "redis_url" not in settings.model_fields_set:
                server = prepare(home / "redis")
                environment["ACGAN_REDIS_URL"] = server.url
                log = home / "logs" / "redis.log"
                parts.append(Part("redis", server.command, {}, folder, log, partial(explain, folder=home / "redis")))
                wait_for("Redis", lambda: answers(server.url), parts, stopping)
            ourselves = [sys.executable, "-P", "-m", "app.cli"]
            for name, variables in workers.items():
                log = home / "logs" / f"{name}.log"
                parts.append(Part(name, [*ourselves, "worker"], environment | variables, folder, log))
            parts.append(Part("api", [*ourselves, "serve"], environment, folder))
        wait_for("the API", lambda: listens(settings.host, settings.port), parts, stopping)
        if not stopping.is_set():
            announce(http_address("localhost" if settings.host in LOCAL else settings.host, settings.port))
        watch(parts, stopping, partial(release, environment["ACGAN_REDIS_URL"], settings.backoff_seconds))
        logger.info("stopping all processes; a run in progress saves its state first")
    finally:
        killed += stop(parts, signals.hurry.is_set)
        lock.close()
    return killed


def release(url: str, backoff_seconds: float, worker: int) -> None:
    """Queue the jobs of an ended worker at once, not only when their leases expire.

    Its other processes have been killed with it, but may still be zombies.
    """
    consumer = JobConsumer.connect(url)
    try:
        if released := consumer.release_ended(worker, lambda _pid: False):
            logger.warning("job %s: its worker has ended; the job is queued again", ", ".join(released))
            consumer.reconcile(backoff_seconds)
    except StoreUnavailable as error:
        logger.warning("the lease of the lost worker could not be released, and stays until it expires: %s", error)
    finally:
        consumer.close()


def environments(settings: AppSettings) -> dict[str, dict[str, str]]:
    """Return the name and the environment of each worker: one GPU each, or an equal share of the processors.

    Raises DeviceUnavailable.
    """
    device = settle_device(settings.device)
    gpus = count_gpus() if device == "cuda" else 0  # `cuda:1` is a single chosen GPU, `cpu` none
    number = settings.workers or max(1, gpus)
    shared: dict[str, dict[str, str]] = {}
    for worker in range(number):
        variables = {"ACGAN_DEVICE": f"cuda:{worker % gpus}" if gpus else device}
        if device == "cpu" and number > 1:
            variables["OMP_NUM_THREADS"] = str(max(1, processors() // number))
        if settings.metrics_port:
            variables["ACGAN_METRICS_PORT"] = str(settings.metrics_port + worker)
        shared["worker" if number == 1 else f"worker-{worker + 1}"] = variables
    return shared


def stop(parts: list[Part], is_urgent: Callable[[], bool]) -> list[str]:
    """Stop workers and API together, then Redis, which workers need to return their jobs to the queue.

    Returns the names of the parts that had to be killed. If `is_urgent` returns true, the others are killed at once.
    """
    users = [part for part in parts if part.name != "redis"]
    for part in users:
        part.ask_to_end()
    asked, killed = time.monotonic(), []
    for part in users:
        grace = GRACE_SECONDS if part.name == "api" else WORKER_GRACE_SECONDS
        if not part.end_by(asked + grace, is_urgent):
            killed.append(part.name)
    for part in parts:
        if part.name == "redis":
            part.ask_to_end()
            part.end_by(time.monotonic() + REDIS_GRACE_SECONDS)
    return killed


def watch(parts: list[Part], stopping: SignalFlag, lost: Callable[[int], None] = lambda _pid: None) -> None:
    """Restart each part that ends, until `stopping` is set. Calls `lost` with the process id of each ended worker."""
    while not stopping.wait(0.2):
        for part in parts:
            if part.log is not None:
                rotate(part.log)
            if part.has_ended():
                logger.error("%s; restarting it", part.how_it_ended())
                part.end_children()
                if part.name.startswith("worker"):
                    lost(part.process.pid)
                if not stopping.wait(RESTART_SECONDS):
                    restart(part)


def restart(part: Part) -> None:
    """Restart a part. If the system cannot start it, log the error; `watch` retries."""
    try:
        part.restart()
    except OSError as error:
        logger.error("%s cannot be started: %s", part.name, error)


@contextlib.contextmanager
def naming_what_is_refused(home: Path) -> Iterator[None]:
    """Convert an OSError into CannotStart, with what to do."""
    try:
        yield
    except OSError as error:
        match error.errno:
            case errno.ENOSPC | errno.EDQUOT:
                reason = f"the disk of {home} is full: free space"
            case errno.EMFILE | errno.ENFILE:
                reason = "the limit of open files is too low: raise it (`ulimit -n`, LimitNOFILE=)"
            case _:
                refused = error.strerror or type(error).__name__
                reason = f"{error.filename or home} cannot be used ({refused}): choose another home with --home"
        raise CannotStart(reason) from error


def wait_for(what: str, ready: Callable[[], bool], parts: list[Part], stopping: SignalFlag) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not stopping.is_set() and not ready():
        for part in parts:
            if part.has_ended():
                raise CannotStart(part.how_it_ended())
        if time.monotonic() > deadline:
            raise CannotStart(f"{what} did not respond within {PATIENCE_SECONDS:.0f} seconds")
        time.sleep(0.05)


def check_port(host: str, port: int) -> None:
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise CannotStart(
                f"cannot listen on {host_port(host, port)} ({error.strerror}): choose another with --port or "
                "ACGAN_PORT, as in `ACGAN_PORT=8001 make up`"
            ) from None


def is_loopback(host: str) -> bool:
    """Return whether only this machine can connect to this address."""
    return host == "localhost" or host == "::1" or host.startswith("127.")


def listens(host: str, port: int) -> bool:
    target = OPENABLE.get(host, host)
    try:
        socket.create_connection((target, port), timeout=1).close()
    except OSError:
        return False
    return True


def answers(url: str) -> bool:
    client = redis.Redis.from_url(url, socket_timeout=1)
    try:
        return bool(client.ping())
    except redis.RedisError:  # not started yet, or still reading its append-only file
        return False
    finally:
        client.close()
