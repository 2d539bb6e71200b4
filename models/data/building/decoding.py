"""Decodes pictures in processes, one for each processor, with a bounded number of pictures in memory.

A process ends as soon as the one that started it does, because its connection is then closed: nothing is left behind if
the import is killed.
"""

import multiprocessing
import multiprocessing.connection
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from multiprocessing import resource_tracker
from multiprocessing.connection import Connection
from typing import Any, NamedTuple, Protocol, cast

import numpy as np

from models.bounded_reading import printable
from models.config import IMAGE_SIZE
from models.data.building.chunks import Chunk
from models.data.importing.items import InvalidImages, Item, Limits
from models.data.importing.normalise import Mode, fit, to_grey

MOST_PROCESSES = 16  # each takes 60 MB, and one process that reads files keeps no more of them busy
REASON = 200  # characters of the reason why a picture was skipped


class Task(NamedTuple):
    """What happens to each picture."""

    mode: Mode
    is_inverted: bool
    limits: Limits


class Batch(NamedTuple):
    """Consecutive items of a source."""

    first: int
    items: list[Item]


class Decoders(Protocol):
    """Send batches while `is_ready`, and collect chunks, in any order, while `is_busy`."""

    @property
    def is_ready(self) -> bool: ...
    @property
    def is_busy(self) -> bool: ...
    def send(self, batch: Batch) -> None: ...
    def collect(self, seconds: float) -> Iterator[Chunk]:
        """Yield the chunks that are complete within this time. Raises InvalidImages if a process has ended."""
        ...


def decode(batch: Batch, task: Task) -> Chunk:
    """Decode the pictures of a batch. Those that cannot be read are named in `skipped`."""
    images = np.empty((len(batch.items), IMAGE_SIZE, IMAGE_SIZE), np.uint8)
    labels, splits, skipped = list[str](), list[str | None](), list[tuple[str, str]]()
    for item in batch.items:
        try:
            grey = to_grey(item.content, task.limits)
            images[len(labels)] = fit(grey, task.mode, "yes" if task.is_inverted else "no")
        except InvalidImages as error:
            skipped.append((item.name, printable(error)[:REASON]))
            continue
        except MemoryError:
            skipped.append((item.name, "it needs more memory than is available"))
            continue
        labels.append(item.label)
        splits.append(item.split)
    return Chunk(batch.first, len(batch.items), images[: len(labels)], labels, splits, skipped)


class InThisProcess:
    """Decodes a few pictures in this process, which is faster than to start another one."""

    def __init__(self, task: Task) -> None:
        self._task = task
        self._batch: Batch | None = None

    @property
    def is_ready(self) -> bool:
        return self._batch is None

    @property
    def is_busy(self) -> bool:
        return self._batch is not None

    def send(self, batch: Batch) -> None:
        self._batch = batch

    def collect(self, seconds: float) -> Iterator[Chunk]:
        del seconds
        if self._batch is not None:
            chunk, self._batch = decode(self._batch, self._task), None
            yield chunk


class InProcesses:
    """Each process decodes one batch at a time."""

    def __init__(self, connections: list[Connection]) -> None:
        self._idle = connections
        self._busy = dict[Connection, Batch]()

    @property
    def is_ready(self) -> bool:
        return bool(self._idle)

    @property
    def is_busy(self) -> bool:
        return bool(self._busy)

    def send(self, batch: Batch) -> None:
        connection = self._idle.pop()
        self._busy[connection] = batch
        with suppress(BrokenPipeError):  # `collect` reports it
            connection.send(batch)

    def collect(self, seconds: float) -> Iterator[Chunk]:
        for ready in multiprocessing.connection.wait(list(self._busy), seconds):
            connection = cast(Connection, ready)  # on Windows it is of another class
            batch = self._busy.pop(connection)
            try:
                fields: tuple[Any, ...] = connection.recv()
            except (EOFError, ConnectionError):
                names = f"{batch.items[0].name} to {batch.items[-1].name}"
                raise InvalidImages(
                    f"the process that decodes the pictures ended while it decoded {names}: one of them is harmful, or "
                    "this machine has too little memory"
                ) from None
            self._idle.append(connection)
            yield Chunk(*fields)


@contextmanager
def in_processes(task: Task, number: int) -> Iterator[InProcesses]:
    """Start `number` processes. They are ended with the block."""
    context = multiprocessing.get_context("spawn")  # a fork would copy threads' locks
    pairs = [context.Pipe() for _ in range(number)]
    started = [context.Process(target=_serve, args=(theirs, task), daemon=True) for _, theirs in pairs]
    try:
        with _without_interrupts():
            for process in started:
                process.start()
        for _, theirs in pairs:
            theirs.close()
        yield InProcesses([ours for ours, _ in pairs])
    finally:
        for ours, _ in pairs:
            ours.close()
        for process in started:
            if process.pid is not None:
                process.kill()
                process.join()


@contextmanager
def _without_interrupts() -> Iterator[None]:
    """Keep Ctrl-C from processes that start in the block: the process that started them ends them."""
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    resource_tracker.ensure_running()  # its start, in that of a process, would unblock the signal
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _serve(connection: Connection, task: Task) -> None:
    """Decode batches until the connection is closed."""
    with suppress(EOFError, ConnectionError):
        while True:
            connection.send(tuple(decode(connection.recv(), task)))
