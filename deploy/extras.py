"""Used in the Dockerfile: prints the part of a lock file that optional extras of acgan add to an environment.

python extras.py tracing,parquet WHEEL PYTHON
"""

import json
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterable
from pathlib import Path

ROOT = Path(__file__).parents[1]
PIN = re.compile(r"^([A-Za-z0-9._-]+)==")


def checked(extras: str, pyproject: Path) -> str:
    """Return the extras, separated by commas. Exits with a sentence if the project has no such extra."""
    known = tomllib.loads(pyproject.read_text())["project"]["optional-dependencies"]
    names = re.split(r"[\s,]+", extras.strip())
    if unknown := [name for name in names if name not in known]:
        sys.exit(f"EXTRAS: there is no extra {', '.join(unknown)}; there are {', '.join(sorted(known))}")
    return ",".join(names)


def added(extras: str, wheel: str, python: str, constraints: Path) -> set[str]:
    """Return the packages that pip would add to the environment of an interpreter, without installing them."""
    command = ["pip", "--python", python, "install", "--dry-run", "--quiet", "--report", "-", "-c", str(constraints)]
    done = subprocess.run([*command, f"{wheel}[{extras}]"], check=False, stdout=subprocess.PIPE, text=True)  # noqa: S603
    if done.returncode != 0:
        sys.exit(f"EXTRAS: pip cannot add {extras}, for the reason above")
    return {each["metadata"]["name"] for each in json.loads(done.stdout)["install"]} - {"acgan"}


def part(lock: str, packages: Iterable[str]) -> str:
    """Return the entries of some packages. Exits with a sentence if one is not locked."""
    wanted = {re.sub(r"[-_.]+", "-", name).lower() for name in packages}
    entries = [
        entry for entry in re.split(r"\n(?=[A-Za-z0-9])", lock) if (found := PIN.match(entry)) and found[1] in wanted
    ]
    if missing := wanted - {entry.partition("==")[0] for entry in entries}:
        sys.exit(f"EXTRAS: {', '.join(sorted(missing))} cannot be added: requirements-dev.lock does not have it")
    return "".join(f"{entry.rstrip()}\n" for entry in entries)


if __name__ == "__main__":
    wanted_extras, wheel, python = sys.argv[1:]
    names = added(checked(wanted_extras, ROOT / "pyproject.toml"), wheel, python, ROOT / "constraints.txt")
    sys.stdout.write(part((ROOT / "requirements-dev.lock").read_text(), names))
