"""`acgan up`: everything on one machine. Redis, a worker and the API as processes of its own, which end with it."""

import contextlib
import ctypes
import errno
import hashlib
import logging
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path

import redis

from app.server.embedded_redis import explain, prepare
from app.server.log_rotation import rotate
from app.settings import AppSettings
from models.devices import count_gpus, processors, settle_device
from models.file_locks import try_lock
from worker.jobs.consumer import JobBench
from worker.observability.addresses import OPENABLE, host_port, http_address

logger = logging.getLogger(__name__)

PATIENCE_SECONDS = 60.0  # for a part to come up
GRACE_SECONDS = 7.0  # for worker and API to go down before they are killed; all together take less than ten
REDIS_GRACE_SECONDS = 2.0
RESTART_SECONDS = 2.0  # between a part's unexpected end and its next start
LAST_WORDS = 16_384  # bytes of a part's log that may say why it ended
PR_SET_PDEATHSIG = 1
LOCAL = ("127.0.0.1", "0.0.0.0")  # noqa: S104


class CannotStart(Exception):
    """Something stands in the way. The message says what, and what to do."""


class Part:
    """One child process, in a session of its own so that Ctrl-C reaches only us."""

    def __init__(
        self,
        name: str,
        command: list[str],
        environment: Mapping[str, str],
        log: Path | None = None,
        explain: Callable[[str], str | None] = lambda _said: None,
    ) -> None:
        self.name = name
        self.command = command
        self.environment = {**os.environ, **environment}
        self.log = log
        self.explain = explain
        self.begun = 0  # how long the log was when this process began to write it
        self.process = self._start()

    def _start(self) -> subprocess.Popen[bytes]:
        output = None if self.log is None else self.log.open("ab")
        self.begun = 0 if output is None else output.tell()
        try:
            return subprocess.Popen(  # noqa: S603
                self.command,
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
        """Say why it ended, where its last words tell it, and else with which code."""
        if self.log is None:
            return f"{self.name} ended with code {self.process.returncode}"
        with self.log.open("rb") as log:
            size = self.log.stat().st_size
            log.seek(max(self.begun if self.begun <= size else 0, size - LAST_WORDS))
            said = log.read().decode(errors="replace")
        return self.explain(said) or f"{self.name} ended with code {self.process.returncode}: see {self.log}"

    def restart(self) -> None:
        self.end_children()
        self.process = self._start()

    def end_children(self) -> None:
        """End what a process that has ended itself left behind: it would go on without its parent."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process.pid, signal.SIGKILL)

    def ask_to_end(self) -> None:
        if not self.has_ended():
            self.process.terminate()

    def end_by(self, deadline: float) -> None:
        """Wait for the end, then insist. Whatever it started itself ends with it."""
        try:
            self.process.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            logger.warning("%s does not end by itself; killing it", self.name)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


def die_with_parent() -> None:
    """Let the kernel end this child when its parent is killed outright (Linux only)."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def up(settings: AppSettings, announce: Callable[[str], None]) -> None:
    """Run everything until SIGINT, SIGTERM or SIGHUP. Raises CannotStart, DeviceUnavailable, or NoRedisServer."""
    home = settings.home.resolve()
    with naming_what_is_refused(home):
        settings.protect_home()
        (home / "logs").mkdir(parents=True, exist_ok=True)
        lock = hold(home)
    check_port(settings.host, settings.port)
    workers = environments(settings)
    stopping = threading.Event()
    for sign in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(sign, lambda *_: stopping.set())

    parts: list[Part] = []
    environment = {
        "ACGAN_HOME": str(home),
        "ACGAN_HOST": settings.host,
        "ACGAN_PORT": str(settings.port),
        "ACGAN_DRAIN_SECONDS": "0",  # nobody would take it out of anything meanwhile
        "ACGAN_REDIS_URL": settings.redis_url,
    }
    try:
        with naming_what_is_refused(home):
            if "redis_url" not in settings.model_fields_set:
                server = prepare(home / "redis")
                environment["ACGAN_REDIS_URL"] = server.url
                log = home / "logs" / "redis.log"
                parts.append(Part("redis", server.command, {}, log, partial(explain, folder=home / "redis")))
                wait_for("Redis", lambda: answers(server.url), parts, stopping)
            ourselves = [sys.executable, "-m", "app.cli"]
            for name, own in workers.items():
                parts.append(Part(name, [*ourselves, "worker"], environment | own, home / "logs" / f"{name}.log"))
            parts.append(Part("api", [*ourselves, "serve"], environment))
        wait_for("the API", lambda: listens(settings.host, settings.port), parts, stopping)
        if not stopping.is_set():
            announce(http_address("localhost" if settings.host in LOCAL else settings.host, settings.port))
        watch(parts, stopping, partial(release, environment["ACGAN_REDIS_URL"], settings.backoff_seconds))
        logger.info("ending everything; a run that is under way keeps its state first")
    finally:
        stop(parts)
        lock.close()


def release(url: str, backoff_seconds: float, worker: int) -> None:
    """Queue at once what a worker held that has ended, instead of when its lease runs out.

    Its other processes have been killed with it, but may still be zombies.
    """
    bench = JobBench.connect(url)
    try:
        if released := bench.release_ended(worker, lambda _pid: False):
            logger.warning("job %s: its worker has ended; it is queued again", ", ".join(released))
            bench.reconcile(backoff_seconds)
    except redis.RedisError as error:
        logger.warning("the lease of the lost worker stays until it runs out: %s", error)
    finally:
        bench.close()


def environments(settings: AppSettings) -> dict[str, dict[str, str]]:
    """Name the workers, and share the machine out between them: to each its GPU, or its part of the processors.

    Raises DeviceUnavailable.
    """
    device = settle_device(settings.device)
    gpus = count_gpus() if device == "cuda" else 0  # `cuda:1` is one that was chosen, and `cpu` none
    number = settings.workers or max(1, gpus)
    shared: dict[str, dict[str, str]] = {}
    for worker in range(number):
        own = {"ACGAN_DEVICE": f"cuda:{worker % gpus}" if gpus else device}
        if device == "cpu" and number > 1:
            own["OMP_NUM_THREADS"] = str(max(1, processors() // number))
        if settings.metrics_port:
            own["ACGAN_METRICS_PORT"] = str(settings.metrics_port + worker)
        shared["worker" if number == 1 else f"worker-{worker + 1}"] = own
    return shared


def stop(parts: list[Part]) -> None:
    """End worker and API together, and Redis after them: the worker still has to hand its job back."""
    users = [part for part in parts if part.name != "redis"]
    for part in users:
        part.ask_to_end()
    deadline = time.monotonic() + GRACE_SECONDS
    for part in users:
        part.end_by(deadline)
    for part in parts:
        if part.name == "redis":
            part.ask_to_end()
            part.end_by(time.monotonic() + REDIS_GRACE_SECONDS)


def watch(parts: list[Part], stopping: threading.Event, lost: Callable[[int], None] = lambda _pid: None) -> None:
    """Restart each part that ends, until we are asked to stop. Calls `lost` with the process id of a lost worker."""
    while not stopping.wait(0.2):
        for part in parts:
            if part.log is not None:
                rotate(part.log)
            if part.has_ended():
                logger.error("%s; starting it again", part.how_it_ended())
                part.end_children()
                if part.name.startswith("worker"):
                    lost(part.process.pid)
                if not stopping.wait(RESTART_SECONDS):
                    restart(part)


def restart(part: Part) -> None:
    """Start a part that has ended again. If the system refuses, log it: `watch` tries again."""
    try:
        part.restart()
    except OSError as error:
        logger.error("%s cannot be started: %s", part.name, error)


@contextlib.contextmanager
def naming_what_is_refused(home: Path) -> Iterator[None]:
    """Raises CannotStart, with what to do, for an error of the system inside."""
    try:
        yield
    except OSError as error:
        match error.errno:
            case errno.ENOSPC | errno.EDQUOT:
                reason = f"the disk of {home} is full: make room"
            case errno.EMFILE | errno.ENFILE:
                reason = "too few files may be open: raise the limit (`ulimit -n`, LimitNOFILE=)"
            case _:
                refused = error.strerror or type(error).__name__
                reason = f"{error.filename or home} cannot be used ({refused}): choose another home with --home"
        raise CannotStart(reason) from error


def wait_for(what: str, ready: Callable[[], bool], parts: list[Part], stopping: threading.Event) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not stopping.is_set() and not ready():
        for part in parts:
            if part.has_ended():
                raise CannotStart(part.how_it_ended())
        if time.monotonic() > deadline:
            raise CannotStart(f"{what} did not answer within {PATIENCE_SECONDS:.0f} seconds")
        time.sleep(0.05)


def hold(home: Path) -> contextlib.ExitStack:
    """Keep the home for this process alone, by its folder and by its path.

    A lock inside the folder moves with a folder that is renamed, while this process' parts still use the path: the
    second lock keeps another `acgan up` from a new folder there. Returns what releases both. Raises CannotStart.
    """
    path = hashlib.sha256(str(home).encode()).hexdigest()[:16]
    locks = contextlib.ExitStack()
    for lock in (home / "up.lock", Path(tempfile.gettempdir()) / f"acgan-up-{os.getuid()}-{path}.lock"):
        descriptor = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        locks.callback(os.close, descriptor)
        if not try_lock(descriptor):
            locks.close()
            raise CannotStart(
                f"another `acgan up` runs on {home}: stop it first, or give this one a home of its own with --home"
            )
    return locks


def check_port(host: str, port: int) -> None:
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise CannotStart(
                f"cannot listen on {host_port(host, port)} ({error.strerror}): choose another with --port"
            ) from None


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches what listens there."""
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
    except redis.RedisError:  # not yet up, or still reading its append-only file
        return False
    finally:
        client.close()
