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

from tests.faults.world import PACE, Outcome, World, check, world
from worker.jobs.model import JobStatus

pytestmark = pytest.mark.faults

SIGNS = [signal.SIGTERM, signal.SIGINT, signal.SIGHUP]
NEVER = {"ACGAN_SAVE_SECONDS": "3600"}  # a state is saved only if the run is interrupted


@pytest.fixture
def rarely_saving(tmp_path: Path) -> Iterator[World]:
    with world(tmp_path, environment=NEVER) as made:
        yield made


def signal_group(worker: subprocess.Popen[bytes], sign: signal.Signals, times: int, pause: float = 0.2) -> None:
    for _ in range(times):
        if worker.poll() is None:
            os.killpg(worker.pid, sign)
            time.sleep(pause)


@pytest.mark.parametrize(("times", "pause"), [(1, 0.0), (2, 0.0), (2, 0.3), (3, 0.3)])
@pytest.mark.parametrize("sign", SIGNS, ids=lambda sign: sign.name)
def test_a_signal_to_the_group_saves_the_state_and_hands_the_job_back(
    rarely_saving: World, undisturbed: Outcome, sign: signal.Signals, times: int, pause: float
) -> None:
    here = rarely_saving
    worker = here.start_worker()
    job_id = here.accept(epochs=3)
    here.until("a first epoch", lambda: here.job(job_id).epochs)
    here.note("signal to the group", sign.name)
    signal_group(worker, sign, times, pause)
    worker.wait(20 * PACE)
    with here.redis.client() as client:
        assert client.hget(f"acgan:job:{job_id}", "saved") is not None, here.story()
        assert client.hget(f"acgan:job:{job_id}", "lost") is None, here.story()
    assert here.job(job_id).status == JobStatus.QUEUED
    here.start_worker()
    here.until_ended(job_id)
    check(here, [job_id], undisturbed)


@pytest.mark.parametrize("sign", SIGNS, ids=lambda sign: sign.name)
def test_a_signal_during_the_start_ends_the_worker_and_loses_no_job(
    rarely_saving: World, undisturbed: Outcome, sign: signal.Signals
) -> None:
    here = rarely_saving
    job_id = here.accept(epochs=2)
    for moment in (0.3, 1.5, 2.7, 4.0):
        worker = here.start_worker()
        time.sleep(moment * PACE)
        signal_group(worker, sign, 2)
        worker.wait(20 * PACE)
        with here.redis.client() as client:
            assert client.hget(f"acgan:job:{job_id}", "lost") is None, here.story()
    here.start_worker()
    assert here.until_ended(job_id).status == JobStatus.SUCCEEDED
    check(here, [job_id], undisturbed)
