"""A pytest plugin: the slowest test files run first, as `slow_files.txt` lists them.

With `pytest -n 2 --dist loadfile --no-loadscope-reorder`, a process that has no more tests takes the next file. If long
files come last, the other processes wait for one of them.
"""

from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LIST = Path(__file__).with_suffix(".txt")


def slow_files() -> list[Path]:
    """Returns the listed files, the slowest first."""
    return [ROOT / line for line in LIST.read_text().splitlines() if line and not line.startswith("#")]


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Move the tests of the listed files to the front, in the order of the list. Other tests stay in their order."""
    position = {path: number for number, path in enumerate(slow_files())}
    items.sort(key=lambda item: position.get(item.path, len(position)))
