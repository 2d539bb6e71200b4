"""The job record in a real Redis: both sides read it, and only the holder of the lease may write."""

from collections.abc import Callable
from typing import Any

import pytest
import redis

from models.config import TrainingConfig
from models.records import Progress
from tests.support import records
from tests.worker.conftest import Ask, accept
from worker.jobs.client import JobDesk, JobNotFound, Order
from worker.jobs.consumer import JobBench, JobLost
from worker.jobs.keys import epochs_key
from worker.jobs.model import EpochRecord, Job, JobStatus


def epoch_record(epoch: int, loss: float = 1.0) -> EpochRecord:
    return EpochRecord(epoch=epoch, seconds=1.5, losses=records.losses(loss), checkpoint=f"x-e{epoch:03d}")


def test_an_accepted_job_is_queued_and_complete(ask: Ask[Job]) -> None:
    job = accept(ask, epochs=3, name="mine")
    assert job == ask(lambda desk: desk.get(job.id))
    assert (job.status, job.config.epochs, job.config.name) == (JobStatus.QUEUED, 3, "mine")
    assert (job.started_at, job.progress, job.epochs, job.error) == (None, None, [], None)


def test_a_job_accepted_twice_since_a_response_was_lost_exists_once(ask: Ask[Any], redis_url: str) -> None:
    async def create_twice(desk: JobDesk) -> Job:
        create = desk._create

        async def answer_lost_once(**call: Any) -> Any:
            await create(**call)
            return await create(**call)

        desk._create = answer_lost_once  # type: ignore[assignment]
        return await desk.create(Order(TrainingConfig()))

    job = ask(create_twice)
    assert [found.id for found in ask(lambda desk: desk.newest(10))] == [job.id]
    assert JobBench.connect(redis_url).waiting() == 1


def test_a_record_of_a_newer_version_is_still_read(ask: Ask[Job], redis_url: str) -> None:
    job = accept(ask, epochs=7)
    with redis.Redis.from_url(redis_url) as client:
        client.hset(f"acgan:job:{job.id}", "config", '{"epochs": 7, "colour": "of tomorrow"}')
    assert ask(lambda desk: desk.get(job.id)).config.epochs == 7


def test_an_unknown_job_raises_not_found(ask: Ask[Job]) -> None:
    with pytest.raises(JobNotFound, match="20260101-000000-abcdef"):
        ask(lambda desk: desk.get("20260101-000000-abcdef"))


def test_jobs_are_listed_newest_first(ask: Ask[Any]) -> None:
    ids = [accept(ask).id for _ in range(4)]
    assert [job.id for job in ask(lambda desk: desk.newest(3))] == ids[:0:-1]


def test_jobs_are_claimed_in_the_order_of_acceptance_and_once(ask: Ask[Job], bench: JobBench) -> None:
    ids = [accept(ask).id for _ in range(3)]
    assert bench.waiting() == 3
    claims = [bench.claim() for _ in range(4)]
    assert [claim.job.id for claim in claims if claim] == ids
    assert claims[3] is None
    fences = [claim.fence for claim in claims if claim]
    assert fences == sorted(set(fences))
    assert ask(lambda desk: desk.get(ids[0])).status == JobStatus.RUNNING


def test_epochs_that_redis_lost_during_the_run_are_reported_again_at_its_end(ask: Ask[Job], bench: JobBench) -> None:
    """Redis restarted without the last bytes of its append-only file: they contained reports, but not the claim."""
    job_id = accept(ask).id
    claim = bench.claim()
    assert claim is not None
    bench.add_epoch(claim, epoch_record(1))
    bench.redis.delete(epochs_key(job_id))
    bench.add_epoch(claim, epoch_record(2))
    bench.finish(claim, JobStatus.SUCCEEDED)
    assert ask(lambda desk: desk.get(job_id)).epochs == [epoch_record(1), epoch_record(2)]


def test_the_api_reads_what_the_worker_writes(ask: Ask[Job], bench: JobBench) -> None:
    job_id = accept(ask).id
    claim = bench.claim()
    assert claim is not None
    settled = claim.job.config.model_copy(update={"precision": "bf16"})
    progress = Progress(epoch=1, epochs=100, batch=3, batches=600, images_per_second=210.5, eta_seconds=99.0)
    bench.settle(claim, settled, "cpu (2 threads)")
    bench.report(claim, progress)
    for record in (epoch_record(2), epoch_record(1), epoch_record(10), epoch_record(2, loss=3.0)):
        bench.add_epoch(claim, record)
    bench.finish(claim, JobStatus.SUCCEEDED)

    job = ask(lambda desk: desk.get(job_id))
    assert (job.status, job.config, job.device, job.progress) == (
        JobStatus.SUCCEEDED,
        settled,
        "cpu (2 threads)",
        progress,
    )
    assert job.epochs == [epoch_record(1), epoch_record(2, loss=3.0), epoch_record(10)]
    assert job.started_at is not None
    assert job.ended_at is not None
    assert job.created_at <= job.started_at <= job.ended_at


def test_a_failure_has_a_reason(ask: Ask[Job], bench: JobBench) -> None:
    job_id = accept(ask).id
    claim = bench.claim()
    assert claim is not None
    bench.finish(claim, JobStatus.FAILED, "the disk is full")
    assert ask(lambda desk: desk.get(job_id)).error == "the disk is full"


def test_a_job_handed_back_is_the_next_to_be_claimed(ask: Ask[Job], bench: JobBench) -> None:
    first, second = accept(ask).id, accept(ask).id
    claim = bench.claim()
    assert claim is not None
    bench.finish(claim, JobStatus.QUEUED)
    assert ask(lambda desk: desk.get(first)).status == JobStatus.QUEUED
    again, other = bench.claim(), bench.claim()
    assert again is not None
    assert other is not None
    assert (again.job.id, other.job.id) == (first, second)
    assert again.fence > claim.fence


@pytest.mark.parametrize("ended", [False, True])
def test_a_worker_that_lost_a_job_writes_nothing_more(ask: Ask[Job], bench: JobBench, ended: bool) -> None:
    job_id = accept(ask).id
    lost = bench.claim()
    assert lost is not None
    bench.finish(lost, JobStatus.QUEUED)
    holder = bench.claim()
    assert holder is not None
    if ended:
        bench.finish(holder, JobStatus.SUCCEEDED)
    before = ask(lambda desk: desk.get(job_id))
    progress = Progress(epoch=1, epochs=1, batch=1, batches=1, images_per_second=1, eta_seconds=1)
    writes: list[Callable[[], None]] = [
        lambda: bench.report(lost, progress),
        lambda: bench.add_epoch(lost, epoch_record(9)),
        lambda: bench.settle(lost, TrainingConfig(), "elsewhere"),
        lambda: bench.finish(lost, JobStatus.FAILED, "zombie"),
    ]
    for write in writes:
        with pytest.raises(JobLost):
            write()
    assert ask(lambda desk: desk.get(job_id)) == before
