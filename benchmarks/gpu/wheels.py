"""Installs packages that the machine lacks from wheels. Free of torch."""

import subprocess
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

REQUIRED = ("torch", "numpy", "PIL", "pydantic", "pydantic_settings", "pytest", "rich", "safetensors")


class CannotPrepare(Exception):
    """The benchmark cannot run on this machine. The message names what is missing."""


def package_folder(wheels: Path, out: Path) -> Path:
    """Install the wheels of a folder below `out`, without a network, and return the folder for PYTHONPATH.

    A folder without wheels is used as a folder of unpacked packages. Raises CannotPrepare.
    """
    files = sorted(wheels.glob("*.whl"))
    if not wheels.is_dir():
        raise CannotPrepare(f"--wheels: there is no folder {wheels}")
    if not files:
        return wheels.resolve()
    target = out / "packages"
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-index", "--no-deps", "--upgrade"]
    command = [*pip, "--target", str(target), *map(str, files)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
    if done.returncode:
        raise CannotPrepare(f"the wheels in {wheels} cannot be installed: {done.stderr.strip()}")
    return target.resolve()


def check_packages(python_path: Sequence[str]) -> None:
    """Raise CannotPrepare if a package that every part needs cannot be found."""
    before = sys.path[:]
    sys.path[:0] = python_path
    try:
        missing = [name for name in REQUIRED if find_spec(name) is None]
    finally:
        sys.path[:] = before
    if missing:
        raise CannotPrepare(f"packages are missing: {', '.join(missing)}; pass a folder with their wheels as --wheels")
