"""Background work runs under a supervisor: an exception is logged, the loop restarted, and a stuck loop reported."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCES = sorted(path for layer in ("app", "worker", "models") for path in (ROOT / layer).rglob("*.py"))
STARTS = re.compile(r"\b(Thread|Timer|create_task|ensure_future|ThreadPoolExecutor|start_new_thread|TaskGroup)\(")
REASONS = {
    "app/cli/display/evaluation_progress.py": "what a spinner shows; the command waits and fails without it",
    "worker/importing/program.py": "ends the process when the worker does; an error of it has the same effect",
    "worker/observability/background_loops.py": "the supervisor itself",
    "app/inference/loads.py": "one load each, with a deadline; callers wait for the result and get its error",
    "app/inference/style_banks.py": "one bank each, with a deadline; callers wait for the result and get its error",
    "models/training/background_writer.py": "one write at a time; the trainer raises its error, the run shows a hang",
    "models/data/downloads.py": "one download, with a deadline; the caller gets its error",
    "models/registry/storage/background_call.py": "one call each; the caller waits, or its result is discarded",
    "models/registry/storage/object_store.py": "requests to a bucket; the caller waits for them and gets their errors",
    "worker/webhooks/addresses.py": "one name resolution, with a deadline; the caller gets its error",
    "models/synthesis/verified_sampler.py": "drawing; the caller waits for it and gets its error",
}


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_thread_or_task_runs_without_a_supervisor(path: Path) -> None:
    if str(path.relative_to(ROOT)) not in REASONS:
        assert STARTS.findall(path.read_text()) == [], (
            "use worker/observability/background_loops.py, or give a reason above"
        )


def test_the_pattern_matches_threads_and_tasks() -> None:
    assert STARTS.findall("threading.Thread(target=run)") == ["Thread"]
    assert STARTS.findall("asyncio.create_task(run())") == ["create_task"]
