"""All measurements that need a GPU, in one command of at most nine minutes; README.md beside this file explains it.

    python -m benchmarks.gpu [--out DIR] [--seconds 540] [--wheels DIR] [--only PART ...] [--tiny] [--stretch X]

Each part runs in its own process, within its own limit; one that fails or is killed does not stop the others. Results
are written to results.jsonl line by line. The exit code is 0 if all parts succeeded, else 1; 2 if none could start.
"""

import argparse
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks.gpu.plan import LOG, PARTS, RESULTS, SUMMARY, TOTAL_SECONDS
from benchmarks.gpu.report import summarize
from benchmarks.gpu.results import read_results
from benchmarks.gpu.runner import Runner
from benchmarks.gpu.wheels import CannotPrepare, check_packages, package_folder

ROOT = Path(__file__).parents[2]
REPORT_SECONDS = 3.0  # part of --seconds that is reserved for the summary


def parse(words: Sequence[str] | None) -> argparse.Namespace:
    parts = "\n".join(f"  {part.name:10s} {part.seconds:4d} s  {part.about}" for part in PARTS)
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.gpu",
        description=__doc__,
        epilog=f"parts, in this order, and their limits:\n{parts}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--out", type=Path, default=Path("gpu-results"), help="folder for the results [gpu-results]")
    parser.add_argument("--seconds", type=float, default=TOTAL_SECONDS, help="time limit of the command [540]")
    parser.add_argument("--wheels", type=Path, help="folder with wheels of packages that this machine lacks")
    parser.add_argument("--only", nargs="+", choices=[part.name for part in PARTS], help="run only these parts")
    parser.add_argument("--tiny", action="store_true", help="rehearse: all steps at tiny sizes, also without a GPU")
    parser.add_argument("--stretch", type=float, default=1.0, help="multiply all limits, on a busy machine [1]")
    return parser.parse_args(words)


def child_environment(python_path: Sequence[str], out: Path) -> dict[str, str]:
    known = os.environ.get("PYTHONPATH")
    paths = [*python_path, *([known] if known else [])]
    kept = {name: value for name, value in os.environ.items() if not name.startswith("ACGAN_")}
    if data := os.environ.get("ACGAN_DATA_DIR"):
        kept["ACGAN_DATA_DIR"] = str(Path(data).resolve())
    return {**kept, "PYTHONPATH": os.pathsep.join(paths), "PYTHONUNBUFFERED": "1", "ACGAN_HOME": str(out / "home")}


def main(words: Sequence[str] | None = None) -> int:
    ends = time.monotonic() - REPORT_SECONDS
    given = parse(words)
    out = given.out.resolve()
    out.mkdir(parents=True, exist_ok=True)
    for name in (RESULTS, LOG):
        (out / name).unlink(missing_ok=True)
    try:
        python_path = [str(package_folder(given.wheels, out))] if given.wheels else []
        python_path.append(str(ROOT))
        check_packages(python_path)
    except CannotPrepare as error:
        sys.stderr.write(f"benchmarks.gpu: {error}\n")
        return 2
    options = ["--tiny"] if given.tiny else []
    runner = Runner(
        out, ends + given.stretch * given.seconds, given.stretch, options, child_environment(python_path, out)
    )
    succeeded = runner.run([part for part in PARTS if not given.only or part.name in given.only])
    summary = summarize(read_results(out / RESULTS))
    (out / SUMMARY).write_text(summary)
    sys.stdout.write(f"\n{summary}\nAll results are in {out}; {LOG} has the output of the parts.\n")
    return 0 if succeeded else 1


if __name__ == "__main__":
    sys.exit(main())
