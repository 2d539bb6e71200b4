"""Records, claims, leases and turns after faults of clocks, networks and versions. In a real Redis."""

import os
import socket
import threading
import time
from collections.abc import Iterator
from functools import partial
from typing import Any, cast
from urllib.parse import urlsplit, urlunsplit

import pytest
import redis

from tests.support.job_lists import newest
from tests.worker.conftest import Ask, accept, until
from tests.worker.jobs.test_operations import expire_leases, take
from tests.worker.jobs.test_turns import claimed_in_turn, order
from worker.jobs.client import JobClient, NotUnderstood
from worker.jobs.codec import UnreadableJob
from worker.jobs.consumer import LOSSES, Claim, JobConsumer
from worker.jobs.keys import DELAYED, LEASES, QUEUE, WORKERS, job_key
from worker.jobs.model import JobStatus
from worker.lifecycle.heartbeat import Pulses
from worker.lifecycle.lease import Lease

NOBODY_READS = {"config": '{"recipe": "of a newer version"}', "order": '{"per_class": "many"}', "created_at": "then"}


# ----------------------------------------------------------------------------
# Records of another version.


@pytest.mark.parametrize("field", NOBODY_READS)
def test_an_unreadable_record_is_listed_and_neither_claimed_nor_resumed(
    ask: Ask[Any], consumer: JobConsumer, field: str
) -> None:
    strange, plain = accept(ask).id, accept(ask).id
    client: Any = consumer.redis
    client.hset(job_key(strange), field, NOBODY_READS[field])
    consumer.seen("cpu", 30)
    assert take(consumer).job.id == plain
    assert consumer.claim() is None
    assert consumer.waiting() == 1
    shown = ask(lambda jobs: jobs.read(strange))
    assert isinstance(shown, UnreadableJob)
    assert shown.status == "queued"
    assert "does not understand" in shown.trouble
    assert client.hget(job_key(strange), "trouble") == shown.trouble
    assert {job.id for job in ask(lambda jobs: newest(jobs, 9))} == {strange, plain}
    with pytest.raises(NotUnderstood):
        ask(lambda jobs: jobs.get(strange))
    ask(lambda jobs: jobs.cancel(strange))
    with pytest.raises(NotUnderstood):
        ask(lambda jobs: jobs.resume(strange))
    assert ask(lambda jobs: jobs.read(strange)).status == "cancelled"


def test_an_unknown_status_and_kind_of_worker_stop_nothing(ask: Ask[Any], consumer: JobConsumer) -> None:
    paused, elsewhere, plain = (accept(ask).id for _ in range(3))
    client: Any = consumer.redis
    client.hset(job_key(paused), "status", "paused")
    client.hset(job_key(elsewhere), "runs_on", "tpu")
    client.zadd(LEASES, {paused: 1.0, elsewhere: 1.0})
    assert consumer.reconcile(10) == []
    assert take(consumer).job.id == plain
    assert consumer.claim() is None
    assert ask(lambda jobs: jobs.read(paused)).status == "paused"
    assert ask(lambda jobs: jobs.standing()).running == 1


def test_bytes_that_are_not_text_stop_no_worker(ask: Ask[Any], consumer: JobConsumer) -> None:
    strange, plain = accept(ask).id, accept(ask).id
    consumer.redis.hset(job_key(strange), "config", b"\xff\xfe")
    assert take(consumer).job.id == plain
    assert len(ask(lambda jobs: newest(jobs, 9))) == 2


# ----------------------------------------------------------------------------
# Claims whose responses are lost.


class LateAnswers:
    """A proxy between a client and Redis that delays Redis' responses."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self.target = (str(parts.hostname), int(parts.port or 0))
        self.ear = socket.create_server(("127.0.0.1", 0))
        password, port = parts.netloc.rpartition("@")[0], self.ear.getsockname()[1]
        self.url = urlunsplit(parts._replace(netloc=f"{password}@127.0.0.1:{port}"))
        self.seconds = 0.0
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                here, _ = self.ear.accept()
            except OSError:
                return
            there = socket.create_connection(self.target)
            threading.Thread(target=self._pump, args=(here, there, False), daemon=True).start()
            threading.Thread(target=self._pump, args=(there, here, True), daemon=True).start()

    def _pump(self, source: socket.socket, target: socket.socket, is_late: bool) -> None:
        try:
            while data := source.recv(65536):
                time.sleep(self.seconds if is_late else 0)
                target.sendall(data)
        except OSError:
            return
        finally:
            source.close()
            target.close()


@pytest.fixture
def late(redis_url: str) -> Iterator[LateAnswers]:
    between = LateAnswers(redis_url)
    yield between
    between.ear.close()


def test_a_claim_that_is_answered_late_is_one_claim(ask: Ask[Any], late: LateAnswers) -> None:
    """Later than a client's usual timeout."""
    job_id = accept(ask).id
    slow = JobConsumer.connect(late.url)
    slow._next.registered_client = slow.patient  # only the claim is answered late
    late.seconds = 2.5
    claim = slow.claim()
    slow.close()
    assert claim is not None
    assert (claim.job.id, claim.fence) == (job_id, 1)


