"""With `--allowed-skips`, no test is skipped unnoticed, neither by a mark, nor by a fixture, nor with its module."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.skips import read_allowed_skips

ROOT = Path(__file__).parents[2]
LIST = ROOT / "tests" / "allowed_skips.txt"
TESTS = {
    "test_marked.py": """
import pytest

@pytest.mark.skip(reason="no haproxy")
def test_a(): pass

@pytest.mark.skip(reason="no GPU 0")
def test_b(): pass
""",
    "test_fixture.py": """
import pytest

@pytest.fixture
def chromium(): pytest.skip("no chromium")

def test_c(chromium): pass
def test_d(): pytest.skip("no GPU 1")
""",
    "test_module.py": """
import pytest

pytest.skip("no strace", allow_module_level=True)
""",
}


def run(folder: Path, *options: str) -> "subprocess.CompletedProcess[str]":
    for name, text in TESTS.items():
        (folder / name).write_text(text)
    (folder / "list.txt").write_text("# a comment\n\n*test_b | no GPU* | CI has none\n*::test_d | no GPU [1] | no\n")
    (folder / "pytest.ini").write_text("[pytest]\naddopts = -ra\n")
    plugins = ["-p", "xdist", "-p", "tests.support.skips"]
    command: list[str | Path] = [sys.executable, "-m", "pytest", *plugins, "--rootdir", folder, folder]
    alone = {**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}  # other plugins take a second to load
    return subprocess.run([*command, *options], cwd=ROOT, env=alone, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("processes", [[], ["-n", "1"]], ids=["alone", "xdist"])
def test_a_skip_that_is_not_listed_fails_the_run_with_the_reason(tmp_path: Path, processes: list[str]) -> None:
    done = run(tmp_path, "--allowed-skips", str(tmp_path / "list.txt"), "--continue-on-collection-errors", *processes)
    assert done.returncode == 1, done.stdout
    failures = re.findall(r"(\S+) was skipped \((.*)\), and \S+list.txt does not list it", done.stdout)
    assert {reason for _, reason in failures} == {"no haproxy", "no chromium", "no strace"}, done.stdout
    assert re.search(r"SKIPPED.*no GPU 0", done.stdout)
    assert re.search(r"SKIPPED.*no GPU 1", done.stdout)


def test_without_the_option_the_summary_lists_each_skip_with_its_reason(tmp_path: Path) -> None:
    done = run(tmp_path)
    assert done.returncode == 0, done.stdout
    assert len(re.findall(r"SKIPPED \[1\] .*no (haproxy|GPU 0|chromium|GPU 1|strace)", done.stdout)) == 5


def test_each_line_of_the_projects_list_has_a_reason_and_names_existing_tests() -> None:
    skips = read_allowed_skips(LIST)
    assert len(skips) > 10
    for skip in skips:
        path = skip.test.partition("::")[0]
        assert "*" in path or (ROOT / path).is_file(), skip


def test_a_line_without_a_reason_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "list.txt"
    path.write_text("# a comment\ntests/a.py::* | needs b\n")
    with pytest.raises(ValueError, match="line 2"):
        read_allowed_skips(path)


def test_every_test_run_in_ci_passes_the_list() -> None:
    runs = [line for line in (ROOT / ".ci" / "run").read_text().splitlines() if line.startswith("make test")]
    assert len(runs) >= 3
    for line in runs:
        target = line.split()[1]
        assert line.endswith('PYTEST_FLAGS="$flags"')
        shown = subprocess.run(
            ["make", "--dry-run", "-C", str(ROOT), target, "PYTEST_FLAGS=--the-flags"],  # noqa: S607
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        assert re.search(r"/pytest .*--the-flags$", shown, re.MULTILINE), shown
