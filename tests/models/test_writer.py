"""One write at a time beside the caller, and an error that nobody can miss."""

import threading

import pytest
from structlog.contextvars import bound_contextvars, get_contextvars

from models.writer import BackgroundWriter


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


def test_an_error_is_raised_by_every_later_call_and_nothing_more_is_written() -> None:
    written = list[int]()

    def full() -> None:
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space left") as caught, BackgroundWriter() as writer:
        writer.start(full)
        with pytest.raises(OSError, match="No space left"):
            writer.wait()
        with pytest.raises(OSError, match="No space left"):
            writer.check()
        with pytest.raises(OSError, match="No space left"):
            writer.start(lambda: written.append(1))
    assert caught.value.errno == 28
    assert written == []


def test_an_error_of_the_last_write_is_raised_at_the_end_also_when_another_error_ends_the_block() -> None:
    def full() -> None:
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space left"), BackgroundWriter() as writer:
        writer.start(full)
    with pytest.raises(OSError, match="No space left") as caught, BackgroundWriter() as writer:
        writer.start(full)
        raise ValueError
    assert isinstance(caught.value.__context__, ValueError)


def test_the_end_of_the_block_waits_for_the_last_write() -> None:
    written = list[int]()

    def slow() -> None:
        threading.Event().wait(0.2)
        written.append(1)

    with pytest.raises(ValueError, match="stop"), BackgroundWriter() as writer:
        writer.start(slow)
        raise ValueError("stop")
    assert written == [1]


def test_log_fields_are_those_of_the_caller() -> None:
    seen = list[object]()
    with BackgroundWriter() as writer, bound_contextvars(job="a"):
        writer.start(lambda: seen.append(get_contextvars()))
    assert seen == [{"job": "a"}]
