"""Untrusted text in a log line becomes one line of printable text, in both formats."""

import json
import logging
import sys

import pytest

from worker.observability.log_config import make_formatter

EVIL = "a\x1b[31m[/]\n2026-01-01 00:00:00 INFO forged: line\x9b2J\u202e\x7f\r"


def line(as_json: bool, **options: object) -> str:
    record = logging.LogRecord("worker", logging.WARNING, __file__, 1, "job %s ended", (EVIL,), None)
    for name, value in options.items():
        setattr(record, name, value)
    return make_formatter(json=as_json).format(record)


@pytest.mark.parametrize("field", [{}, {"path": EVIL}])
def test_a_text_line_is_one_line_without_control_characters(field: dict[str, str]) -> None:
    text = line(False, **field)
    assert text.isprintable()
    assert "\\x1b[31m" in text
    assert "\\n2026-01-01" in text


def test_a_json_line_contains_the_original_text() -> None:
    text = line(True)
    assert text.isprintable()
    assert json.loads(text)["event"] == f"job {EVIL} ended"


def test_a_traceback_keeps_its_lines_and_has_no_control_characters() -> None:
    try:
        raise ValueError(EVIL)
    except ValueError:
        text = line(False, exc_info=sys.exc_info())
    assert all(each.isprintable() for each in text.split("\n"))
    assert "Traceback" in text
