"""A run that needs more memory than there is: the kernel kills its process three times, and then the run fails."""

import contextlib
import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.places import FOLDER
from tests.faults.world import Outcome, World, check
from worker.jobs.model import JobStatus

pytestmark = [pytest.mark.faults, FOLDER]
LIMIT = 900 * 2**20


@pytest.fixture
def group() -> Iterator[Path]:
    """A control group with little memory."""
    version_1, version_2 = Path("/sys/fs/cgroup/memory"), Path("/sys/fs/cgroup")
    folder = (version_1 if version_1.is_dir() else version_2) / f"acgan-test-{os.getpid()}"
    try:
        folder.mkdir()
        (folder / ("memory.limit_in_bytes" if version_1.is_dir() else "memory.max")).write_text(str(LIMIT))
    except OSError:
        with contextlib.suppress(OSError):
            folder.rmdir()
        pytest.skip("limiting memory needs root and control groups")
    yield folder
    with contextlib.suppress(OSError):
        folder.rmdir()


def test_a_run_too_large_for_the_machine_fails_and_the_next_one_runs(
    world: World, group: Path, undisturbed: Outcome
) -> None:
    (group / "cgroup.procs").write_text(str(world.workers[0].pid))
    poison = world.accept(batch_size=1000, train_examples=1000)
    healthy = world.accept(epochs=1)
    job = world.until_ended(poison)
    assert job.status == JobStatus.FAILED
    assert "3 workers in a row" in str(job.error)
    assert len(re.findall(rf"job {poison} starts", world.log.read_text())) == 3
    assert world.until_ended(healthy).status == JobStatus.SUCCEEDED
    check(world, [healthy], undisturbed)
    world.close()  # so that the group is empty
