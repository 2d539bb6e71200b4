"""The job record in a real Redis: both sides read it, and only the holder of the lease may write."""

from collections.abc import Callable
from typing import Any

import pytest
import redis

from models.config import TrainingConfig
from models.records import Progress
from tests.support import records
from tests.support.job_lists import newest
from tests.worker.conftest import Ask, accept
from worker.jobs.client import JobClient, JobNotFound, Order
from worker.jobs.consumer import JobConsumer, LeaseLost
from worker.jobs.keys import LEASES, epochs_key
from worker.jobs.model import EpochRecord, Job, JobStatus


def epoch_record(epoch: int, loss: float = 1.0) -> EpochRecord:
    return EpochRecord(epoch=epoch, seconds=1.5, losses=records.losses(loss), checkpoint=f"x-e{epoch:03d}")


def test_an_accepted_job_is_queued_and_complete(ask: Ask[Job]) -> None:
    job = accept(ask, epochs=3, name="mine")
    assert job == ask(lambda jobs: jobs.get(job.id))
    assert (job.status, job.config.epochs, job.config.name) == (JobStatus.QUEUED, 3, "mine")
    assert (job.started_at, job.progress, job.epochs, job.error) == (None, None, [], None)


def test_a_job_accepted_twice_since_a_response_was_lost_exists_once(ask: Ask[Any], redis_url: str) -> None:
    async def create_twice(jobs: JobClient) -> Job:
        create = jobs._create

        async def answer_lost_once(**call: Any) -> Any:
            await create(**call)
            return await create(**call)

        jobs._create = answer_lost_once  # type: ignore[assignment]
        return await jobs.create(Order(TrainingConfig()))

    job = ask(create_twice)
    assert [found.id for found in ask(lambda jobs: newest(jobs, 10))] == [job.id]
    assert JobConsumer.connect(redis_url).waiting() == 1


def test_a_job_is_deleted_although_the_response_is_lost(ask: Ask[Any], consumer: JobConsumer) -> None:
    """redis-py repeats the call, and the second response is that there is no such job."""
    job_id, answers = accept(ask).id, list[Any]()
    ask(lambda jobs: jobs.cancel(job_id))

    async def delete(jobs: JobClient) -> None:
        await jobs.begin_deletion(job_id)
        client: Any = jobs.redis
        parse = client.parse_response

        async def lose_first_response(connection: Any, command: str, **options: Any) -> Any:
            answers.append(await parse(connection, command, **options))
            if len(answers) == 1:
                raise redis.ConnectionError("the connection was reset")
            return answers[-1]

        client.parse_response = lose_first_response
        await jobs.end_deletion(job_id)

    ask(delete)
    assert answers == [[JobStatus.CANCELLED, "0"], None]
    assert not consumer.has_record(job_id)
    with pytest.raises(JobNotFound):
        ask(lambda jobs: jobs.begin_deletion(job_id))


def test_a_record_of_a_newer_version_is_still_read(ask: Ask[Job], redis_url: str) -> None:
    job = accept(ask, epochs=7)
    with redis.Redis.from_url(redis_url) as client:
        client.hset(f"acgan:job:{job.id}", "config", '{"epochs": 7, "colour": "of tomorrow"}')
    assert ask(lambda jobs: jobs.get(job.id)).config.epochs == 7


def test_an_unknown_job_raises_not_found(ask: Ask[Job]) -> None:
    with pytest.raises(JobNotFound, match="20260101-000000-abcdef"):
        ask(lambda jobs: jobs.get("20260101-000000-abcdef"))


def test_jobs_are_listed_newest_first(ask: Ask[Any]) -> None:
    ids = [accept(ask).id for _ in range(4)]
    assert [job.id for job in ask(lambda jobs: newest(jobs, 3))] == ids[:0:-1]


def test_jobs_are_claimed_in_the_order_of_acceptance_and_once(ask: Ask[Job], consumer: JobConsumer) -> None:
    ids = [accept(ask).id for _ in range(3)]
    assert consumer.waiting() == 3
    claims = [consumer.claim() for _ in range(4)]
    assert [claim.job.id for claim in claims if claim] == ids
    assert claims[3] is None
    fences = [claim.fence for claim in claims if claim]
    assert fences == sorted(set(fences))
    assert ask(lambda jobs: jobs.get(ids[0])).status == JobStatus.RUNNING


