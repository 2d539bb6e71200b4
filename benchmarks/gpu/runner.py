"""Runs the parts one after the other, each in a separate process and within a separate limit. Free of torch."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from types import FrameType

from benchmarks.gpu.plan import GRACE_SECONDS, LOG, RESULTS, Part
from benchmarks.gpu.results import ResultLog

SHORTEST_SECONDS = 5.0  # a part that has less is not started


class Runner:
    """Runs parts until `ends`, a time of time.monotonic(). A part that fails or is killed does not stop the others."""

    def __init__(
        self, out: Path, ends: float, stretch: float, options: Sequence[str], environment: dict[str, str]
    ) -> None:
        self.out = out
        self.ends = ends
        self.stretch = stretch  # multiplies the parts' limits
        self.options = options  # for every part
        self.environment = environment
        self.process: subprocess.Popen[bytes] | None = None

    def run(self, parts: Sequence[Part]) -> bool:
        """Run the parts. Returns whether all of them ended with exit code 0."""
        before = {which: signal.signal(which, self.end) for which in (signal.SIGTERM, signal.SIGINT)}
        try:
            codes = [self.run_part(part) for part in parts]
        finally:
            for which, handler in before.items():
                signal.signal(which, handler)
        return all(code == 0 for code in codes)

    def end(self, _signal: int, _frame: FrameType | None) -> None:
        """On SIGTERM or Ctrl-C: start no further part, and end the current one."""
        self.ends = time.monotonic()
        if self.process is not None:
            kill_group(self.process, signal.SIGKILL)

    def run_part(self, part: Part) -> int | None:
        """Run one part. Returns its exit code, negative if a signal ended it, or None if no time was left."""
        log = ResultLog(self.out / RESULTS, part.name)
        limit = min(self.stretch * part.seconds, self.ends - time.monotonic())
        if limit < SHORTEST_SECONDS:
            log.write("part skipped", reason="no time left")
            return None
        command = [sys.executable, "-m", "benchmarks.gpu.part", part.name]
        command += ["--out", str(self.out), "--seconds", f"{max(1.0, limit - GRACE_SECONDS - 1):.0f}", *self.options]
        return self.run_command(command, limit, log)

    def run_command(self, command: list[str], limit: float, log: ResultLog) -> int:
        began = time.monotonic()
        with (self.out / LOG).open("ab") as output:
            self.process = process = subprocess.Popen(  # noqa: S603
                command, env=self.environment, stdout=output, stderr=subprocess.STDOUT, start_new_session=True
            )
        log.write("part began", pid=process.pid, limit_seconds=round(limit, 1))
        code, peak = wait(process, began + limit, min(GRACE_SECONDS, limit / 4))
        kill_group(process, signal.SIGKILL)  # what the part itself has started
        seconds = round(time.monotonic() - began, 1)
        log.write("part ended", exit=code, seconds=seconds, limit_seconds=round(limit, 1), peak_rss_mib=peak)
        return code


def wait(process: "subprocess.Popen[bytes]", ends: float, grace: float) -> tuple[int, int]:
    """Wait for a process. Its group gets SIGTERM `grace` seconds before `ends`, and SIGKILL at `ends`.

    Returns its exit code, negative if a signal ended it, and its peak resident memory in MiB.
    """
    signals = [(ends - grace, signal.SIGTERM), (ends, signal.SIGKILL)]
    while True:
        pid, status, usage = os.wait4(process.pid, os.WNOHANG)
        if pid:
            process.returncode = os.waitstatus_to_exitcode(status)
            return process.returncode, usage.ru_maxrss >> 10
        if signals and time.monotonic() >= signals[0][0]:
            kill_group(process, signals.pop(0)[1])
        time.sleep(0.05)


def kill_group(process: "subprocess.Popen[bytes]", which: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, which)
