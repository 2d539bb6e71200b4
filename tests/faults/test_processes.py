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
from tests.faults.world import (
    PACE,
    RECOVERY_SECONDS,
    START_SECONDS,
    Outcome,
    World,
    assert_legal,
    check,
    is_alive,
    parent,
)
from worker.jobs.client import InvalidTransition
from worker.jobs.model import ENDED, JobStatus

OTHER_SIGNALS = (signal.SIGINT, signal.SIGHUP)


@BOTH
@pytest.mark.long
def test_a_run_continues_when_its_training_process_is_killed(world: World, undisturbed: Outcome, seed: int) -> None:
    job_id = world.accept(epochs=6)
    assert world.disturb(job_id, 5, seed, world.kill) >= 3
    assert world.until_ended(job_id).status == JobStatus.SUCCEEDED
    check(world, [job_id], undisturbed)


@pytest.mark.parametrize("group", [pytest.param(False, marks=pytest.mark.long), True])
def test_a_run_continues_when_its_whole_worker_is_killed(world: World, undisturbed: Outcome, group: bool) -> None:
    """Its training process ends with the worker, or when its lease expires; another worker continues the run."""
    job_id = world.accept(epochs=3)
    trainer = world.until_running(job_id)
    world.until("progress", lambda: world.saved(job_id))
    worker = world.workers[0]
    world.start_worker()
    if group:
        world.note("killed", worker.pid)
        os.killpg(worker.pid, signal.SIGKILL)
    else:
        world.kill(worker.pid)
    world.until("its training process ends", lambda: not is_alive(trainer), 2 * RECOVERY_SECONDS)
    assert world.until_running(job_id) != trainer
    assert world.until_ended(job_id).status == JobStatus.SUCCEEDED
    check(world, [job_id], undisturbed)


@BOTH
@pytest.mark.long
def test_a_training_process_that_was_stopped_longer_than_its_lease_publishes_nothing_more(
    world: World, undisturbed: Outcome, seed: int
) -> None:
    """When it wakes, another worker runs the job: it publishes nothing and leaves the job. Once it was publishing."""
    world.start_worker()
    moments, jobs = random.Random(seed), []
    world.note("seed", seed)
    for stop in ("at random", "about to publish", "at random", "at random"):
        job_id = world.accept(epochs=2)
        zombie = world.until_running(job_id)
        if stop == "about to publish":
            stop_during_publication(world, job_id, zombie)
        else:
            world.pause(moments.uniform(0, 1.5))
            world.kill(zombie, signal.SIGSTOP)
        wake_after_takeover(world, job_id, zombie)
        assert world.until_ended(job_id).status == JobStatus.SUCCEEDED
        jobs.append(job_id)
    check(world, jobs, undisturbed)
    latest = world.store.latest()
    assert latest is not None
    assert world.store.manifest(latest).fence == world.store.highest_fence()


def stop_during_publication(world: World, job_id: str, trainer: int) -> None:
    """Stop it while the checkpoint that it writes is staged beside its final place."""
    if world.endpoint is not None:
        with world.endpoint.fault("hold", "PUT", MANIFEST, times=1) as fault:
            world.until("its manifest is being written", fault.began.is_set)
            world.kill(trainer, signal.SIGSTOP)
        world.note("stopped while its manifest was being written")
        return
    folder, deadline = world.store.root / job_id, time.monotonic() + 60 * PACE
    while time.monotonic() < deadline:
        if not (beside := list(folder.glob(".[0-9]*"))):
            time.sleep(0.001)
            continue
        world.kill(trainer, signal.SIGSTOP)
        if beside[0].exists():
            world.note("stopped with these files staged", beside[0].name)
            return
        world.kill(trainer, signal.SIGCONT)
    raise AssertionError(f"nothing was about to be published\n{world.story()}")


def wake_after_takeover(world: World, job_id: str, zombie: int) -> None:
    """Wake the zombie when another runs the job; it must leave the job, and nothing that it publishes may count."""
    leaving = "now belongs to another worker; leaving it"
    try:
        world.until("another runs it", lambda: (world.trainer(job_id) or zombie) != zombie, 2 * RECOVERY_SECONDS)
        result, left = len(world.job(job_id).epochs), world.log.read_text().count(leaving)
    finally:
        if is_alive_or_stopped(zombie):  # otherwise its worker has ended it
            world.kill(zombie, signal.SIGCONT)
    world.until("it leaves the job", lambda: not is_alive(zombie) or world.log.read_text().count(leaving) > left, 15)
    assert len(world.job(job_id).epochs) >= result


