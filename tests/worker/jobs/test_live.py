"""What a running job shows between two epochs, in a real Redis: bounded, deleted at the end, written by the holder."""

import json
from typing import Any

import pytest

from models.records import Loss, Progress
from tests.worker.conftest import Ask, accept
from worker.jobs.client import JobNotFound
from worker.jobs.consumer import Claim, JobConsumer, LeaseLost
from worker.jobs.keys import LIVE_SUFFIX, SAMPLE_SUFFIX, job_key
from worker.jobs.live import ENTRIES, EXPIRES_SECONDS, Live, LiveReader, LiveWriter, RecentLosses, Sample
from worker.jobs.model import JobStatus

LOSS = Loss(loss=1.5, generation_loss=1.0, auxiliary_loss=0.5)


def recent(batch: int) -> RecentLosses:
    return RecentLosses(1, batch, 600, 2, LOSS, LOSS)


def read(ask: Ask[Any], job_id: str, after: int = 0, limit: int = ENTRIES) -> Live:
    found: Live = ask(lambda jobs: LiveReader(jobs.redis).read(job_id, after, limit))
    return found


@pytest.fixture
def claim(ask: Ask[Any], consumer: JobConsumer) -> Claim:
    accept(ask)
    claim = consumer.claim()
    assert claim
    return claim


def test_a_reader_gets_what_it_does_not_know(ask: Ask[Any], consumer: JobConsumer, claim: Claim) -> None:
    writer = LiveWriter(consumer.redis)
    assert read(ask, claim.job.id) == Live(None, 0, [], None)
    assert writer.add(claim, recent(2), Sample(0, 1, 2, b"first")) == 1
    assert writer.add(claim, recent(4), None) == 2
    assert writer.add(claim, None, Sample(0, 1, 5, b"second")) == 3
    consumer.report(
        claim, Progress(epoch=1, epochs=2, batch=5, batches=600, images_per_second=1, eta_seconds=1, phase="testing")
    )
    every = read(ask, claim.job.id)
    assert (every.phase, every.newest, every.sample) == ("testing", 3, Sample(3, 1, 5, b"second"))
    assert [(one.number, one.batch, one.generator) for one in every.losses] == [(1, 2, LOSS), (2, 4, LOSS)]
    later = read(ask, claim.job.id, after=1)
    assert ([one.number for one in later.losses], later.sample) == ([2], every.sample)
    assert read(ask, claim.job.id, after=3) == Live("testing", 3, [], None)
    assert read(ask, claim.job.id, after=77) == every
    assert [one.number for one in read(ask, claim.job.id, limit=1).losses] == [2]


def test_what_another_version_wrote_is_left_out(ask: Ask[Any], consumer: JobConsumer, claim: Claim) -> None:
    records: Any = consumer.redis
    writer, key = LiveWriter(records), job_key(claim.job.id)
    for batch in (2, 4, 6):
        writer.add(claim, recent(batch), Sample(0, 1, batch, b"png"))
    consumer.report(
        claim, Progress(epoch=1, epochs=2, batch=6, batches=600, images_per_second=1, eta_seconds=1, phase="training")
    )
    assert read(ask, claim.job.id).phase == "training"
    progress = json.loads(records.hget(key, "progress"))
    for newer in ({"phase": "resting"}, {"epochs": "many"}):
        records.hset(key, "progress", json.dumps({**progress, **newer}))
        assert read(ask, claim.job.id).phase is None
    for text in ('{"iterations": "many"}', "5", "no JSON"):
        place, *_ = records.lindex(key + LIVE_SUFFIX, 1).split()
        records.lset(key + LIVE_SUFFIX, 1, f"{place} 4 {text}")
        found = read(ask, claim.job.id)
        assert ([one.batch for one in found.losses], found.sample) == ([2, 6], Sample(3, 1, 6, b"png"))


def test_no_more_than_the_newest_entries_are_kept_and_they_expire(
    ask: Ask[Any], consumer: JobConsumer, claim: Claim
) -> None:
    writer = LiveWriter(consumer.redis)
    for batch in range(1, ENTRIES + 6):
        writer.add(claim, recent(batch), Sample(0, 1, batch, b"png"))
    kept = read(ask, claim.job.id).losses
    assert [one.number for one in kept] == list(range(6, ENTRIES + 6))
    for suffix in (LIVE_SUFFIX, SAMPLE_SUFFIX):
        assert 0 < int(consumer.redis.ttl(job_key(claim.job.id) + suffix)) <= EXPIRES_SECONDS


def test_the_end_of_the_job_deletes_them(ask: Ask[Any], consumer: JobConsumer, claim: Claim) -> None:
    writer = LiveWriter(consumer.redis)
    writer.add(claim, recent(2), Sample(0, 1, 2, b"png"))
    consumer.finish(claim, JobStatus.SUCCEEDED)
    assert read(ask, claim.job.id) == Live(None, 0, [], None)
    assert not list(consumer.redis.scan_iter(f"{job_key(claim.job.id)}:*"))
    with pytest.raises(LeaseLost):
        writer.add(claim, recent(4), None)
    assert not list(consumer.redis.scan_iter(f"{job_key(claim.job.id)}:*"))


def test_an_unknown_job_raises_not_found(ask: Ask[Any]) -> None:
    with pytest.raises(JobNotFound):
        read(ask, "20260101-000000-abcdef")
