"""Tables: on a terminal of any width no line is wrapped; in a pipe the values are complete, between tabs."""

import fcntl
import os
import pty
import re
import struct
import subprocess
import sys
import termios
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from rich.cells import cell_len

from acgan_client.records import Dataset, Job
from app.cli.display.columns import Column, Table
from app.cli.display.tables import datasets_table, jobs_table, shortest_prefix, span
from tests.support.hostile_server import as_json, dataset, hostile, job

NOW = datetime(2026, 1, 31, 12, tzinfo=UTC)
IDS = [f"20260131-12000{n}123-00000{n}-9f3a61c2d4e58b07" for n in range(3)]
WIDTHS = (20, 40, 60, 80, 100, 200)


def record(job_id: str, **changes: Any) -> dict[str, Any]:
    fields = job(id=job_id, created_at=(NOW - timedelta(hours=3)).isoformat())
    config = {**fields["config"], "epochs": 100, "name": changes.pop("name", None)}
    return {**fields, "config": config, "name": config["name"], **changes}


def progress(seconds: float) -> dict[str, Any]:
    return {"epoch": 2, "epochs": 100, "batch": 1, "batches": 6, "images_per_second": 9.0, "eta_seconds": seconds}


RECORDS = [
    record(IDS[2], status="running", progress=progress(750), name="数字 with a long name [bold]and brackets[/]"),
    record(IDS[1], name="a\ttab"),
    record(IDS[0], status="failed"),
]


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    answers = {"/jobs": {"jobs": RECORDS, "next": None}, "/datasets": {"datasets": [dataset()], "next": None}}
    checkpoints: dict[str, Any] = {"serving": None, "checkpoints": [], "unusable": []}
    with hostile(
        {path: as_json(body) for path, body in answers.items()} | {"/checkpoints": as_json(checkpoints)}
    ) as it:
        yield it.url


def on_a_terminal(width: int, *words: str) -> list[str]:
    """Run a command on a terminal of this width. Returns its lines, without styles."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 50, width, 0, 0))
    environment = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES", "NO_COLOR")}
    environment |= {"TERM": "xterm-256color", "PYTHONIOENCODING": "utf-8"}
    command = [sys.executable, "-m", "app.cli", *words]
    with subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, env=environment) as process:
        os.close(theirs)
        written = b""
        with suppress(OSError):  # the terminal is closed
            while piece := os.read(ours, 65536):
                written += piece
    os.close(ours)
    assert process.returncode == 0, written
    return re.sub(r"\x1b\[[\d;]*m", "", written.decode()).replace("\r", "").rstrip("\n").split("\n")


@pytest.mark.parametrize("width", WIDTHS)
def test_no_line_is_wrapped_on_a_terminal(width: int, address: str) -> None:
    heading, *rows = on_a_terminal(width, "jobs", "--url", address)
    assert len(rows) == len(RECORDS)
    assert all(cell_len(line) <= width for line in (heading, *rows))
    assert heading.split()[0] == "job"
    for row, job_id in zip(rows, reversed(IDS), strict=True):
        shown = row.split()[0]
        assert job_id.startswith(shown)  # a beginning that other commands accept
        assert not any(other.startswith(shown) for other in IDS if other != job_id)
        assert len(shown) >= 18 or width < 30
    if width == 200:
        assert "…" not in "".join(rows)
        assert rows[0].split()[:8] == [IDS[2], "running", "0/100", "-", *rows[0].split()[4:5], "-", "12m", "mnist,"]


def test_in_a_pipe_values_are_complete_and_separated_by_tabs(address: str) -> None:
    command = [sys.executable, "-m", "app.cli", "jobs", "--url", address]
    environment = {**os.environ, "COLUMNS": "20", "PYTHONIOENCODING": "utf-8"}
    printed = subprocess.run(command, capture_output=True, env=environment, check=True).stdout.decode()
    heading, *rows = (line.split("\t") for line in printed.splitlines())
    assert heading == ["job", "status", "epochs", "labels", "age", "ran", "ETA", "data", "name"]
    assert [row[0] for row in rows] == IDS[::-1]
    assert [row[6] for row in rows] == ["12m", "-", "-"]
    assert [row[8] for row in rows] == [RECORDS[0]["config"]["name"], "a\\ttab", ""]
    assert re.search(r"  |\x1b|[│┃━]", printed) is None
    for words in (["datasets"], ["checkpoints"]):
        printed = subprocess.run([*command[:3], *words, *command[4:]], capture_output=True, check=True).stdout.decode()
        assert len(printed.splitlines()[0].split("\t")) >= 7


def test_age_and_time_left_are_shown() -> None:
    started = NOW - timedelta(days=3)
    resumed = record(
        IDS[0],
        status="running",
        started_at=started.isoformat(),
        seconds_running=3600.0,
        running_since=(NOW - timedelta(minutes=5)).isoformat(),
        progress=progress(4000),
    )
    ended = record(IDS[1], started_at=started.isoformat(), ended_at=NOW.isoformat(), seconds_running=45.4)
    cells = {c.heading: [text.plain for text in c.cells] for c in jobs_table(jobs(resumed, ended), NOW).columns}
    assert cells["age"] == ["3h00m", "3h00m"]
    assert cells["ran"] == ["1h05m", "45s"]  # not three days
    assert cells["ETA"] == ["1h06m", "-"]

    drawing = {"drawn": 10, "digits": 70, "digits_per_second": 1.0, "eta_seconds": 30.0}
    waiting = dataset(status="running", progress=drawing, created_at=(NOW - timedelta(days=4)).isoformat())
    table = datasets_table([Dataset.model_validate(waiting)], NOW)
    shown = {c.heading: c.cells[0].plain for c in table.columns}
    assert shown.items() >= {"age": "4d", "ETA": "30s", "drawn": "10/70"}.items()


def test_the_size_of_a_waiting_data_set_is_unknown_because_its_checkpoint_decides_the_classes() -> None:
    table = datasets_table([Dataset.model_validate(dataset(status="queued"))], NOW)
    assert {c.heading: c.cells[0].plain for c in table.columns}["drawn"] == "-"


def jobs(*records: dict[str, Any]) -> list[Job]:
    return [Job.model_validate(each) for each in records]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(-5, "0s"), (59.4, "59s"), (60, "1m"), (3599, "59m"), (3660, "1h01m"), (172_799, "47h59m"), (172_800, "2d")],
)
def test_a_time_has_at_most_two_units(seconds: float, text: str) -> None:
    assert span(seconds) == text


def test_a_shortened_id_stays_unique() -> None:
    assert shortest_prefix([]) == shortest_prefix(["20260131-120000123-000001-9f3a61c2d4e58b07"]) == 18
    alike = ["20260131-120000123-000001-aa", "20260131-120000123-000001-ab", "20260131-120000-00001c"]
    assert len({each[: shortest_prefix(alike)] for each in alike}) == 3


def test_columns_are_left_out_in_the_order_of_their_steps() -> None:
    table = Table(Column("id"), Column("first", drop=1), Column("last", drop=2), Column("name", shortest=4, rank=0))
    table.add("1", "aaaaaa", "bbbbbb", "a long name")
    shown = {width: [column.heading for column, _ in table.fitted(width)] for width in (40, 25, 23, 20, 10, 1)}
    assert shown[40] == shown[25] == ["id", "first", "last", "name"]
    assert shown[20] == ["id", "last", "name"]
    assert shown[10] == shown[1] == ["id", "name"]
    assert table.lines(25)[1].plain == "1   aaaaaa  bbbbbb  a lo…"
    assert all(len(line.plain) <= 3 for line in table.lines(3))
