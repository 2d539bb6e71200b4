"""`python -m benchmarks.gpu`, rehearsed on the CPU of a machine that lacks Celery, Redis, FastAPI and others."""

import os
import signal
import subprocess
import sys
import time
import zipfile
from importlib import metadata
from pathlib import Path
from types import SimpleNamespace

import pytest

from benchmarks.gpu import wheels
from benchmarks.gpu.context import PartContext
from benchmarks.gpu.parts import machine
from benchmarks.gpu.plan import LOG, PARTS, RESULTS, SUMMARY, TOTAL_SECONDS
from benchmarks.gpu.report import summarize
from benchmarks.gpu.results import Line, ResultLog, read_results
from benchmarks.gpu.runner import Runner
from benchmarks.gpu.wheels import CannotPrepare, check_packages, package_folder
from benchmarks.processes import alive
from models.training.recipes import RECIPES

ROOT = Path(__file__).parents[2]
BARE_MACHINE = Path(__file__).parent / "bare_machine"
MEASURED = {  # the least that each part writes
    "machine": {"versions", "bf16 product", "copy", "50 MiB written and fsynced"},
    "smoke": {f"{recipe} auto: captured equals eager" for recipe in RECIPES}
    | {f"{recipe}: end of an epoch" for recipe in RECIPES},
    "tests": {"test", "tests"},
    "table": {"graph seed auto fused", "eager seed auto fused", "host time", *(f"kernels {name}" for name in RECIPES)},
    "original": {"epoch", "100 epochs"},
    "thorough": {"epochs that fit", "epoch", "thorough trained", "evaluation, quick"},
    "compiled": {"compiled"},
}


def environment() -> dict[str, str]:
    paths = os.pathsep.join((str(BARE_MACHINE), str(ROOT)))
    return {**os.environ, "PYTHONPATH": paths, "CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"}


