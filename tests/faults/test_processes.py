"""Processes that die or stop: for any killed process, an accepted job ends, once, with the same weights."""

import contextlib
import os
import random
import signal
import time
from collections import Counter
from typing import Any

import pytest

from models.registry.store import MANIFEST, CheckpointId
from tests.faults.places import BOTH
from tests.faults.world import PACE, RECOVERY_SECONDS, Outcome, World, assert_legal, check, is_alive, parent
from worker.jobs.client import InvalidTransition
from worker.jobs.model import ENDED, JobStatus

OTHER_SIGNALS = (signal.SIGINT, signal.SIGHUP)


@BOTH
@pytest.mark.long
def test_a_run_continues_when_its_training_process_is_killed(here: World, undisturbed: Outcome, seed: int) -> None:
    job_id = here.accept(epochs=6)
    assert here.disturb(job_id, 5, seed, here.kill) >= 3
    assert here.until_ended(job_id).status == JobStatus.SUCCEEDED
    check(here, [job_id], undisturbed)


@pytest.mark.parametrize("group", [pytest.param(False, marks=pytest.mark.long), True])
def test_a_run_continues_when_its_whole_worker_is_killed(here: World, undisturbed: Outcome, group: bool) -> None:
    """Its training process ends with the worker, or when its lease expires; another worker continues the run."""
    job_id = here.accept(epochs=3)
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


@BOTH
@pytest.mark.long
def test_a_training_process_that_was_stopped_longer_than_its_lease_publishes_nothing_more(
    here: World, undisturbed: Outcome, seed: int
) -> None:
    """When it wakes, another worker runs the job: it publishes nothing and leaves the job. Once it was publishing."""
    here.start_worker()
    moments, jobs = random.Random(seed), []
    here.note("seed", seed)
    for stop in ("at random", "about to publish", "at random", "at random"):
        job_id = here.accept(epochs=2)
        zombie = here.until_running(job_id)
        if stop == "about to publish":
            stop_about_to_publish(here, job_id, zombie)
        else:
            here.pause(moments.uniform(0, 1.5))
            here.kill(zombie, signal.SIGSTOP)
        let_another_finish_what_it_began(here, job_id, zombie)
        assert here.until_ended(job_id).status == JobStatus.SUCCEEDED
        jobs.append(job_id)
    check(here, jobs, undisturbed)
    latest = here.store.latest()
    assert latest is not None
    assert here.store.manifest(latest).fence == here.store.highest_fence()


def stop_about_to_publish(here: World, job_id: str, trainer: int) -> None:
    """Stop it while the checkpoint that it writes is staged beside its final place."""
    if here.endpoint is not None:
        with here.endpoint.fault("hold", "PUT", MANIFEST, times=1) as fault:
            here.until("its manifest is being written", fault.began.is_set)
            here.kill(trainer, signal.SIGSTOP)
        here.note("stopped while its manifest was being written")
        return
    folder, deadline = here.store.root / job_id, time.monotonic() + 60 * PACE
    while time.monotonic() < deadline:
        if not (beside := list(folder.glob(".[0-9]*"))):
            time.sleep(0.001)
            continue
        here.kill(trainer, signal.SIGSTOP)
        if beside[0].exists():
            here.note("stopped with these files staged", beside[0].name)
            return
        here.kill(trainer, signal.SIGCONT)
    raise AssertionError(f"nothing was about to be published\n{here.story()}")


def let_another_finish_what_it_began(here: World, job_id: str, zombie: int) -> None:
    """Wake the zombie when another runs the job; it must leave the job, and nothing that it publishes may count."""
    leaving = "now belongs to another worker; leaving it"
    try:
        here.until("another runs it", lambda: (here.trainer(job_id) or zombie) != zombie, 2 * RECOVERY_SECONDS)
        told, left = len(here.job(job_id).epochs), here.log.read_text().count(leaving)
    finally:
        if is_alive_or_stopped(zombie):  # otherwise its worker has ended it
            here.kill(zombie, signal.SIGCONT)
    here.until("it leaves the job", lambda: not is_alive(zombie) or here.log.read_text().count(leaving) > left, 15)
    assert len(here.job(job_id).epochs) >= told


