"""Signals to the whole process group of `acgan worker`, once or twice, at any moment, lose no job.

systemd, a closed terminal and Ctrl-C signal all processes of a group; supervisors often signal twice.
"""

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.faults.world import LEASE_SECONDS, PACE, Outcome, World, check, running_world
from worker.jobs.model import JobStatus

pytestmark = pytest.mark.faults

SIGNS = [signal.SIGTERM, signal.SIGINT, signal.SIGHUP]
NEVER = {"ACGAN_SAVE_SECONDS": "3600"}  # a state is saved only if the run is interrupted


@pytest.fixture
def rarely_saving(tmp_path: Path) -> Iterator[World]:
    with running_world(tmp_path, environment=NEVER) as made:
        yield made


@pytest.fixture
def lasting(tmp_path: Path) -> Iterator[World]:
    """The same, with leases that do not expire on a slow machine: no job is lost but by a signal."""
    environment = {**NEVER, "ACGAN_LEASE_SECONDS": str(10 * LEASE_SECONDS * PACE)}
    with running_world(tmp_path, environment=environment) as made:
        yield made


def signal_group(worker: subprocess.Popen[bytes], sign: signal.Signals, times: int, pause: float = 0.2) -> None:
    for _ in range(times):
        if worker.poll() is None:
            os.killpg(worker.pid, sign)
            time.sleep(pause)


@pytest.mark.parametrize(("times", "pause"), [(1, 0.0), (2, 0.0), (2, 0.3), (3, 0.3)])
@pytest.mark.parametrize("sign", SIGNS, ids=lambda sign: sign.name)
def test_a_signal_to_the_group_saves_the_state_and_hands_the_job_back(
    lasting: World, undisturbed: Outcome, sign: signal.Signals, times: int, pause: float
) -> None:
    world = lasting
    worker = world.start_worker()
    job_id = world.accept(epochs=4)
    world.until("a first epoch", lambda: world.job(job_id).epochs)
    world.note("signal to the group", sign.name)
    signal_group(worker, sign, times, pause)
    worker.wait(20 * PACE)
    with world.redis.client() as client:
        assert client.hget(f"acgan:job:{job_id}", "saved") is not None, world.story()
        assert client.hget(f"acgan:job:{job_id}", "lost") is None, world.story()
    assert world.job(job_id).status == JobStatus.QUEUED
    world.start_worker()
    world.until_ended(job_id)
    check(world, [job_id], undisturbed)


@pytest.mark.parametrize("sign", SIGNS, ids=lambda sign: sign.name)
def test_a_signal_during_the_start_ends_the_worker_and_loses_no_job(
    rarely_saving: World, undisturbed: Outcome, sign: signal.Signals
) -> None:
    world = rarely_saving
    job_id = world.accept(epochs=2)
    for moment in (0.3, 1.5, 2.7, 4.0):
        worker = world.start_worker()
        time.sleep(moment * PACE)
        signal_group(worker, sign, 2)
        worker.wait(20 * PACE)
        with world.redis.client() as client:
            assert client.hget(f"acgan:job:{job_id}", "lost") is None, world.story()
    world.start_worker()
    assert world.until_ended(job_id).status == JobStatus.SUCCEEDED
    check(world, [job_id], undisturbed)
