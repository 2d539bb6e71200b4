"""One write at a time runs beside the caller, and no error is lost."""

import threading
import time
from collections.abc import Callable

import pytest
from structlog.contextvars import bound_contextvars, get_contextvars

from models.training.background_writer import BackgroundWriter


def test_a_write_runs_beside_the_caller_and_the_next_waits_for_it() -> None:
    began, release, written = threading.Event(), threading.Event(), list[int]()

    def slow() -> None:
        began.set()
        release.wait(10)
        written.append(1)

    with BackgroundWriter() as writer:
        writer.start(slow)
        assert began.wait(10)
        assert written == []
        writer.check()
        threading.Timer(0.1, release.set).start()
        writer.start(lambda: written.append(2))
        assert written[0] == 1
    assert written == [1, 2]


def full() -> None:
    raise OSError(28, "No space left on device")


def test_an_error_is_raised_by_every_later_call_and_nothing_more_is_written() -> None:
    writer, written = BackgroundWriter(), list[int]()
    writer.start(full)
    for call in (writer.wait, writer.check, lambda: writer.start(lambda: written.append(1)), writer.wait):
        with pytest.raises(OSError, match="No space left") as caught:
            call()
        assert caught.value.errno == 28
    assert written == []


def run_block(write: Callable[[], None], error: Exception | None) -> None:
    with BackgroundWriter() as writer:
        writer.start(write)
        if error is not None:
            raise error


def test_an_error_of_the_last_write_is_raised_at_the_end_also_if_another_error_ends_the_block() -> None:
    with pytest.raises(OSError, match="No space left"):
        run_block(full, None)
    with pytest.raises(OSError, match="No space left") as caught:
        run_block(full, ValueError("stop"))
    assert isinstance(caught.value.__context__, ValueError)


def test_the_end_of_the_block_waits_for_the_last_write() -> None:
    written = list[int]()

    def slow() -> None:
        time.sleep(0.2)
        written.append(1)

    with pytest.raises(ValueError, match="stop"):
        run_block(slow, ValueError("stop"))
    assert written == [1]


def test_log_fields_are_those_of_the_caller() -> None:
    seen = list[object]()
    with BackgroundWriter() as writer, bound_contextvars(job="a"):
        writer.start(lambda: seen.append(get_contextvars()))
    assert seen == [{"job": "a"}]
