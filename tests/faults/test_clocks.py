"""Hosts whose clocks are wrong: leases use Redis' clock, and durations a clock that cannot be set."""

import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.faults.places import FOLDER
from tests.faults.set_clock import LIBRARY
from tests.faults.world import World
from worker.jobs.model import JobStatus

COMPILER = shutil.which("cc") or shutil.which("gcc")
OFFSETS = pytest.mark.parametrize("offset", ["+3700s", "-1d"])

pytestmark = [
    pytest.mark.faults,
    pytest.mark.skipif(LIBRARY is None, reason="libfaketime is not installed"),
    pytest.mark.skipif(COMPILER is None, reason="no C compiler is installed"),
]


@pytest.fixture(scope="module")
def real_sleep(tmp_path_factory: pytest.TempPathFactory) -> Path:
    assert COMPILER is not None
    library = tmp_path_factory.mktemp("library") / "real_sleep.so"
    source = Path(__file__).with_name("real_sleep.c")
    subprocess.run([COMPILER, "-shared", "-fPIC", "-o", str(library), str(source)], check=True)
    return library


@pytest.fixture
def wrong_clock(offset: str, real_sleep: Path) -> dict[str, str]:
    """The environment of a process whose clock is off by `offset`."""
    return {"LD_PRELOAD": f"{real_sleep}:{LIBRARY}", "FAKETIME": offset, "FAKETIME_DONT_FAKE_MONOTONIC": "1"}


@OFFSETS
def test_the_clock_is_wrong_and_durations_are_right(wrong_clock: dict[str, str], offset: str) -> None:
    """Otherwise the next test would see faults of libfaketime."""
    program = "import time; start = time.monotonic(); time.sleep(0.2); print(time.time(), time.monotonic() - start)"
    command = [sys.executable, "-c", program]
    output = subprocess.run(command, env=wrong_clock, capture_output=True, text=True, check=True).stdout
    now, slept = (float(word) for word in output.split())
    assert now - time.time() == pytest.approx({"+3700s": 3700, "-1d": -86400}[offset], abs=60)
    assert 0.2 <= slept < 60


@FOLDER
@OFFSETS
def test_a_worker_whose_clock_is_wrong_takes_no_others_job(lasting_world: World, wrong_clock: dict[str, str]) -> None:
    """An hour ahead, kombu considers every message that another worker holds abandoned."""
    lasting_world.start_worker(wrong_clock)
    jobs = [lasting_world.accept(epochs=2) for _ in range(3)]
    for job_id in jobs:
        assert lasting_world.until_ended(job_id).status == JobStatus.SUCCEEDED
    with lasting_world.redis.client() as client:
        assert int(client.get("acgan:fence") or 0) == len(jobs), lasting_world.story()
