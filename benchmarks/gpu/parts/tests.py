"""`pytest -m gpu` over tests/gpu, in this process; on a machine without a GPU the same tests run on the CPU."""

import os
from collections import Counter
from pathlib import Path

import pytest

from benchmarks.gpu.context import PartContext

FOLDER = Path(__file__).parents[3] / "tests" / "gpu"


class Recorder:
    """A pytest plugin: writes one line for each test when the test has ended."""

    def __init__(self, context: PartContext) -> None:
        self.context = context
        self.outcomes = Counter[str]()

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.when != "call" and report.outcome == "passed":
            return
        self.outcomes[report.outcome] += 1
        why = {} if report.outcome == "passed" else {"why": report.longreprtext[-500:]}
        test = report.nodeid.rpartition("/")[2]
        self.context.log.write("test", test=test, outcome=report.outcome, seconds=round(report.duration, 2), **why)


def run(context: PartContext) -> None:
    os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"  # the tests need no plugin; installed ones may interfere
    recorder = Recorder(context)
    options = ["-q", "-m", "gpu", "--tb=short", "-p", "no:cacheprovider", f"--confcutdir={FOLDER}"]
    if not context.on_gpu:
        options.append("--rehearse")
    code = pytest.main([*options, str(FOLDER)], plugins=[recorder])
    context.log.write("tests", ok=code == 0, exit=int(code), rehearsed=not context.on_gpu, **recorder.outcomes)
    if code:
        context.failures.append("tests")
