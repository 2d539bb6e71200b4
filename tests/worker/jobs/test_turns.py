"""The order of the queue: callers that share workers, and jobs that need a kind of worker. In a real Redis."""

import time
from collections.abc import Sequence
from typing import Any

import pytest

from models.config import TrainingConfig
from models.evaluation.evaluation_records import EvaluationOrder
from tests.support.job_lists import newest
from tests.worker.conftest import Ask
from worker.jobs.client import IdempotencyConflict, JobClient, JobNotFound, Order, QueueFull
from worker.jobs.codec import LACKS
from worker.jobs.consumer import Claim, JobConsumer
from worker.jobs.keys import TURNS, WORKERS, index_key, notifications_key
from worker.jobs.model import Job, JobKind, JobStatus, RunsOn, taken_by
from worker.reconciler import Reconciler


def order(ask: Ask[Job], name: str, caller: str | None = None, **fields: Any) -> str:
    config = TrainingConfig(name=name)
    return ask(lambda jobs: jobs.create(Order(config, caller=caller, **fields))).id


def claim(consumer: JobConsumer, takes: Sequence[RunsOn] = ("any", "cpu")) -> Claim:
    claimed = consumer.claim(takes=takes)
    assert claimed is not None
    return claimed


def claimed_in_turn(consumer: JobConsumer) -> list[str | None]:
    names = []
    while (claimed := consumer.claim()) is not None:
        names.append(claimed.job.config.name)
    return names


# ----------------------------------------------------------------------------
# Callers take turns.


def test_a_callers_only_job_comes_before_anothers_second_one(ask: Ask[Job], consumer: JobConsumer) -> None:
    for number in range(5):
        order(ask, f"ann {number}", "ann")
    claim(consumer)
    order(ask, "bob", "bob")
    assert claimed_in_turn(consumer) == ["bob", "ann 1", "ann 2", "ann 3", "ann 4"]


def test_callers_take_turns_however_late_they_arrive(ask: Ask[Job], consumer: JobConsumer) -> None:
    for number in range(3):
        order(ask, f"ann {number}", "ann")
    for number in range(2):
        order(ask, f"bob {number}", "bob")
    order(ask, "cid", "cid")
    assert claimed_in_turn(consumer) == ["ann 0", "bob 0", "cid", "ann 1", "bob 1", "ann 2"]


def test_a_caller_that_was_absent_has_saved_no_turns(ask: Ask[Job], consumer: JobConsumer) -> None:
    """A caller that arrives after a hundred jobs of others does not get a hundred turns."""
    for number in range(20):
        order(ask, f"ann {number}", "ann")
    for _ in range(18):
        claim(consumer)
    for number in range(3):
        order(ask, f"bob {number}", "bob")
    assert claimed_in_turn(consumer) == ["bob 0", "ann 18", "bob 1", "ann 19", "bob 2"]


def test_the_jobs_of_one_caller_run_in_order_of_acceptance(ask: Ask[Job], consumer: JobConsumer) -> None:
    names = [order(ask, str(number)) and str(number) for number in range(12)]
    assert claimed_in_turn(consumer) == names


def test_priority_comes_before_turns_and_turns_within_it(ask: Ask[Job], consumer: JobConsumer) -> None:
    for caller in ("ann", "ann", "bob"):
        order(ask, f"{caller} low", caller)
    for caller in ("ann", "ann", "bob"):
        order(ask, f"{caller} high", caller, priority=9)
    assert claimed_in_turn(consumer) == ["ann high", "bob high", "ann high", "ann low", "bob low", "ann low"]


def test_jobs_handed_back_or_moved_to_the_front_need_no_turn(ask: Ask[Any], consumer: JobConsumer) -> None:
    for number in range(3):
        order(ask, f"ann {number}", "ann")
    order(ask, "bob", "bob", priority=9)
    assert claim(consumer).job.config.name == "bob"
    handed_back = claim(consumer)
    assert handed_back.job.config.name == "ann 0"
    consumer.finish(handed_back, JobStatus.QUEUED)
    last = order(ask, "bob's last", "bob")
    ask(lambda jobs: jobs.move_to_front(last))
    assert claimed_in_turn(consumer) == ["bob's last", "ann 0", "ann 1", "ann 2"]


def test_a_resumed_job_takes_a_turn_of_its_caller(ask: Ask[Any], consumer: JobConsumer) -> None:
    cancelled = order(ask, "bob's first", "bob")
    for number in range(3):
        order(ask, f"ann {number}", "ann")
    ask(lambda jobs: jobs.cancel(cancelled))
    claim(consumer)
    ask(lambda jobs: jobs.resume(cancelled))
    assert claimed_in_turn(consumer) == ["bob's first", "ann 1", "ann 2"]