def test_a_claim_that_is_repeated_gets_the_same_token(ask: Ask[Any], consumer: JobConsumer) -> None:
    """Its first response never arrives: the connection breaks after Redis has carried it out."""
    accept(ask)
    claim_of = consumer._claim

    def break_once(**options: Any) -> Any:
        answer = claim_of(**options)
        if consumer.claims() == 1 and not broken:
            broken.append(answer)
            raise redis.ConnectionError("the answer is lost")
        return answer

    broken: list[Any] = []
    consumer._claim = break_once  # type: ignore[assignment]
    claim = consumer.claim()
    assert claim is not None
    assert broken
    assert (claim.fence, consumer.claims()) == (1, 1)
    assert consumer.renew(claim, 30) == JobStatus.RUNNING


def test_claims_whose_responses_are_lost_fail_no_job(ask: Ask[Any], consumer: JobConsumer) -> None:
    job_id = accept(ask).id
    for _ in range(3 * LOSSES):
        assert consumer.claim() is not None  # and the response never reaches the worker
        expire_leases(consumer)
        assert consumer.reconcile(10) == [(job_id, "queued")]
    assert ask(lambda jobs: jobs.get(job_id)).status == JobStatus.QUEUED
    for turn in range(LOSSES):
        claim = consumer.claim()
        assert claim is not None
        with Lease(consumer, claim, 30):
            pass
        expire_leases(consumer)
        consumer.reconcile(10)
        consumer.redis.zadd(DELAYED, {job_id: 1.0}, xx=True)
        consumer.reconcile(10)
        assert ask(lambda jobs: jobs.get(job_id)).status == ("failed" if turn == LOSSES - 1 else "queued")


def test_a_claim_that_arrives_after_its_worker_handed_the_job_back_takes_nothing(
    ask: Ask[Any], consumer: JobConsumer
) -> None:
    accept(ask)
    sent: list[dict[str, Any]] = []
    claim_of = consumer._claim

    def remember(**options: Any) -> Any:
        sent.append(options)
        return claim_of(**options)

    consumer._claim = remember  # type: ignore[assignment]
    claim = take(consumer)
    consumer.finish(claim, JobStatus.QUEUED)
    assert claim_of(**sent[0]) is None
    assert consumer.waiting() == 1


def test_tokens_beyond_the_precision_of_a_double_still_increase_by_one(ask: Ask[Any], consumer: JobConsumer) -> None:
    for _ in range(2):
        accept(ask)
    lowest = 2**60
    first, second = consumer.claim(30, lowest), consumer.claim(30, 7)
    assert first
    assert second
    assert (first.fence, second.fence) == (lowest + 1, lowest + 2)
    assert consumer.renew(first, 30) == JobStatus.RUNNING


# ----------------------------------------------------------------------------
# Clocks that were wrong.


def test_a_lease_from_a_clock_that_was_ahead_ends_with_the_longest_legal_one(
    ask: Ask[Any], consumer: JobConsumer
) -> None:
    job_id = accept(ask).id
    claim = consumer.claim(0.4)
    assert claim
    consumer.renew(claim, 0.4)
    consumer.redis.zadd(LEASES, {job_id: time.time() + 3600})
    assert consumer.reconcile(10, 0.4) == []  # a living worker renews it in the meantime
    time.sleep(0.5)
    assert consumer.reconcile(10, 0.4) == [(job_id, "queued")]


def test_delays_and_workers_from_a_clock_that_was_ahead_are_corrected(ask: Ask[Any], consumer: JobConsumer) -> None:
    job_id = accept(ask).id
    consumer.redis.zrem(QUEUE, job_id)
    consumer.redis.zadd(DELAYED, {job_id: time.time() + 10**8})
    assert consumer.reconcile(10) == [(job_id, "due")]
    consumer.redis.zadd(WORKERS, {"gpu ghost:1": time.time() + 10**8})
    consumer.seen("cpu", 30)
    assert cast(float, consumer.redis.zscore(WORKERS, "gpu ghost:1")) <= time.time()
    consumer.redis.zincrby(WORKERS, -60, "gpu ghost:1")  # a minute later
    consumer.seen("cpu", 30)
    assert ask(lambda jobs: jobs.standing()).workers == {"cpu": 1, "gpu": 0}