def is_alive_or_stopped(pid: int) -> bool:
    return is_alive(pid) and parent(pid) != 0


@pytest.mark.long
def test_the_only_training_process_is_ended_and_replaced_if_it_stops(here: World, undisturbed: Outcome) -> None:
    """Its parent ends it when its lease is revoked; until then the record says that it does not answer."""
    job_id = here.accept(epochs=3)
    zombie = here.until_running(job_id)
    here.until("progress", lambda: here.saved(job_id))
    here.kill(zombie, signal.SIGSTOP)
    here.until(
        "the record reports it", lambda: "does not respond" in str(here.job(job_id).trouble), 2 * RECOVERY_SECONDS
    )
    here.until("its parent ends it", lambda: not is_alive(zombie), 2 * RECOVERY_SECONDS)
    assert here.until_running(job_id, 4 * RECOVERY_SECONDS) != zombie
    assert here.until_ended(job_id).status == JobStatus.SUCCEEDED
    check(here, [job_id], undisturbed)


@pytest.mark.long
def test_an_idle_training_process_that_is_stopped_is_replaced(here: World, undisturbed: Outcome) -> None:
    first = here.accept(epochs=1)
    idle = here.until_running(first)
    here.until_ended(first)
    here.kill(idle, signal.SIGSTOP)
    second = here.accept(epochs=1)
    assert here.until_running(second, 5 * RECOVERY_SECONDS) != idle
    assert here.until_ended(second).status == JobStatus.SUCCEEDED
    check(here, [first, second], undisturbed)


@pytest.mark.parametrize("sign", [signal.SIGTERM, *(pytest.param(s, marks=pytest.mark.long) for s in OTHER_SIGNALS)])
def test_a_signal_to_the_whole_group_hands_the_job_back(
    here: World, undisturbed: Outcome, sign: signal.Signals
) -> None:
    """As systemd, Ctrl-C and a closed terminal send it: no worker counts as lost."""
    job_id = here.accept()
    here.until_running(job_id)
    here.until("progress", lambda: here.saved(job_id))
    worker = here.workers[-1]
    here.note("signal to the group", sign.name)
    os.killpg(worker.pid, sign)
    assert worker.wait(25 * PACE) == 0
    assert here.job(job_id).status in (JobStatus.QUEUED, JobStatus.SUCCEEDED), here.story()
    with here.redis.client() as client:
        assert client.hget(f"acgan:job:{job_id}", "lost") is None
    here.start_worker()
    assert here.until_ended(job_id).status == JobStatus.SUCCEEDED
    assert "was lost" not in here.log.read_text()
    check(here, [job_id], undisturbed)


@pytest.mark.long
def test_an_interrupted_run_is_next_before_the_lease_of_its_dead_process_expires(
    patient: World, undisturbed: Outcome
) -> None:
    """Other runs wait; the lease of the process lasts thirty times as long as this takes."""
    interrupted, waiting = patient.accept(epochs=3), patient.accept(epochs=1)
    trainer = patient.until_running(interrupted, 2 * RECOVERY_SECONDS)
    patient.until("progress", lambda: patient.saved(interrupted))
    patient.kill(trainer)
    assert patient.until("it runs again", lambda: other(patient.trainer(interrupted), trainer), 2 * RECOVERY_SECONDS)
    assert patient.job(waiting).started_at is None
    for job_id in (interrupted, waiting):
        assert patient.until_ended(job_id).status == JobStatus.SUCCEEDED
    check(patient, [interrupted, waiting], undisturbed)


def other(found: int | None, pid: int) -> int | None:
    return found if found != pid else None


@pytest.mark.long
def test_a_worker_that_shuts_down_saves_the_state_and_hands_its_job_back(
    here: World, undisturbed: Outcome, seed: int
) -> None:
    """The next worker continues from that state."""
    job_id = here.accept()
    moments = random.Random(seed)
    for _ in range(3):
        here.until("it runs or has ended", lambda: here.trainer(job_id) or here.ended(job_id), RECOVERY_SECONDS)
        here.pause(moments.uniform(0, 1.5))
        worker = here.workers[-1]
        here.kill(worker.pid, signal.SIGTERM)
        assert worker.wait(25 * PACE) == 0
        assert here.job(job_id).status in (JobStatus.QUEUED, JobStatus.SUCCEEDED)
        here.start_worker()
    assert here.until_ended(job_id).status == JobStatus.SUCCEEDED
    check(here, [job_id], undisturbed)


