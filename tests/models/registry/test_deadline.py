"""The time limit of reads: many fast ones are no fault, and many slow ones end further ones at once."""

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from models.registry.storage.base import Unreachable
from models.registry.storage.deadline import Deadline
from models.registry.storage.filesystem import FilesystemStorage


def test_reads_that_hang_do_not_accumulate() -> None:
    released, within, before = threading.Event(), Deadline(0.001), set(threading.enumerate())
    for _ in range(40):
        with pytest.raises(Unreachable):
            within("it cannot be read", lambda: released.wait(20))
    assert sum(thread.name == "store read" for thread in set(threading.enumerate()) - before) <= 32
    released.set()


@contextmanager
def reads_in_flight(within: Deadline, number: int) -> Iterator[None]:
    """During the block, this number of reads have begun and none has ended."""
    released, entered = threading.Event(), threading.Semaphore(0)

    def read() -> bool:
        entered.release()
        return released.wait(60)

    readers = [threading.Thread(target=within, args=("it cannot be read", read)) for _ in range(number)]
    for reader in readers:
        reader.start()
    for _ in readers:
        assert entered.acquire(timeout=60)
    try:
        yield
    finally:
        released.set()
        for reader in readers:
            reader.join()


def test_reads_in_flight_do_not_count_as_hanging() -> None:
    within = Deadline(60, slow_seconds=60)
    with reads_in_flight(within, 40):
        assert within("it cannot be read", lambda: 1) == 1


def test_slow_reads_in_flight_count_as_hanging_before_their_time_limit() -> None:
    within = Deadline(60, slow_seconds=0)
    with reads_in_flight(within, 32), pytest.raises(Unreachable, match="32 earlier reads of this store still hang"):
        within("it cannot be read", lambda: 1)


def test_reads_that_have_ended_after_their_time_limit_no_longer_count() -> None:
    released, within = threading.Event(), Deadline(0.001)
    for _ in range(32):
        with pytest.raises(Unreachable, match="did not answer"):
            within("it cannot be read", lambda: released.wait(60))
    with pytest.raises(Unreachable, match="32 earlier reads of this store still hang"):
        within("it cannot be read", lambda: 1)
    released.set()
    for thread in threading.enumerate():
        if thread.name == "store read":
            thread.join(60)
    within.seconds = 60
    assert within("it cannot be read", lambda: 1) == 1


def test_the_lock_file_that_opens_after_the_time_limit_is_closed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    released, opened, closed, close = threading.Event(), list[int](), list[int](), os.close
    hanging = FilesystemStorage(tmp_path, seconds=0.01)

    def open_lock() -> int:
        released.wait(60)
        opened.append(FilesystemStorage._open_lock(hanging))
        return opened[0]

    def record_and_close(descriptor: int) -> None:
        closed.append(descriptor)
        close(descriptor)

    monkeypatch.setattr(hanging, "_open_lock", open_lock)
    monkeypatch.setattr(os, "close", record_and_close)
    with pytest.raises(Unreachable, match="cannot be locked"):
        hanging.alone(lambda: None)
    late = [thread for thread in threading.enumerate() if thread.name == "store read"]
    released.set()
    for thread in late:
        thread.join(60)
    assert opened[0] in closed
