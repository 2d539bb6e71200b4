"""Runs checks on the simulated device: python -m tests.models.simulated_cuda CHECK ... Prints a JSON line per check."""

import json
import sys
import traceback

from tests.models.simulated_cuda import iteration, judging

CHECKS = {**iteration.CHECKS, **judging.CHECKS}


def main() -> None:
    for name in sys.argv[1:] or CHECKS:
        try:
            result = {"name": name, "error": None, "found": CHECKS[name]()}
        except Exception as error:
            lines = traceback.format_exc().splitlines()
            result = {"name": name, "error": f"{type(error).__name__}: {error}", "found": lines[-12:]}
        sys.stdout.write(json.dumps(result) + "\n")


if __name__ == "__main__":
    main()
