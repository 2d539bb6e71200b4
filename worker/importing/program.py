"""The process that builds training data: it reads a foreign file, with limits, and knows no secrets.

    python -P -m worker.importing.program

Its stdin has one line, a `Request` as JSON, and stays open: when it is closed, because the worker has ended, this
process ends too, with all that it started. Its stdout has lines of JSON, `Message`: the progress, and how it ended.
"""

import errno
import json
import os
import signal
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, Literal

from pydantic import BaseModel, ConfigDict

from models.bounded_reading import printable
from models.data.building.options import ImportOptions
from models.devices import processors
from models.errors import AcganError
from worker.importing.resource_limits import GIB, ResourceLimits

PROCESSES = min(processors(), 4)  # that decode pictures; together they stay below the limit of the memory
NICE = 5  # the worker renews its lease meanwhile
UNPACKED = 4 * GIB  # bytes of all files of an archive: an upload is at most ACGAN_UPLOAD_LIMIT, by default 64 MiB
MESSAGE_CHARACTERS = 2000


class Request(BaseModel):
    model_config = ConfigDict(frozen=True)

    source: Path
    identity: str  # SHA-256 of the source
    options: ImportOptions
    work: Path  # folder of finished parts, from which a later process continues
    result: Path  # folder of the result
    limits: ResourceLimits


class Message(BaseModel):
    """`progress`: `done` of `total` images; `refused`: `text` is a sentence about the file; `full`: the disk is."""

    model_config = ConfigDict(frozen=True)

    kind: Literal["progress", "done", "refused", "memory", "full", "failed", "running"]
    done: int = 0
    total: int | None = None
    text: str = ""


def main() -> None:
    messages = os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(2, 1)  # what libraries print does not mix with the messages
    request = Request.model_validate_json(sys.stdin.buffer.readline())
    threading.Thread(target=end_with_worker, args=(sys.stdin.buffer,), daemon=True).start()
    request.limits.apply()
    with suppress(AttributeError, OSError):
        os.nice(NICE)
    send = partial(write, messages)
    send(outcome(request, send))


def write(messages: BinaryIO, message: Message) -> None:
    messages.write(message.model_dump_json().encode() + b"\n")


def end_with_worker(stdin: BinaryIO) -> None:
    """Wait until the worker closes the pipe or ends; then end this process and all that it started."""
    with suppress(OSError, ValueError):
        while stdin.read(1):
            continue
    os.killpg(0, signal.SIGKILL)


def outcome(request: Request, send: Callable[[Message], None]) -> Message:
    """Build the training data. Returns how that ended."""
    try:
        build(request, send)
    except AcganError as error:
        if error.code == "import-running":
            return Message(kind="running")
        if is_disk_full(error):
            return Message(kind="full")
        return Message(kind="refused", text=printable(error)[:MESSAGE_CHARACTERS])
    except MemoryError:
        return Message(kind="memory")
    except OSError as error:
        return Message(kind="full") if is_disk_full(error) else failed(error)
    except Exception as error:  # a defect of ours or of a library, which a hostile file may cause
        return failed(error)
    return Message(kind="done")


def failed(error: Exception) -> Message:
    import traceback

    traceback.print_exception(error)  # on stderr: the worker logs its end
    return Message(kind="failed", text=printable(f"{type(error).__name__}: {error}")[:MESSAGE_CHARACTERS])


def is_disk_full(error: BaseException | None) -> bool:
    """Return whether the error, or one of those that led to it, is that of a full disk."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            return True
        error = error.__cause__ or error.__context__
    return False


def build(request: Request, send: Callable[[Message], None]) -> None:
    """Read the source, and write the result. Raises AcganError, MemoryError, OSError."""

    from models.data.building.build import build as build_arrays
    from models.data.importing.items import Limits
    from models.registry.training_data import preview
    from worker.importing.files import write_result

    def report(done: int, total: int | None) -> None:
        send(Message(kind="progress", done=done, total=total))

    limits, identity = Limits(unpacked=UNPACKED), request.identity
    built = build_arrays(
        request.source, request.options, request.work, report, limits=limits, identity=identity, processes=PROCESSES
    )
    write_result(request.result, built, preview(built))


def parse(line: bytes) -> Message:
    """Raises ValueError."""
    found: Any = json.loads(line)
    return Message.model_validate(found)


if __name__ == "__main__":
    main()
