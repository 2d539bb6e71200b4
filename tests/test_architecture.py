"""Rules of the code base: imports, sizes, environment, documentation."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

from app.settings import AppSettings

ROOT = Path(__file__).parents[1]
FLOORS = ("app", "worker", "models")
SOURCES = sorted(path for floor in FLOORS for path in (ROOT / floor).rglob("*.py"))
BESIDE = sorted(path for folder in ("client", "tests", "benchmarks") for path in (ROOT / folder).rglob("*.py"))


@pytest.mark.parametrize(
    "module",
    [
        "worker.tasks",
        "app.cli.application",
        "acgan_client",
        "worker.jobs.client",
        "models.registry.store",
        "models.config",
    ],
)
def test_modules_that_start_quickly_or_fork_load_no_torch(module: str) -> None:
    loaded = f"import {module}, sys; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", loaded], check=False).returncode == 0


SLOW_TO_LOAD = {"torch", "fastapi", "uvicorn", "celery", "redis", "limits", "structlog", "numpy", "PIL"}
NOWHERE = ["--url", "http://127.0.0.1:9"]
COMMAND = f"""
import sys, time
started, pauses = time.monotonic(), []
time.sleep, time.monotonic = pauses.append, lambda: started + sum(pauses)  # a pause passes at once
from app.cli import main
import app.cli.display.tables, app.cli.display.progress  # what is loaded once a service has answered
try:
    main()
finally:
    print("loaded:", *{SLOW_TO_LOAD!r} & set(sys.modules))
"""


@pytest.mark.parametrize(
    "words",
    [
        ["--version"],
        ["--help"],
        ["jobs", *NOWHERE],
        ["start", "--follow", *NOWHERE],
        ["follow", "20260131-120000-1a2b3c", *NOWHERE],
        ["order", "--out", "mine", *NOWHERE],
        ["train", "--epochs", "0"],
        ["train", "--out", "/proc/run"],
        ["digits", "7", "-o", "none/x.png"],
    ],
    ids=" ".join,
)
def test_a_command_loads_only_what_it_needs(words: list[str]) -> None:
    result = subprocess.run([sys.executable, "-c", COMMAND, *words], capture_output=True, text=True, check=False)
    assert result.stdout.splitlines()[-1].split() == ["loaded:"], result.stderr


def test_the_task_that_is_sent_is_the_task_that_is_registered() -> None:
    from worker.celery_app import TRAIN
    from worker.tasks import celery

    assert TRAIN in celery.tasks


@pytest.mark.parametrize("path", [*SOURCES, *BESIDE], ids=lambda path: str(path.relative_to(ROOT)))
def test_files_and_functions_stay_small(path: Path) -> None:
    text = path.read_text()
    assert text.count("\n") <= 350
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert node.end_lineno is not None
            assert node.end_lineno - node.lineno + 1 <= 60, node.name


def test_only_the_settings_read_the_environment() -> None:
    readers = [
        path
        for path in SOURCES
        if re.search(r"os\.(environ\.get|getenv)|os\.environ\[[^\]]+\](?! =)", path.read_text())
    ]
    assert readers == []


def test_nothing_is_pickled() -> None:
    banned = re.compile(r"\b(import pickle|torch\.load\(|torch\.save\(|joblib|allow_pickle=True|yaml\.load)")
    assert [path for path in SOURCES if banned.search(path.read_text())] == []


@pytest.mark.parametrize("name", list(AppSettings.model_fields))
def test_every_setting_is_documented(name: str) -> None:
    assert AppSettings.model_fields[name].description
    assert f"`ACGAN_{name.upper()}`" in (ROOT / "docs" / "operations.md").read_text()