def test_turns_are_forgotten_when_no_job_waits(ask: Ask[Job], consumer: JobConsumer) -> None:
    order(ask, "ann", "ann")
    order(ask, "bob", "bob")
    assert consumer.redis.exists(TURNS)
    claimed_in_turn(consumer)
    assert not consumer.redis.exists(TURNS)


def test_each_caller_has_its_own_idempotency_keys(ask: Ask[Job]) -> None:
    mine = order(ask, "a run", "ann", idempotency_key="1")
    assert order(ask, "a run", "ann", idempotency_key="1") == mine
    assert order(ask, "another", "bob", idempotency_key="1") != mine
    with pytest.raises(IdempotencyConflict):
        order(ask, "another", "ann", idempotency_key="1")


# ----------------------------------------------------------------------------
# Jobs wait for the kind of worker that they need.


def test_a_job_waits_for_a_worker_of_its_kind(ask: Ask[Job], consumer: JobConsumer) -> None:
    order(ask, "on a gpu", runs_on="gpu")
    order(ask, "anywhere")
    order(ask, "on a cpu", runs_on="cpu")
    assert claim(consumer, taken_by("cpu")).job.config.name == "anywhere"
    assert claim(consumer, taken_by("cpu")).job.config.name == "on a cpu"
    assert consumer.claim(takes=taken_by("cpu")) is None
    claimed = claim(consumer, taken_by("gpu"))
    assert (claimed.job.config.name, claimed.job.runs_on) == ("on a gpu", "gpu")


def test_a_job_keeps_its_kind_of_worker_through_every_transition(ask: Ask[Any], consumer: JobConsumer) -> None:
    job_id = order(ask, "on a gpu", runs_on="gpu")
    consumer.finish(claim(consumer, taken_by("gpu")), JobStatus.QUEUED)
    assert consumer.claim(takes=taken_by("cpu")) is None
    ask(lambda jobs: jobs.move_to_front(job_id))
    assert consumer.claim(takes=taken_by("cpu")) is None
    ask(lambda jobs: jobs.cancel(job_id))
    assert consumer.waiting("gpu") == 0
    ask(lambda jobs: jobs.resume(job_id))
    assert consumer.claim(takes=taken_by("cpu")) is None
    assert claim(consumer, taken_by("gpu")).job.id == job_id


def test_the_front_is_ahead_of_every_queue(ask: Ask[Any], consumer: JobConsumer) -> None:
    order(ask, "anywhere", priority=9)
    last = order(ask, "on a gpu", runs_on="gpu")
    ask(lambda jobs: jobs.move_to_front(last))
    assert claim(consumer, taken_by("gpu")).job.id == last


def test_the_limit_counts_all_waiting_jobs(ask: Ask[Any]) -> None:
    for runs_on in ("any", "cpu", "gpu"):
        order(ask, "one more", runs_on=runs_on)
    assert ask(lambda jobs: jobs.standing()).ready == {"any": 1, "cpu": 1, "gpu": 1}

    async def one_too_many(jobs: JobClient) -> None:
        jobs.queue_limit = 3
        await jobs.create(Order(TrainingConfig()))

    with pytest.raises(QueueFull):
        ask(one_too_many)


def test_a_worker_registers_and_is_notified_of_the_jobs_that_it_takes(ask: Ask[Any], consumer: JobConsumer) -> None:
    order(ask, "on a cpu", runs_on="cpu")
    order(ask, "on a gpu", runs_on="gpu")
    notifications: list[RunsOn] = []
    Reconciler(consumer, notifications.append, lambda: True, 60.0, 10.0, "gpu", lambda _code: None).once()
    assert notifications == ["gpu"]
    assert ask(lambda jobs: jobs.standing()).workers == {"cpu": 0, "gpu": 1}
    assert notifications_key("gpu") != notifications_key("any")


def test_a_waiting_job_that_no_worker_takes_says_so(ask: Ask[Any], consumer: JobConsumer) -> None:
    """The trouble disappears when such a worker registers or the job no longer waits."""
    job_id = order(ask, "on a gpu", runs_on="gpu")

    def trouble() -> set[str | None]:
        return {ask(lambda jobs: jobs.get(job_id)).trouble, *(job.trouble for job in ask(lambda jobs: newest(jobs, 9)))}

    consumer.seen("cpu", 30)
    assert trouble() == {"no worker with a GPU is available: start one whose ACGAN_DEVICE is cuda"}
    consumer.seen("gpu", 30)
    assert trouble() == {None}
    consumer.gone("gpu")
    assert trouble() != {None}
    claim(consumer, taken_by("gpu"))
    assert trouble() == {None}


