"""A pytest plugin: of the tests marked `long`, `--long-sample N` runs one in N, others each day.

`make test` and `.ci/run` run a sample, and N consecutive days have run every test. `make test-faults` runs all of them.
"""

from datetime import date

import pytest


def sample(names: list[str], every: int, day: int) -> set[str]:
    """The names that run on that day: each name runs on one of `every` consecutive days."""
    return {name for number, name in enumerate(sorted(names)) if (number + day) % every == 0}


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--long-sample", type=int, default=1, metavar="N", help="run one in N of the tests marked long")
    parser.addoption("--long-day", type=int, metavar="DAY", help="the day that chooses the sample; default: today")


def pytest_configure(config: pytest.Config) -> None:
    """Set the day once: the processes of xdist get the options of the first one, also after midnight."""
    if config.option.long_day is None:
        config.option.long_day = date.today().toordinal()


def pytest_report_header(config: pytest.Config) -> str:
    every, day = config.option.long_sample, config.option.long_day
    chosen = f"one in {every}, those of day {day} (--long-day)" if every > 1 else "all"
    return f"tests marked long: {chosen}"


@pytest.hookimpl(trylast=True)  # after `-m` has deselected tests
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    every: int = config.option.long_sample
    long = [item.nodeid for item in items if item.get_closest_marker("long")]
    left_out = set(long) - sample(long, every, config.option.long_day)
    if left_out:
        config.hook.pytest_deselected(items=[item for item in items if item.nodeid in left_out])
        items[:] = [item for item in items if item.nodeid not in left_out]