@pytest.mark.long
def test_a_job_that_kills_every_worker_fails_and_the_next_one_runs(here: World, undisturbed: Outcome) -> None:
    poison = here.accept()
    healthy = here.accept(epochs=1)
    deaths = []
    while here.job(poison).status != JobStatus.FAILED:
        pid = here.until("a worker claims it", lambda: here.trainer(poison) or here.ended(poison), 2 * RECOVERY_SECONDS)
        if pid == -1:
            break
        if pid not in deaths and parent(pid):
            here.kill(pid)
            deaths.append(pid)
    assert len(deaths) == 3
    assert "3 workers in a row" in str(here.job(poison).error)
    assert here.until_ended(healthy).status == JobStatus.SUCCEEDED
    check(here, [healthy], undisturbed)
    here.ask(lambda jobs: jobs.resume(poison))
    assert here.until_ended(poison).status == JobStatus.SUCCEEDED
    check(here, [poison, healthy], undisturbed)


@pytest.mark.long
def test_a_running_job_is_cancelled_and_resumed(here: World, undisturbed: Outcome, seed: int) -> None:
    job_id = here.accept()
    moments, cancelled = random.Random(seed), 0
    here.note("seed", seed)
    for _ in range(5):
        pid = here.until("it runs or has ended", lambda: here.trainer(job_id) or here.ended(job_id), RECOVERY_SECONDS)
        here.pause(moments.uniform(0, 1.0))
        if pid == -1 or here.job(job_id).status != JobStatus.RUNNING:
            break
        with contextlib.suppress(InvalidTransition):
            here.ask(lambda jobs: jobs.cancel(job_id))
        job = here.until_ended(job_id, 10)
        assert job.status in (JobStatus.CANCELLED, JobStatus.SUCCEEDED)
        if job.status == JobStatus.SUCCEEDED:
            break
        cancelled += 1
        here.ask(lambda jobs: jobs.resume(job_id))
    assert cancelled >= 3, here.story()
    assert here.until_ended(job_id).status == JobStatus.SUCCEEDED
    check(here, [job_id], undisturbed)


@pytest.mark.long
def test_a_job_cancelled_as_it_ends_ends_once(here: World, seed: int) -> None:
    """As cancelled or as succeeded. The process that trained is free for the next job, or gone."""
    moments = random.Random(seed)
    here.note("seed", seed)
    jobs = [here.accept(epochs=1, train_examples=8) for _ in range(8)]
    trainers = {cancel_about_the_end(here, job_id, moments, late=number % 2 == 0) for number, job_id in enumerate(jobs)}
    fates = Counter(here.job(job_id).status for job_id in jobs)
    here.note("fates", fates)
    assert set(fates) <= {JobStatus.SUCCEEDED, JobStatus.CANCELLED}
    with here.redis.client() as client:
        assert_legal(client)
        events: Any = client.xrange("acgan:events")
    assert Counter(event["job"] for _, event in events if event["data"] in ENDED) == dict.fromkeys(jobs, 1)
    ours = {worker.pid for worker in here.workers}
    assert all(parent(pid) in ours for pid in trainers if is_alive(pid))


def cancel_about_the_end(here: World, job_id: str, moments: random.Random, late: bool) -> int:
    """Cancel it within its second or two of running, or when all is published. Returns its training process."""
    trainer = here.until(f"{job_id} runs", lambda: here.trainer(job_id))
    if late:
        here.until("all is published", lambda: here.store.stands(CheckpointId(job_id, 1)))
    here.pause(moments.uniform(0, 0.2 if late else 1.5))
    with contextlib.suppress(InvalidTransition):
        here.ask(lambda jobs: jobs.cancel(job_id))
    here.until_ended(job_id, 10)
    return trainer
