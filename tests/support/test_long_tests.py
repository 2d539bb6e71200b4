"""`make test` runs a sample of the tests marked long, and a few consecutive days run all of them."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.long_tests import sample

ROOT = Path(__file__).parents[2]
TESTS = """
import pytest

@pytest.mark.long
@pytest.mark.parametrize("number", range(7))
def test_long(number): pass

def test_short(): pass
"""


@pytest.mark.parametrize("count", [1, 3, 4, 30])
def test_each_long_test_runs_on_one_of_n_consecutive_days(count: int) -> None:
    names = [f"test_{number}" for number in range(count)]
    for first in (0, 5, 738000):
        turns = [sample(names, 4, first + day) for day in range(4)]
        assert set().union(*turns) == set(names)
        assert sum(map(len, turns)) == count


def run(folder: Path, *options: str) -> str:
    """Returns what pytest prints."""
    (folder / "test_them.py").write_text(TESTS)
    (folder / "pytest.ini").write_text("[pytest]\nmarkers = long\n")
    plugins = ["-p", "xdist", "-p", "tests.support.long_tests"]
    command: list[str | Path] = [sys.executable, "-m", "pytest", "-v", *plugins, "--rootdir", folder, folder]
    alone = {**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    done = subprocess.run([*command, *options], cwd=ROOT, env=alone, capture_output=True, text=True, check=True)
    return done.stdout


@pytest.mark.parametrize("processes", [[], ["-n", "2"]], ids=["alone", "xdist"])
def test_the_sample_is_chosen_by_the_day_and_named_in_the_header(tmp_path: Path, processes: list[str]) -> None:
    printed = run(tmp_path, "--long-sample", "3", "--long-day", "1", *processes)
    assert "tests marked long: one in 3, those of day 1" in printed
    assert set(re.findall(r"test_(?:long\[\d\]|short)", printed)) == {"test_long[2]", "test_long[5]", "test_short"}


def test_without_the_option_every_long_test_runs(tmp_path: Path) -> None:
    printed = run(tmp_path)
    assert "tests marked long: all" in printed
    assert "8 passed" in printed