# ----------------------------------------------------------------------------
# Turns.


def test_a_cancelled_job_gives_its_turn_back(ask: Ask[Any], consumer: JobConsumer) -> None:
    for _ in range(5):
        for job_id in [order(ask, "ann, cancelled", "ann") for _ in range(9)]:
            ask(partial(JobClient.cancel, job_id=job_id))
    for number in range(3):
        order(ask, f"bob {number}", "bob")
    for _ in range(2):
        for job_id in [order(ask, "ann, cancelled", "ann") for _ in range(9)]:
            ask(partial(JobClient.cancel, job_id=job_id))
    order(ask, "ann", "ann")
    assert claimed_in_turn(consumer) == ["bob 0", "ann", "bob 1", "bob 2"]


def test_a_callers_later_jobs_move_up_when_an_earlier_one_is_cancelled(ask: Ask[Any], consumer: JobConsumer) -> None:
    ids = [order(ask, f"ann {number}", "ann") for number in range(5)]
    for number in range(3):
        order(ask, f"bob {number}", "bob")
    for job_id in ids[:3]:
        ask(partial(JobClient.cancel, job_id=job_id))
    assert claimed_in_turn(consumer) == ["ann 3", "bob 0", "ann 4", "bob 1", "bob 2"]


# ----------------------------------------------------------------------------
# Workers that end or stop.


def test_only_the_lease_of_a_process_that_has_ended_is_released(ask: Ask[Any], consumer: JobConsumer) -> None:
    ended, alive = accept(ask).id, accept(ask).id
    claims = {claim.job.id: claim for claim in (take(consumer), take(consumer))}
    name = str(claims[ended].job.worker)
    consumer.redis.hset(job_key(ended), mapping={"parent": name.rpartition(":")[0] + ":17", "worker": name + "9"})
    assert consumer.release_ended(18, lambda _pid: False) == []
    assert consumer.release_ended(17, lambda _pid: True) == []
    assert consumer.reconcile(10) == []
    assert consumer.release_ended(17, lambda _pid: False) == [ended]
    assert consumer.reconcile(10) == [(ended, "queued")]
    assert consumer.renew(claims[alive], 30) == JobStatus.RUNNING
    lost = ask(lambda jobs: jobs.get(ended))
    assert lost.last_seen_at is not None


def test_the_record_says_since_when_the_worker_of_a_running_job_is_silent(ask: Ask[Any], consumer: JobConsumer) -> None:
    job_id = accept(ask).id
    take(consumer)
    assert (ask(lambda jobs: jobs.get(job_id)).trouble, ask(lambda jobs: jobs.get(job_id)).last_seen_at) == (
        None,
        None,
    )
    consumer.redis.hset(job_key(job_id), "seen_at", time.time() - 60)
    silent = ask(lambda jobs: jobs.get(job_id))
    assert "its worker does not respond" in str(silent.trouble)
    assert silent.last_seen_at is not None
    expire_leases(consumer)
    consumer.reconcile(10)
    consumer.seen("cpu", 30)
    assert "its worker does not respond" in str(ask(lambda jobs: jobs.get(job_id)).trouble)
    take(consumer)
    assert ask(lambda jobs: jobs.get(job_id)).trouble is None


def test_a_training_process_that_no_longer_reports_is_ended(consumer: JobConsumer) -> None:
    ended: list[int] = []
    own = os.getpid()
    pulses = Pulses(consumer, lambda: [own, own + 1], rounds=3, end=ended.append)
    for _ in range(5):
        consumer.pulse()
        time.sleep(0.01)
        pulses.end_silent_children()
    assert ended == []
    for _ in range(3):
        pulses.end_silent_children()
    assert ended == [own]


def test_a_lease_begins_when_the_claim_was_sent(ask: Ask[Any], consumer: JobConsumer) -> None:
    accept(ask)
    claim = consumer.claim(30)
    assert claim is not None
    lease = Lease(consumer, Claim(claim.job, claim.fence, claim.reported, claim.asked_at - 29), 30)
    assert lease.renewed == claim.asked_at - 29
    with lease:
        until(lambda: lease.renewed > claim.asked_at)
        lease.check()
