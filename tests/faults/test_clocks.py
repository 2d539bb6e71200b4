"""Hosts whose clocks are wrong: leases use Redis' clock, and durations a clock that cannot be set."""

import glob

import pytest

from tests.faults.places import FOLDER
from tests.faults.world import World
from worker.jobs.model import JobStatus

LIBRARY = next(iter(glob.glob("/usr/lib/*/faketime/libfaketimeMT.so.1")), None)

pytestmark = [pytest.mark.faults, FOLDER, pytest.mark.skipif(LIBRARY is None, reason="libfaketime is not installed")]


@pytest.mark.parametrize("offset", ["+3700s", "-1d"])
def test_a_worker_whose_clock_is_wrong_takes_no_others_job(lasting_world: World, offset: str) -> None:
    """An hour ahead, kombu considers every message that another worker holds abandoned."""
    assert LIBRARY is not None
    lasting_world.start_worker({"LD_PRELOAD": LIBRARY, "FAKETIME": offset, "FAKETIME_DONT_FAKE_MONOTONIC": "1"})
    jobs = [lasting_world.accept(epochs=2) for _ in range(3)]
    for job_id in jobs:
        assert lasting_world.until_ended(job_id).status == JobStatus.SUCCEEDED
    with lasting_world.redis.client() as client:
        assert int(client.get("acgan:fence") or 0) == len(jobs), lasting_world.story()
