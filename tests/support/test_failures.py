"""A failed test shows why its job failed: the job's error and trouble, and the last lines of its worker's log."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import RunningRedis
from tests.support.failures import describe_job, last_lines

ROOT = Path(__file__).parents[2]
TESTS = """
import pytest
from tests.support.failures import explained

class Service:
    def __init__(self, name): self.name = name
    def explain(self): return f"job 1 of {self.name} is failed, error: no space left"

class Broken:
    def explain(self): raise OSError("gone")

@pytest.fixture
def service():
    with explained(Service("the fixture")) as made:
        yield made

def test_fixture(service): assert "succeeded" == "failed"

def test_block():
    with explained(Service("the block")):
        assert "succeeded" == "failed"

def test_broken():
    with explained(Broken()):
        assert "succeeded" == "failed"

def test_passes(service): pass
"""


def test_a_failure_in_a_block_or_with_a_fixture_shows_the_jobs_error(tmp_path: Path) -> None:
    (tmp_path / "test_them.py").write_text(TESTS)
    command: list[str | Path] = [sys.executable, "-m", "pytest", "-p", "tests.support.failures", tmp_path]
    alone = {**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    printed = subprocess.run(command, cwd=ROOT, env=alone, capture_output=True, text=True, check=False).stdout
    assert re.search(r"3 failed, 1 passed", printed), printed
    assert printed.count("job 1 of the fixture is failed, error: no space left") == 1
    assert printed.count("AssertionError: assert 'succeeded' == 'failed'") >= 2, "the failure itself stays"
    assert "job 1 of the block is failed, error: no space left" in printed
    assert "Broken could not explain itself: OSError('gone')" in printed


def test_the_description_of_a_job_includes_its_error_and_trouble() -> None:
    job = {"id": "1", "status": "running", "error": None, "trouble": "the bucket cannot be reached"}
    assert describe_job(job) == "job 1 is running, trouble: the bucket cannot be reached"
    assert describe_job({"id": "2", "status": "failed", "error": "E"}) == "job 2 is failed, error: E"


def test_only_the_end_of_a_log_is_shown(tmp_path: Path) -> None:
    log = tmp_path / "worker.log"
    assert last_lines(log) == ""
    log.write_text("\n".join(f"line {number}" for number in range(100)))
    assert last_lines(log).splitlines()[1::39] == ["line 60", "line 99"]


@pytest.mark.usefixtures("redis_url")
def test_jobs_in_redis_are_described(shared_redis: RunningRedis) -> None:
    with shared_redis.client() as client:
        client.hset("acgan:job:20260131-120000-000001", mapping={"status": "failed", "error": "out of luck"})
        client.hset("acgan:job:20260131-120000-000001:epochs", "1", "{}")
    assert shared_redis.explain() == "job 20260131-120000-000001 is failed, error: out of luck"
