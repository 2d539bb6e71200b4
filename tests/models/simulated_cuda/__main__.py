"""Runs checks on the simulated device: python -m tests.models.simulated_cuda CHECK ... Prints a JSON line per check."""

import json
import sys
import traceback

from tests.models.simulated_cuda import epoch_end, iteration, judging

CHECKS = {**iteration.CHECKS, **judging.CHECKS, **epoch_end.CHECKS}


def main() -> None:
    for name in sys.argv[1:] or CHECKS:
        try:
            result = {"name": name, "error": None, "found": CHECKS[name]()}
        except Exception as error:
            frames = [
                frame for frame in traceback.extract_tb(error.__traceback__) if "site-packages" not in frame.filename
            ]
            lines = [f"{frame.filename}:{frame.lineno} {frame.line}" for frame in frames]
            result = {"name": name, "error": f"{type(error).__name__}: {error}", "found": lines}
        sys.stdout.write(json.dumps(result) + "\n")


if __name__ == "__main__":
    main()
