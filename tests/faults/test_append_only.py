"""Redis' append-only file loses its last bytes, at any position: as if a disk had not kept an acknowledged write."""

import os
import random
import re

import pytest

from app.server.embedded_redis import APPENDED
from models.registry.store import CheckpointId
from tests.faults.world import RECOVERY_SECONDS, Outcome, World, check
from worker.jobs.model import JobStatus

CUTS = 5


@pytest.mark.long
def test_a_tail_cut_off_anywhere_loses_no_job_and_repeats_no_token(
    here: World, undisturbed: Outcome, seed: int
) -> None:
    """Each time a job is accepted, and part of what was written afterwards is lost."""
    moments, jobs = random.Random(seed), []
    here.note("seed", seed)
    (appended,) = (here.folder / "redis" / APPENDED).glob("*.incr.aof")
    for _ in range(CUTS):
        jobs.append(here.accept(epochs=2))
        accepted = appended.stat().st_size
        here.until("one of them runs", lambda: any(here.trainer(job_id) for job_id in jobs), 2 * RECOVERY_SECONDS)
        here.pause(moments.uniform(0, 1.5))
        latest, tokens = here.store.latest(), here.store.highest_fence()
        here.redis.kill()
        written = appended.stat().st_size
        kept = moments.randint(accepted, written)
        os.truncate(appended, kept)
        here.note("cut off", f"{written - kept} of the {written - accepted} bytes since")
        here.redis.start()
        assert {job.id for job in here.ask(lambda jobs: jobs.newest(100))} == set(jobs)
        if latest is not None:
            assert latest <= (here.store.latest() or CheckpointId("", 0))
        assert here.store.highest_fence() >= tokens
    for job_id in jobs:
        assert here.until_ended(job_id).status == JobStatus.SUCCEEDED
    check(here, jobs, undisturbed)
    given = re.findall(r"starts, with token (\d+)", here.log.read_text())
    assert len(given) >= CUTS
    assert len(given) == len(set(given)), here.story()
