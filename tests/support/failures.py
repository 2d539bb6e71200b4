"""A pytest plugin: a failed test shows why its jobs failed, and the last lines of its workers' logs.

An object that runs jobs for tests has a method `explain()` and is used inside `explained(...)`. The text becomes a note
of an exception that leaves the block; while a fixture keeps the block open, a section of the failed test's report.
"""

from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol, TypeVar

import pytest
import redis

LOG_LINES = 40
JOBS = 20


class Explains(Protocol):
    def explain(self) -> str:
        """Describe its jobs and logs, for the reader of a failure. Empty if there is nothing to report."""


Owner = TypeVar("Owner", bound=Explains)
live: list[Explains] = []


@contextmanager
def explained(owner: Owner) -> Iterator[Owner]:
    live.append(owner)
    try:
        yield owner
    except BaseException as error:
        error.add_note(explanation(owner))
        raise
    finally:
        live.remove(owner)


def explanation(owner: Explains) -> str:
    try:
        return owner.explain()
    except Exception as error:  # it must not hide the failure that it explains
        return f"{type(owner).__name__} could not explain itself: {error!r}"


def describe_job(job: dict[str, Any]) -> str:
    """One line: id, status, and the job's `error` and `trouble` if it has them."""
    reasons = [f"{name}: {job[name]}" for name in ("error", "trouble") if job.get(name)]
    return ", ".join([f"job {job.get('id')} is {job.get('status')}", *reasons])


def describe_jobs(url: str) -> str:
    """Describe the newest jobs in Redis, one a line."""
    with redis.Redis.from_url(url, decode_responses=True, socket_timeout=10) as client:
        ids = {key.removeprefix("acgan:job:") for key in client.scan_iter("acgan:job:*")}
        newest = sorted(job_id for job_id in ids if ":" not in job_id)[-JOBS:]
        jobs = [{**client.hgetall(f"acgan:job:{job_id}"), "id": job_id} for job_id in newest]
    return "\n".join(describe_job(job) for job in jobs)


def last_lines(path: Path) -> str:
    """The last lines of a log, or nothing if there is no such file."""
    lines = path.read_text(errors="replace").splitlines()[-LOG_LINES:] if path.exists() else []
    return "\n".join([f"--- {path.name}, its last {len(lines)} lines", *lines]) if lines else ""


class HasUrl(Protocol):
    url: str


class HasRedisAndLog(Protocol):
    @property
    def redis(self) -> HasUrl: ...

    @property
    def log(self) -> Path: ...


class HasJobs:
    """Explains failures by the jobs in its Redis and the log of its workers."""

    def explain(self: HasRedisAndLog) -> str:
        return f"{describe_jobs(self.redis.url)}\n{last_lines(self.log)}"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.failed:
        texts = [(type(owner).__name__, explanation(owner)) for owner in live]
        report.sections += [(f"jobs and logs of {name}", text) for name, text in texts if text]
    report.sections = [(name, encodable(text)) for name, text in report.sections]
    return report


def encodable(text: str) -> str:
    """Escape lone surrogates, as in a log line about bytes that are not UTF-8: xdist cannot send them."""
    return text.encode("utf-8", errors="backslashreplace").decode("utf-8")