def is_alive_or_stopped(pid: int) -> bool:
    return is_alive(pid) and parent(pid) != 0


@pytest.mark.long
def test_the_only_training_process_is_ended_and_replaced_if_it_stops(world: World, undisturbed: Outcome) -> None:
    """Its parent ends it when its lease is revoked; until then the record says that it does not answer."""
    job_id = world.accept(epochs=3)
    zombie = world.until_running(job_id)
    world.until("progress", lambda: world.saved(job_id))
    world.kill(zombie, signal.SIGSTOP)
    world.until(
        "the record reports it", lambda: "does not respond" in str(world.job(job_id).trouble), 2 * RECOVERY_SECONDS
    )
    world.until("its parent ends it", lambda: not is_alive(zombie), 2 * RECOVERY_SECONDS)
    assert world.until_running(job_id, 4 * RECOVERY_SECONDS) != zombie
    assert world.until_ended(job_id).status == JobStatus.SUCCEEDED
    check(world, [job_id], undisturbed)


@pytest.mark.long
def test_an_idle_training_process_that_is_stopped_is_replaced(world: World, undisturbed: Outcome) -> None:
    first = world.accept(epochs=1)
    idle = world.until_running(first)
    world.until_ended(first)
    world.kill(idle, signal.SIGSTOP)
    second = world.accept(epochs=1)
    assert world.until_running(second, 5 * RECOVERY_SECONDS) != idle
    assert world.until_ended(second).status == JobStatus.SUCCEEDED
    check(world, [first, second], undisturbed)


@pytest.mark.parametrize("sign", [signal.SIGTERM, *(pytest.param(s, marks=pytest.mark.long) for s in OTHER_SIGNALS)])
def test_a_signal_to_the_whole_group_hands_the_job_back(
    lasting_world: World, undisturbed: Outcome, sign: signal.Signals
) -> None:
    """As systemd, Ctrl-C and a closed terminal send it: no worker counts as lost."""
    job_id = lasting_world.accept()
    lasting_world.until_running(job_id)
    lasting_world.until("progress", lambda: lasting_world.saved(job_id))
    worker = lasting_world.workers[-1]
    lasting_world.note("signal to the group", sign.name)
    os.killpg(worker.pid, sign)
    assert worker.wait(25 * PACE) == 0
    assert lasting_world.job(job_id).status in (JobStatus.QUEUED, JobStatus.SUCCEEDED), lasting_world.story()
    with lasting_world.redis.client() as client:
        assert client.hget(f"acgan:job:{job_id}", "lost") is None
    lasting_world.start_worker()
    assert lasting_world.until_ended(job_id).status == JobStatus.SUCCEEDED
    assert "was lost" not in lasting_world.log.read_text()
    check(lasting_world, [job_id], undisturbed)


@pytest.mark.long
def test_an_interrupted_run_is_next_before_the_lease_of_its_dead_process_expires(
    lasting_world: World, undisturbed: Outcome
) -> None:
    """Other runs wait; the lease of the process lasts thirty times as long as this takes."""
    interrupted, waiting = lasting_world.accept(epochs=3), lasting_world.accept(epochs=1)
    trainer = lasting_world.until_running(interrupted, START_SECONDS)
    lasting_world.until("progress", lambda: lasting_world.saved(interrupted))
    lasting_world.kill(trainer)
    assert lasting_world.until(
        "it runs again", lambda: other(lasting_world.trainer(interrupted), trainer), 2 * RECOVERY_SECONDS
    )
    assert lasting_world.job(waiting).started_at is None
    for job_id in (interrupted, waiting):
        assert lasting_world.until_ended(job_id).status == JobStatus.SUCCEEDED
    check(lasting_world, [interrupted, waiting], undisturbed)


def other(found: int | None, pid: int) -> int | None:
    return found if found != pid else None


