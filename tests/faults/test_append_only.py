"""Redis' append-only file loses its last bytes, at any position: as if a disk had not kept an acknowledged write."""

import os
import random
import re

import pytest

from app.server.embedded_redis import APPENDED
from models.registry.store import CheckpointId
from tests.faults.world import RECOVERY_SECONDS, Outcome, World, check
from tests.support.job_lists import newest
from worker.jobs.model import JobStatus

CUTS = 5


@pytest.mark.long
def test_a_tail_cut_off_anywhere_loses_no_job_and_repeats_no_token(
    world: World, undisturbed: Outcome, seed: int
) -> None:
    """Each time a job is accepted, and part of what was written afterwards is lost."""
    moments, jobs = random.Random(seed), []
    world.note("seed", seed)
    (appended,) = (world.folder / "redis" / APPENDED).glob("*.incr.aof")
    for _ in range(CUTS):
        jobs.append(world.accept(epochs=2))
        accepted = appended.stat().st_size
        world.until("one of them runs", lambda: any(world.trainer(job_id) for job_id in jobs), 2 * RECOVERY_SECONDS)
        world.pause(moments.uniform(0, 1.5))
        latest, tokens = world.store.latest(), world.store.highest_fence()
        world.redis.kill()
        written = appended.stat().st_size
        kept = moments.randint(accepted, written)
        os.truncate(appended, kept)
        world.note("cut off", f"{written - kept} of the {written - accepted} bytes since")
        world.redis.start()
        assert {job.id for job in world.ask(lambda jobs: newest(jobs, 100))} == set(jobs)
        if latest is not None:
            assert latest <= (world.store.latest() or CheckpointId("", 0))
        assert world.store.highest_fence() >= tokens
    for job_id in jobs:
        assert world.until_ended(job_id).status == JobStatus.SUCCEEDED
    check(world, jobs, undisturbed)
    given = re.findall(r"starts, with token (\d+)", world.log.read_text())
    assert len(given) >= CUTS
    assert len(given) == len(set(given)), world.story()
