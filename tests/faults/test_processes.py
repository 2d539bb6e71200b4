"""Processes that die or stop: whatever is killed, a job accepted is a job that ends, once, with the same weights."""

import os
import random
import signal
import time

import pytest

from tests.faults.world import RECOVERY_SECONDS, Outcome, World, check, is_alive, parent
from worker.jobs import JobStatus


def test_the_training_process_is_killed(here: World, undisturbed: Outcome, seed: int) -> None:
    job_id = here.accept(epochs=6)
    assert here.disturb(job_id, 5, seed, here.kill) >= 3
    assert here.until_ended(job_id).status == JobStatus.SUCCEEDED
    check(here, [job_id], undisturbed)


@pytest.mark.parametrize("group", [False, True])
def test_the_whole_worker_is_killed(here: World, undisturbed: Outcome, group: bool) -> None:
    """Its training process ends with it, or when the lease does; another worker goes on."""
    job_id = here.accept()
    trainer = here.until_running(job_id)
    here.until("progress", lambda: here.saved(job_id))
    worker = here.workers[0]
    here.start_worker()
    if group:
        here.note("killed", worker.pid)
        os.killpg(worker.pid, signal.SIGKILL)
    else:
        here.kill(worker.pid)
    here.until("its training process ends", lambda: not is_alive(trainer), 5)
    assert here.until_running(job_id) != trainer
    assert here.until_ended(job_id).status == JobStatus.SUCCEEDED
    check(here, [job_id], undisturbed)


def test_the_training_process_is_stopped_for_longer_than_its_lease(
    here: World, undisturbed: Outcome, seed: int
) -> None:
    """When it goes on, another runs the job: it publishes nothing more, and ends."""
    here.start_worker()
    job_id = here.accept()
    zombie = here.until_running(job_id)
    time.sleep(random.Random(seed).uniform(0, 1.5))
    here.kill(zombie, signal.SIGSTOP)
    try:
        successor = here.until(
            "another runs it", lambda: (here.trainer(job_id) or zombie) != zombie, 2 * RECOVERY_SECONDS
        )
        assert successor
        told = len(here.job(job_id).epochs)
    finally:
        here.kill(zombie, signal.SIGCONT)
    here.until("the zombie lets go", lambda: not is_alive(zombie) or here.until_ended(job_id), 60)
    assert here.until_ended(job_id).status == JobStatus.SUCCEEDED
    assert len(here.job(job_id).epochs) >= told
    check(here, [job_id], undisturbed)
    latest = here.store.latest()
    assert latest is not None
    assert here.store.manifest(latest).fence == here.store.highest_fence()


def test_a_worker_is_asked_to_end(here: World, undisturbed: Outcome, seed: int) -> None:
    """It keeps the run's state and hands the job back; whoever comes next goes on from there."""
    job_id = here.accept()
    moments = random.Random(seed)
    for _ in range(3):
        here.until("it runs or has ended", lambda: here.trainer(job_id) or here.ended(job_id), RECOVERY_SECONDS)
        time.sleep(moments.uniform(0, 1.5))
        worker = here.workers[-1]
        here.kill(worker.pid, signal.SIGTERM)
        assert worker.wait(25) == 0
        assert here.job(job_id).status in (JobStatus.QUEUED, JobStatus.SUCCEEDED)
        here.start_worker()
    assert here.until_ended(job_id).status == JobStatus.SUCCEEDED
    check(here, [job_id], undisturbed)


def test_a_job_that_kills_every_worker_is_given_up_and_the_next_is_run(here: World, undisturbed: Outcome) -> None:
    poison = here.accept()
    healthy = here.accept()
    deaths = []
    while here.job(poison).status != JobStatus.FAILED:
        pid = here.until("somebody dares", lambda: here.trainer(poison) or here.ended(poison), 2 * RECOVERY_SECONDS)
        if pid == -1:
            break
        if pid not in deaths and parent(pid):
            here.kill(pid)
            deaths.append(pid)
    assert len(deaths) == 3
    assert "3 workers in a row" in str(here.job(poison).error)
    assert here.until_ended(healthy).status == JobStatus.SUCCEEDED
    check(here, [healthy], undisturbed)
    here.ask(lambda desk: desk.resume(poison))
    assert here.until_ended(poison).status == JobStatus.SUCCEEDED
    check(here, [poison, healthy], undisturbed)


def test_a_running_job_is_cancelled_and_resumed(here: World, undisturbed: Outcome, seed: int) -> None:
    job_id = here.accept()
    moments = random.Random(seed)
    for _ in range(3):
        pid = here.until("it runs or has ended", lambda: here.trainer(job_id) or here.ended(job_id), RECOVERY_SECONDS)
        if pid == -1:
            break
        time.sleep(moments.uniform(0, 1.0))
        asked = here.ask(lambda desk: desk.get(job_id)).status
        if asked != JobStatus.RUNNING:
            break
        here.ask(lambda desk: desk.cancel(job_id))
        job = here.until_ended(job_id, 10)
        assert job.status in (JobStatus.CANCELLED, JobStatus.SUCCEEDED)
        if job.status == JobStatus.SUCCEEDED:
            break
        here.ask(lambda desk: desk.resume(job_id))
    assert here.until_ended(job_id).status == JobStatus.SUCCEEDED
    check(here, [job_id], undisturbed)