@pytest.mark.long
def test_a_worker_that_shuts_down_saves_the_state_and_hands_its_job_back(
    world: World, undisturbed: Outcome, seed: int
) -> None:
    """The next worker continues from that state."""
    job_id = world.accept()
    moments = random.Random(seed)
    for _ in range(3):
        world.until("it runs or has ended", lambda: world.trainer(job_id) or world.ended(job_id), START_SECONDS)
        world.pause(moments.uniform(0, 1.5))
        worker = world.workers[-1]
        world.kill(worker.pid, signal.SIGTERM)
        assert worker.wait(25 * PACE) == 0
        assert world.job(job_id).status in (JobStatus.QUEUED, JobStatus.SUCCEEDED)
        world.start_worker()
    assert world.until_ended(job_id).status == JobStatus.SUCCEEDED
    check(world, [job_id], undisturbed)


@pytest.mark.long
def test_a_job_that_kills_every_worker_fails_and_the_next_one_runs(lasting_world: World, undisturbed: Outcome) -> None:
    poison = lasting_world.accept()
    healthy = lasting_world.accept(epochs=1)
    deaths = []
    while lasting_world.job(poison).status != JobStatus.FAILED:
        pid = lasting_world.until(
            "a worker claims it",
            lambda: lasting_world.trainer(poison) or lasting_world.ended(poison),
            START_SECONDS,
        )
        if pid == -1:
            break
        if pid not in deaths and parent(pid):
            lasting_world.kill(pid)
            deaths.append(pid)
    assert len(deaths) == 3
    assert "3 workers in a row" in str(lasting_world.job(poison).error)
    assert lasting_world.until_ended(healthy).status == JobStatus.SUCCEEDED
    check(lasting_world, [healthy], undisturbed)
    lasting_world.ask(lambda jobs: jobs.resume(poison))
    assert lasting_world.until_ended(poison).status == JobStatus.SUCCEEDED
    check(lasting_world, [poison, healthy], undisturbed)


@pytest.mark.long
def test_a_running_job_is_cancelled_and_resumed(world: World, undisturbed: Outcome, seed: int) -> None:
    job_id = world.accept()
    moments, cancelled = random.Random(seed), 0
    world.note("seed", seed)
    for _ in range(5):
        pid = world.until("it runs or has ended", lambda: world.trainer(job_id) or world.ended(job_id), START_SECONDS)
        world.pause(moments.uniform(0, 1.0))
        if pid == -1 or world.job(job_id).status != JobStatus.RUNNING:
            break
        with contextlib.suppress(InvalidTransition):
            world.ask(lambda jobs: jobs.cancel(job_id))
        job = world.until_ended(job_id, 60)
        assert job.status in (JobStatus.CANCELLED, JobStatus.SUCCEEDED)
        if job.status == JobStatus.SUCCEEDED:
            break
        cancelled += 1
        world.ask(lambda jobs: jobs.resume(job_id))
    assert cancelled >= 3, world.story()
    assert world.until_ended(job_id).status == JobStatus.SUCCEEDED
    check(world, [job_id], undisturbed)


@pytest.mark.long
def test_a_job_cancelled_as_it_ends_ends_once(world: World, seed: int) -> None:
    """As cancelled or as succeeded. The process that trained is free for the next job, or gone."""
    moments = random.Random(seed)
    world.note("seed", seed)
    jobs = [world.accept(epochs=1, train_examples=8) for _ in range(8)]
    trainers = {
        cancel_about_the_end(world, job_id, moments, late=number % 2 == 0) for number, job_id in enumerate(jobs)
    }
    fates = Counter(world.job(job_id).status for job_id in jobs)
    world.note("fates", fates)
    assert set(fates) <= {JobStatus.SUCCEEDED, JobStatus.CANCELLED}
    with world.redis.client() as client:
        assert_legal(client)
        events: Any = client.xrange("acgan:events")
    assert Counter(event["job"] for _, event in events if event["data"] in ENDED) == dict.fromkeys(jobs, 1)
    ours = {worker.pid for worker in world.workers}
    assert all(parent(pid) in ours for pid in trainers if is_alive(pid))


def cancel_about_the_end(world: World, job_id: str, moments: random.Random, late: bool) -> int:
    """Cancel it within its second or two of running, or when all is published. Returns its training process."""
    trainer = world.until(f"{job_id} runs", lambda: world.trainer(job_id))
    if late:
        world.until("all is published", lambda: world.store.stands(CheckpointId(job_id, 1)))
    world.pause(moments.uniform(0, 0.2 if late else 1.5))
    with contextlib.suppress(InvalidTransition):
        world.ask(lambda jobs: jobs.cancel(job_id))
    world.until_ended(job_id, 60)
    return trainer