def start(out: Path, *options: str) -> "subprocess.Popen[str]":
    command = [sys.executable, "-m", "benchmarks.gpu", "--tiny", "--out", str(out), *options]
    return subprocess.Popen(
        command, env=environment(), cwd=out.parent, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def began(out: Path, part: str) -> int:
    """Wait until a part has begun. Returns its process id."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        for line in of(read_results(out / RESULTS), part):
            if line["name"] == "part began":
                return int(line["pid"])
        time.sleep(0.02)
    raise TimeoutError(f"{part} has not begun")


def of(lines: list[Line], part: str) -> list[Line]:
    return [line for line in lines if line["part"] == part]


def exits(lines: list[Line]) -> dict[str, int]:
    return {line["part"]: line["exit"] for line in lines if line["name"] == "part ended"}


def test_the_simulated_machine_lacks_the_packages_it_should() -> None:
    done = subprocess.run([sys.executable, "-c", "import redis"], env=environment(), capture_output=True, check=False)
    assert b"No module named 'redis'" in done.stderr


def test_the_limits_leave_time_for_a_run_in_nine_minutes() -> None:
    """Also if every earlier part needs all of its time. `thorough` trains the epochs that fit, `compiled` is last."""
    *earlier, thorough, compiled = PARTS
    assert (thorough.name, compiled.name) == ("thorough", "compiled")
    assert sum(part.seconds for part in earlier) + 80 <= TOTAL_SECONDS == 540
    assert all(part.seconds <= TOTAL_SECONDS for part in PARTS)


@pytest.mark.timeout(600)  # a minute of one idle processor
@pytest.mark.long
def test_every_part_succeeds_and_writes_its_results(tmp_path: Path) -> None:
    out = tmp_path / "results"
    output, _ = (process := start(out, "--stretch", "4")).communicate(timeout=580)
    assert process.returncode == 0, output + (out / LOG).read_text()[-3000:]
    lines = read_results(out / RESULTS)
    assert exits(lines) == {part.name: 0 for part in PARTS}
    for part in PARTS:
        assert {line["name"] for line in of(lines, part.name)} >= MEASURED[part.name]
    assert [line for line in lines if line.get("ok") is False or line.get("outcome") == "failed"] == []
    (tests,) = [line for line in of(lines, "tests") if line["name"] == "tests"]
    assert tests["passed"] > 20
    summary = (out / SUMMARY).read_text()
    assert summary in output
    for text in (
        "| thorough | 0 |",
        "graph, seed",
        "Kernels of an iteration, `sharp`",
        "2 epochs of 2 planned",
        "| quick |",
    ):
        assert text in summary
    assert {"kernels.json", "thorough_generator.safetensors", "original_history.json"} <= {
        p.name for p in out.iterdir()
    }


def test_a_part_that_is_killed_does_not_stop_the_rest(tmp_path: Path) -> None:
    out = tmp_path / "results"
    process = start(out, "--only", "machine", "thorough", "compiled")
    os.kill(began(out, "thorough"), signal.SIGKILL)
    output, _ = process.communicate(timeout=120)
    assert exits(read_results(out / RESULTS)) == {"machine": 0, "thorough": -9, "compiled": 0}
    assert process.returncode == 1
    assert "| thorough | -9 |" in output


def test_sigterm_ends_the_part_and_the_command_still_writes_its_summary(tmp_path: Path) -> None:
    out = tmp_path / "results"
    process = start(out, "--only", "thorough", "compiled")
    part = began(out, "thorough")
    process.terminate()
    output, _ = process.communicate(timeout=30)
    assert not alive(part)
    assert exits(read_results(out / RESULTS)) == {"thorough": -9}
    assert "| compiled | not run |" in output
    assert process.returncode == 1


def test_a_part_that_exceeds_its_limit_is_killed_with_its_children(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only the limit is tested: a small program stands for any part that hangs."""
    hangs = "import signal, subprocess, sys; signal.signal(signal.SIGTERM, signal.SIG_IGN); "
    hangs += "child = subprocess.Popen(['sleep', '60']); print(child.pid, file=open('child', 'w')); child.wait()"
    runner = Runner(tmp_path, time.monotonic() + 60, 1.0, [], {**os.environ})
    log = ResultLog(tmp_path / RESULTS, "machine")
    command = [sys.executable, "-c", f"import os; os.chdir({str(tmp_path)!r}); {hangs}"]
    began = time.monotonic()
    hung: list[float] = []  # the time at which the program hangs: its start may take long, and does not count

    def clock() -> float:
        if not hung and (tmp_path / "child").exists() and (tmp_path / "child").read_text().strip():
            hung.append(time.monotonic())
        return began + (time.monotonic() - hung[0] if hung else 0)

    monkeypatch.setattr("benchmarks.gpu.runner.time", SimpleNamespace(monotonic=clock, sleep=time.sleep))
    assert runner.run_command(command, 1.5, log) == -9
    assert time.monotonic() - hung[0] < 5
    deadline = time.monotonic() + 5
    while alive(int((tmp_path / "child").read_text())) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not alive(int((tmp_path / "child").read_text()))


def test_a_part_without_time_left_is_not_started(tmp_path: Path) -> None:
    assert not Runner(tmp_path, time.monotonic() + 1, 1.0, [], {**os.environ}).run(PARTS[:1])
    (line,) = read_results(tmp_path / RESULTS)
    assert (line["name"], line["reason"]) == ("part skipped", "no time left")


def test_the_summary_tolerates_half_a_line_and_missing_results(tmp_path: Path) -> None:
    path = tmp_path / RESULTS
    ResultLog(path, "machine").write("part began", pid=1)
    with path.open("a") as file:
        file.write('{"part": "smoke", "na')
    assert len(read_results(path)) == 1
    assert "| machine | not run |" in summarize(read_results(path))


def test_the_summary_repeats_failures_and_warnings(tmp_path: Path) -> None:
    log = ResultLog(tmp_path / RESULTS, "smoke")
    log.write("seed fp32: first iterations", ok=False, error="RuntimeError: no memory")
    for _ in range(2):
        log.write("warning", logger="models.networks.cuda_graph", message="the CUDA graph capture failed")
    summary = summarize(read_results(tmp_path / RESULTS))
    assert "- smoke, seed fp32: first iterations: RuntimeError: no memory\n" in summary
    assert summary.count("- the CUDA graph capture failed\n") == 1


@pytest.mark.parametrize(
    ("end", "how"),
    [
        ({"exit": -15, "seconds": 122.3, "limit_seconds": 130.0}, "cut at its limit"),
        ({"exit": -9, "seconds": 130.0, "limit_seconds": 130.0}, "cut at its limit"),
        ({"exit": -11, "seconds": 20.0, "limit_seconds": 130.0}, "cut by exit code -11"),
        (None, "incomplete"),
    ],
)
def test_the_summary_counts_the_tests_of_a_part_that_was_cut(
    tmp_path: Path, end: dict[str, object] | None, how: str
) -> None:
    log = ResultLog(tmp_path / RESULTS, "tests")
    for number, outcome in enumerate(["passed", "failed", "passed", "skipped"]):
        log.write("test", test=f"test_gpu.py::test_{number}", outcome=outcome, seconds=1.0)
    if end is not None:
        log.write("part ended", peak_rss_mib=1, **end)
    assert f"`pytest -m gpu`: 2 passed, 1 failed, 1 skipped ({how}).\n" in summarize(read_results(tmp_path / RESULTS))


@pytest.mark.parametrize(
    ("source", "version"), [("__version__ = '3.9.0'", "3.9.0"), ("", None), ("raise RuntimeError('no driver')", None)]
)
def test_a_triton_without_metadata_does_not_end_the_part(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, source: str, version: str | None
) -> None:
    """As in some builds of torch."""

    def missing(name: str) -> str:
        raise metadata.PackageNotFoundError(name) if name == "triton" else AssertionError(name)

    monkeypatch.setattr(metadata, "version", missing)
    monkeypatch.setattr("benchmarks.gpu.parts.machine.code_version", lambda: "0")
    (tmp_path / "triton.py").write_text(source)
    monkeypatch.syspath_prepend(tmp_path)
    for name in [name for name in sys.modules if name.partition(".")[0] == "triton"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "triton", None)  # so that the test's own module is removed afterwards
    del sys.modules["triton"]
    context = PartContext(tmp_path, ResultLog(tmp_path / RESULTS, "machine"), 0.0, 60.0, tiny=True)
    assert machine.versions(context)["triton"] == version


# ----------------------------------------------------------------------------
# Packages that the machine lacks.


def test_wheels_are_installed_without_a_network(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "brought-1.0-py3-none-any.whl", "w") as wheel:
        wheel.writestr("brought.py", "answer = 42\n")
        wheel.writestr("brought-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: brought\nVersion: 1.0\n")
        wheel.writestr("brought-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr("brought-1.0.dist-info/RECORD", "")
    folder = package_folder(tmp_path, tmp_path / "out")
    assert (folder / "brought.py").read_text() == "answer = 42\n"


def test_a_folder_of_unpacked_packages_is_taken_as_it_is(tmp_path: Path) -> None:
    assert package_folder(tmp_path, tmp_path / "out") == tmp_path.resolve()
    with pytest.raises(CannotPrepare, match="there is no folder"):
        package_folder(tmp_path / "none", tmp_path / "out")


def test_missing_packages_are_named_before_any_part_runs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    check_packages([])
    monkeypatch.setattr(wheels, "REQUIRED", ("torch", "brought"))
    with pytest.raises(CannotPrepare, match="packages are missing: brought"):
        check_packages([])
    (tmp_path / "brought.py").write_text("")
    check_packages([str(tmp_path)])
