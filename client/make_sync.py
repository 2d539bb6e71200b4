"""Writes the synchronous client from the asynchronous one: `python client/make_sync.py`, or `--check` to compare.

Needs ruff, which formats the result.
"""

import re
import subprocess
import sys
from pathlib import Path

PACKAGE = Path(__file__).parent / "acgan_client"
SOURCE, RESULT = PACKAGE / "_async", PACKAGE / "_sync"
NOTE = "# Written by client/make_sync.py: change the file of the same name in _async instead.\n"
NAMES = {
    "AsyncClient": "Client",
    "AsyncLabels": "Labels",
    "AsyncTransport": "Transport",
    "AsyncTrainingData": "TrainingDataCalls",
    "AsyncEvaluations": "Evaluations",
    "AsyncExploration": "Exploration",
    "AsyncWeights": "Weights",
    "AsyncBaseTransport": "BaseTransport",
    "AsyncIterator": "Iterator",
    "__aenter__": "__enter__",
    "__aexit__": "__exit__",
    "aclose": "close",
    "aiter_raw": "iter_raw",
    "async_pieces": "pieces",
    "async_run_blocking": "run_blocking",
    "async_reads_within": "reads_within",
    "async_sleep": "sleep",
    "async_stream": "stream",
    "_async": "_sync",
}
SYNCHRONOUS = re.compile(rf"\b(?:{'|'.join(map(re.escape, NAMES))})\b")
KEYWORDS = re.compile(r"\b(?:async|await) ")


def synchronous(source: str) -> str:
    """Return the synchronous form of a module."""
    text = SYNCHRONOUS.sub(lambda match: NAMES[match[0]], KEYWORDS.sub("", source))
    for command in (["check", "--quiet", "--select", "I", "--fix"], ["format", "--quiet"]):
        ruff = [sys.executable, "-m", "ruff", *command, "--stdin-filename", str(RESULT / "client.py"), "-"]
        text = subprocess.run(ruff, input=text, capture_output=True, text=True, check=True).stdout
    return NOTE + text


def main() -> int:
    stale = []
    for source in sorted(SOURCE.glob("[!_]*.py")):
        target = RESULT / source.name
        text = synchronous(source.read_text(encoding="utf-8"))
        if not target.exists() or target.read_text(encoding="utf-8") != text:
            stale.append(str(target))
            if "--check" not in sys.argv:
                target.write_text(text, encoding="utf-8")
    sys.stdout.write("".join(f"{name}: differs from its source\n" for name in stale if "--check" in sys.argv))
    return 1 if stale and "--check" in sys.argv else 0


if __name__ == "__main__":
    sys.exit(main())
