"""Runs the process that builds training data, and ends it if it exceeds its limits or must stop.

Only Linux shows the memory that processes use; elsewhere the limit of the address space applies alone.
"""

import errno
import logging
import os
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from models.bounded_reading import printable
from models.data.building.built import Built
from models.errors import InvalidInput, TrainingFailed
from worker.importing.files import read_result
from worker.importing.program import Message, Request, parse
from worker.importing.resource_limits import memory_of_session

logger = logging.getLogger(__name__)

COMMAND = (sys.executable, "-P", "-m", "worker.importing.program")
CHECK_SECONDS = 0.1
MEASURE_SECONDS = 0.5  # between two measurements of the memory
LINE_BYTES = 1 << 14
LOG = "import.log"
LOG_BYTES = 2000
# The variables that the process gets: it needs no address, no key and no proxy.
PASSED_ON = ("PATH", "PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV", "LD_LIBRARY_PATH", "SYSTEMROOT", "LANG", "LC_ALL")
OWN = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MALLOC_ARENA_MAX": "2", "PYTHONUTF8": "1"}

Report = Callable[[int, int | None], None]
Check = Callable[[], None]


class ImportRefused(InvalidInput, code="import-refused"):
    """The file cannot become training data. The message is a sentence about the file."""


class ImportFailed(TrainingFailed, code="import-failed"):
    """The process that builds training data exceeded a limit or ended without a result. The message gives the limit."""


class ImportStillRuns(Exception):
    """Another process, of a worker that was lost, still works in the folder."""


def build_in_process(request: Request, report: Report, check: Check) -> tuple[Built, bytes]:
    """Build training data in a process of its own. Returns it with its preview.

    `report` is called with the number of finished images and their total, `check` ten times a second: if it raises,
    the process ends, and a later call continues with the finished parts. Raises what `check` raises, ImportRefused,
    ImportFailed, ResultInvalid, ImportStillRuns, and OSError if the disk is full.
    """
    request.work.mkdir(parents=True, exist_ok=True)
    with running(request) as process:
        ended = watch(process, request, report, check)
    raise_failure(ended, process.returncode, request)
    return read_result(request.result)


@contextmanager
def running(request: Request) -> Iterator["subprocess.Popen[bytes]"]:
    """Start the process. At the end of the block, it and all processes that it started are killed."""
    log = request.work.parent / LOG
    with log.open("wb") as errors:
        process = subprocess.Popen(  # noqa: S603
            COMMAND,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            cwd=request.work,
            env={name: value for name, value in os.environ.items() if name in PASSED_ON}
            | OWN
            | {"TMPDIR": str(request.work)},
            start_new_session=True,
        )
    try:
        assert process.stdin is not None
        with suppress(BrokenPipeError):  # it ended at once: its exit code says why
            process.stdin.write(request.model_dump_json().encode() + b"\n")
            process.stdin.flush()
        yield process
    finally:
        kill_all(process)
        for pipe in (process.stdin, process.stdout):
            with suppress(OSError):
                assert pipe is not None
                pipe.close()


def kill_all(process: "subprocess.Popen[bytes]") -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def watch(process: "subprocess.Popen[bytes]", request: Request, report: Report, check: Check) -> Message | None:
    """Wait for the last message. Returns None if the process ended without one. Raises ImportFailed and `check`'s."""
    assert process.stdout is not None
    until, measured = time.monotonic() + request.limits.seconds, time.monotonic()
    for message in messages(process.stdout):
        check()
        now = time.monotonic()
        if now > until:
            limit = duration(request.limits.seconds)
            raise ImportFailed(f"{name_of(request)} was not imported: it takes longer than {limit}")
        if now - measured > MEASURE_SECONDS:
            measured = now
            check_memory(process, request)
        if message is None:
            continue
        if message.kind != "progress":
            return message
        report(message.done, message.total)
    process.wait()  # it closed the pipe
    return None


def messages(pipe: IO[bytes]) -> Iterator[Message | None]:
    """Yield each message, and None ten times a second while there is none. Ends with the pipe. Raises ImportFailed."""
    os.set_blocking(pipe.fileno(), False)
    received = b""
    with selectors.DefaultSelector() as selector:
        selector.register(pipe, selectors.EVENT_READ)
        while True:
            if not selector.select(CHECK_SECONDS):
                yield None
                continue
            data = os.read(pipe.fileno(), LINE_BYTES)
            if not data:
                return
            *lines, received = (received + data).split(b"\n")
            if len(received) > LINE_BYTES:
                raise ImportFailed("the process that imports training data sent a message without an end")
            for line in lines:
                try:
                    yield parse(line)
                except ValueError:
                    raise ImportFailed("the process that imports training data sent an unknown message") from None


def check_memory(process: "subprocess.Popen[bytes]", request: Request) -> None:
    used = memory_of_session(process.pid)
    if used > request.limits.memory:
        logger.error("the import of %s uses %d bytes of memory: ending it", name_of(request), used)
        raise ImportFailed(memory_exceeded(request))


def raise_failure(message: Message | None, code: int, request: Request) -> None:
    """Raise the error that the last message means, unless it is `done`; None: the process ended without a message."""
    file = name_of(request)
    match message and message.kind:
        case "done":
            return
        case "refused" if message:
            raise ImportRefused(message.text)
        case "running":
            raise ImportStillRuns
        case "full":
            raise OSError(errno.ENOSPC, "the disk is full")
        case "memory":
            raise ImportFailed(memory_exceeded(request))
    last = last_lines(request)
    logger.error("the import of %s failed with exit code %s: %s", file, code, last)
    if message is not None:
        raise ImportFailed(f"{file} was not imported, because of an error of this program: {message.text}")
    raise ImportFailed(f"{file} was not imported: the process that reads it {how_it_ended(code, request)}")


def how_it_ended(code: int, request: Request) -> str:
    if code >= 0:
        return f"ended with exit code {code} and no result"
    if -code == getattr(signal, "SIGXCPU", 0):
        return f"used more than {duration(request.limits.processor_seconds)} of processor time"
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = f"signal {-code}"
    reason = ", as the system does when memory is short" if -code == signal.SIGKILL else ""
    return f"was ended by {name}{reason}"


def memory_exceeded(request: Request) -> str:
    return f"{name_of(request)} was not imported: it needs more than {request.limits.memory // 10**6:,} MB of memory"


def duration(seconds: float) -> str:
    return f"{seconds:g} seconds" if seconds < 120 else f"{seconds / 60:.0f} minutes"


def name_of(request: Request) -> str:
    return printable(request.source.name)


def last_lines(request: Request) -> str:
    path: Path = request.work.parent / LOG
    with suppress(OSError), path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - LOG_BYTES))
        return printable(file.read().decode(errors="replace").strip())
    return ""
