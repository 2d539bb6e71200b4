"""A pytest plugin: with `--allowed-skips FILE`, a skip that the file does not list is a failure.

`.ci/run` passes the option, so that a missing program or data set cannot remove tests unnoticed.
"""

from collections.abc import Generator
from fnmatch import fnmatchcase
from pathlib import Path
from typing import NamedTuple

import pytest


class AllowedSkip(NamedTuple):
    """One line of the list: two patterns as of `fnmatch`, and why the skip is accepted."""

    test: str
    reason: str
    why: str


def read_allowed_skips(path: Path) -> list[AllowedSkip]:
    """Read lines of `test | reason | why`. Raises ValueError, with the line, for any other line."""
    allowed = []
    for number, line in enumerate(path.read_text().splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        fields = [field.strip() for field in line.split(" | ")]
        if len(fields) != 3 or not all(fields):
            raise ValueError(f"{path}, line {number}: a line is `test | reason | why`")
        allowed.append(AllowedSkip(*fields))
    return allowed


class SkipCheck:
    """Turns each skip that is not listed into a failure, in the process that skips it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.allowed = read_allowed_skips(path)

    def is_allowed(self, test: str, reason: str) -> bool:
        return any(fnmatchcase(test, skip.test) and fnmatchcase(reason, skip.reason) for skip in self.allowed)

    def check(self, report: pytest.TestReport | pytest.CollectReport) -> None:
        if not report.skipped or hasattr(report, "wasxfail"):
            return
        reason = reason_of(report)
        if not self.is_allowed(report.nodeid, reason):
            report.outcome = "failed"
            report.longrepr = f"{report.nodeid} was skipped ({reason}), and {self.path} does not list it"

    # Outermost, so that pytest's own plugins have already set the outcome.
    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_makereport(self) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        report = yield
        self.check(report)
        return report

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_make_collect_report(self) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
        report = yield
        self.check(report)
        return report


def reason_of(report: pytest.TestReport | pytest.CollectReport) -> str:
    """The reason that the summary shows for a skip."""
    reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
    return reason.removeprefix("Skipped: ")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--allowed-skips", type=Path, metavar="FILE", help="fail each skip that is not on the list in FILE"
    )


def pytest_configure(config: pytest.Config) -> None:
    path: Path | None = config.getoption("--allowed-skips")
    if path is not None:
        config.pluginmanager.register(SkipCheck(path), "skip-check")