def test_epochs_that_redis_lost_during_the_run_are_reported_again_at_its_end(
    ask: Ask[Job], consumer: JobConsumer
) -> None:
    """Redis restarted without the last bytes of its append-only file: they contained reports, but not the claim."""
    job_id = accept(ask).id
    claim = consumer.claim()
    assert claim is not None
    consumer.add_epoch(claim, epoch_record(1))
    consumer.redis.delete(epochs_key(job_id))
    consumer.add_epoch(claim, epoch_record(2))
    consumer.finish(claim, JobStatus.SUCCEEDED)
    assert ask(lambda jobs: jobs.get(job_id)).epochs == [epoch_record(1), epoch_record(2)]


def test_the_api_reads_what_the_worker_writes(ask: Ask[Job], consumer: JobConsumer) -> None:
    job_id = accept(ask).id
    claim = consumer.claim()
    assert claim is not None
    settled = claim.job.config.model_copy(update={"precision": "bf16"})
    progress = Progress(epoch=1, epochs=100, batch=3, batches=600, images_per_second=210.5, eta_seconds=99.0)
    consumer.record_runtime(claim, settled, "cpu (2 threads)")
    consumer.report(claim, progress)
    for record in (epoch_record(2), epoch_record(1), epoch_record(10), epoch_record(2, loss=3.0)):
        consumer.add_epoch(claim, record)
    consumer.finish(claim, JobStatus.SUCCEEDED)

    job = ask(lambda jobs: jobs.get(job_id))
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


def test_a_failure_has_a_reason(ask: Ask[Job], consumer: JobConsumer) -> None:
    job_id = accept(ask).id
    claim = consumer.claim()
    assert claim is not None
    consumer.finish(claim, JobStatus.FAILED, "the disk is full")
    assert ask(lambda jobs: jobs.get(job_id)).error == "the disk is full"


def test_a_job_handed_back_is_the_next_to_be_claimed(ask: Ask[Job], consumer: JobConsumer) -> None:
    first, second = accept(ask).id, accept(ask).id
    claim = consumer.claim()
    assert claim is not None
    consumer.finish(claim, JobStatus.QUEUED)
    assert ask(lambda jobs: jobs.get(first)).status == JobStatus.QUEUED
    again, other = consumer.claim(), consumer.claim()
    assert again is not None
    assert other is not None
    assert (again.job.id, other.job.id) == (first, second)
    assert again.fence > claim.fence


def test_a_job_cancelled_while_its_worker_hands_it_back_is_cancelled(ask: Ask[Any], consumer: JobConsumer) -> None:
    job_id = accept(ask).id
    claim = consumer.claim()
    assert claim is not None
    ask(lambda jobs: jobs.cancel(job_id))
    for _ in range(2):  # the second call repeats the first, as after a lost response
        assert consumer.finish(claim, JobStatus.QUEUED) == JobStatus.CANCELLED
    job = ask(lambda jobs: jobs.get(job_id))
    assert (job.status, job.trouble) == (JobStatus.CANCELLED, None)
    assert job.ended_at is not None
    assert consumer.redis.zcard(LEASES) == 0
    assert consumer.claim() is None


@pytest.mark.parametrize("ended", [False, True])
def test_a_worker_that_lost_a_job_writes_nothing_more(ask: Ask[Job], consumer: JobConsumer, ended: bool) -> None:
    job_id = accept(ask).id
    lost = consumer.claim()
    assert lost is not None
    consumer.finish(lost, JobStatus.QUEUED)
    holder = consumer.claim()
    assert holder is not None
    if ended:
        consumer.finish(holder, JobStatus.SUCCEEDED)
    before = ask(lambda jobs: jobs.get(job_id))
    progress = Progress(epoch=1, epochs=1, batch=1, batches=1, images_per_second=1, eta_seconds=1)
    writes: list[Callable[[], object]] = [
        lambda: consumer.report(lost, progress),
        lambda: consumer.add_epoch(lost, epoch_record(9)),
        lambda: consumer.record_runtime(lost, TrainingConfig(), "elsewhere"),
        lambda: consumer.finish(lost, JobStatus.FAILED, "zombie"),
    ]
    for write in writes:
        with pytest.raises(LeaseLost):
            write()
    assert ask(lambda jobs: jobs.get(job_id)) == before