def test_workers_are_forgotten_when_none_is_left(ask: Ask[Any], consumer: JobConsumer) -> None:
    consumer.seen("cpu", 0.1)
    time.sleep(1.2)
    assert ask(lambda jobs: jobs.create(Order(TrainingConfig()))).trouble == LACKS["any"]


def test_a_silent_worker_is_forgotten(ask: Ask[Any], consumer: JobConsumer) -> None:
    consumer.redis.zadd(WORKERS, {"gpu lost:1": time.time() - 60})
    consumer.seen("cpu", 30)
    assert ask(lambda jobs: jobs.standing()).workers == {"cpu": 1, "gpu": 0}


# ----------------------------------------------------------------------------
# The lists by kind and status.


def test_jobs_of_a_rare_status_are_listed(ask: Ask[Any], consumer: JobConsumer) -> None:
    ids = [order(ask, str(number)) for number in range(6)]
    first = claim(consumer)
    consumer.finish(first, JobStatus.FAILED, "bad luck")
    ask(lambda jobs: jobs.cancel(ids[3]))

    def listed(status: JobStatus) -> list[str]:
        return [job.id for job in ask(lambda jobs: newest(jobs, 10, status))]

    assert listed(JobStatus.FAILED) == [ids[0]]
    assert listed(JobStatus.CANCELLED) == [ids[3]]
    assert listed(JobStatus.QUEUED) == [ids[5], ids[4], ids[2], ids[1]]
    assert [job.id for job in ask(lambda jobs: newest(jobs, 2, JobStatus.QUEUED, ids[4]))] == [ids[2], ids[1]]
    with pytest.raises(JobNotFound):
        ask(lambda jobs: newest(jobs, 2, JobStatus.QUEUED, "20260101-000000-abcdef"))


def test_lists_that_an_older_version_did_not_keep_are_created(ask: Ask[Any], consumer: JobConsumer) -> None:
    ids = [order(ask, str(number)) for number in range(5)]
    consumer.finish(claim(consumer), JobStatus.SUCCEEDED)
    assert consumer.rebuild_indexes() is False
    client: Any = consumer.redis
    for key in client.keys("acgan:jobs:*"):
        client.delete(key)
    client.zadd(index_key(JobKind.TRAINING, JobStatus.FAILED), {ids[2]: 3})
    assert consumer.rebuild_indexes() is True
    assert consumer.rebuild_indexes() is False
    assert ask(lambda jobs: newest(jobs, 9, JobStatus.FAILED)) == []
    assert [job.id for job in ask(lambda jobs: newest(jobs, 9))] == ids[::-1]
    assert [job.id for job in ask(lambda jobs: newest(jobs, 9, JobStatus.SUCCEEDED))] == [ids[0]]


# ----------------------------------------------------------------------------
# Evaluations wait behind the other jobs of their priority.


def evaluation(ask: Ask[Job], name: str, **fields: Any) -> str:
    return order(ask, name, dataset=EvaluationOrder(), **fields)


def test_evaluations_wait_behind_runs_of_their_priority_and_before_lower_ones(
    ask: Ask[Job], consumer: JobConsumer
) -> None:
    evaluation(ask, "first evaluation", priority=1)
    evaluation(ask, "second evaluation", priority=1)
    order(ask, "low", priority=0)
    order(ask, "same", priority=1)
    order(ask, "high", priority=2)
    assert claimed_in_turn(consumer) == ["high", "same", "first evaluation", "second evaluation", "low"]


def test_evaluations_take_no_turn_of_a_callers_runs(ask: Ask[Job], consumer: JobConsumer) -> None:
    for number in range(3):
        evaluation(ask, f"evaluation {number}", caller="ann")
    order(ask, "bob", "bob")
    order(ask, "bob again", "bob")
    order(ask, "ann", "ann")
    names = claimed_in_turn(consumer)
    assert names[:3] == ["bob", "ann", "bob again"]
    assert names[3:] == ["evaluation 0", "evaluation 1", "evaluation 2"]


def test_an_evaluation_whose_worker_was_lost_still_waits_behind_runs(ask: Ask[Job], consumer: JobConsumer) -> None:
    evaluation(ask, "lost")
    lost = claim(consumer)
    evaluation(ask, "other evaluation")
    order(ask, "run")
    consumer.finish(lost, JobStatus.QUEUED)
    assert claimed_in_turn(consumer) == ["run", "lost", "other evaluation"]


def test_an_evaluation_can_be_moved_to_the_front(ask: Ask[Any], consumer: JobConsumer) -> None:
    order(ask, "run", priority=9)
    moved = evaluation(ask, "evaluation")
    ask(lambda jobs: jobs.move_to_front(moved))
    assert claimed_in_turn(consumer) == ["evaluation", "run"]
