"""Runs one part: python -m benchmarks.gpu.part NAME --out DIR --seconds N [--tiny]. runner.py starts it."""

import argparse
import importlib
import logging
import sys
import time
from pathlib import Path

from benchmarks.gpu.plan import PARTS, RESULTS
from benchmarks.gpu.results import ResultLog

STARTED = time.monotonic()


class WarningLines(logging.Handler):
    """Writes log messages, such as the reason of a failed capture, to the results."""

    def __init__(self, log: ResultLog) -> None:
        super().__init__(logging.WARNING)
        self.log = log

    def emit(self, record: logging.LogRecord) -> None:
        self.log.write("warning", logger=record.name, message=record.getMessage()[:500])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name", choices=[part.name for part in PARTS])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--tiny", action="store_true")
    given = parser.parse_args()

    from benchmarks.gpu.context import PartContext

    log = ResultLog(given.out / RESULTS, given.name)
    logging.getLogger().addHandler(WarningLines(log))
    context = PartContext(given.out, log, STARTED, STARTED + given.seconds, given.tiny)
    importlib.import_module(f"benchmarks.gpu.parts.{given.name}").run(context)
    context.record_memory()
    sys.exit(1 if context.failures else 0)


if __name__ == "__main__":
    main()
