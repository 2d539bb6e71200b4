"""The script that ends a job writes its message; a lease gives each message to one sender at a time."""

import time
from collections.abc import Callable

import pytest

from models.config import TrainingConfig
from models.synthesis.order import DatasetOrder
from tests.support.job_lists import newest
from tests.worker.conftest import until
from tests.worker.webhooks.conftest import Office
from worker.jobs.client import Order
from worker.jobs.consumer import LOSSES, Claim
from worker.jobs.keys import LEASES, MESSAGE_PREFIX, OUTBOX, job_key
from worker.jobs.lists.catalog import JobCatalog, Labels
from worker.jobs.model import JobStatus
from worker.webhooks.payload import body_of


def claimed(office: Office) -> Claim:
    claim = office.consumer.claim()
    assert claim is not None
    return claim


def cancelled_while_it_waits(office: Office) -> None:
    office.cancelled()


def ended_by_its_worker(status: JobStatus) -> Callable[[Office], None]:
    def end(office: Office) -> None:
        office.accept()
        office.consumer.finish(claimed(office), status)

    return end


def cancelled_by_its_worker(office: Office) -> None:
    job = office.accept()
    claim = claimed(office)
    office.ask_jobs(lambda jobs: jobs.cancel(job.id))
    assert office.messages() == []
    office.consumer.finish(claim, JobStatus.CANCELLED)


def lost_worker(office: Office, cancel: bool) -> None:
    job = office.accept()
    claimed(office)
    if cancel:
        office.ask_jobs(lambda jobs: jobs.cancel(job.id))
    office.redis.hset(job_key(job.id), mapping={"lost": LOSSES, "seen_at": time.time()})
    office.redis.zadd(LEASES, {job.id: 0})
    office.consumer.reconcile(10.0)


WAYS: dict[str, tuple[Callable[[Office], None], str]] = {
    "cancelled while it waits": (cancelled_while_it_waits, "cancelled"),
    "succeeded": (ended_by_its_worker(JobStatus.SUCCEEDED), "succeeded"),
    "failed": (ended_by_its_worker(JobStatus.FAILED), "failed"),
    "cancelled by its worker": (cancelled_by_its_worker, "cancelled"),
    "failed with its third worker": (lambda office: lost_worker(office, cancel=False), "failed"),
    "cancelled without its worker": (lambda office: lost_worker(office, cancel=True), "cancelled"),
}


@pytest.mark.parametrize("way", WAYS)
def test_each_end_of_a_job_writes_one_message(office: Office, way: str) -> None:
    end, status = WAYS[way]
    end(office)
    (message,) = office.messages()
    (job,) = office.ask_jobs(lambda jobs: newest(jobs, 1))
    assert job.status == status
    fields = office.fields(message)
    assert fields == {
        "job": job.id,
        "url": office.receiver.url(),
        "status": status,
        "ended_at": fields["ended_at"],
        "epoch": "0",
    }
    assert float(fields["ended_at"]) == pytest.approx(job.ended_at.timestamp(), abs=1e-5)


def test_a_job_that_goes_back_to_the_queue_or_names_no_receiver_writes_none(office: Office) -> None:
    office.accept()
    office.consumer.finish(claimed(office), JobStatus.QUEUED)
    office.accept(None)
    office.consumer.finish(claimed(office), JobStatus.QUEUED)
    office.cancelled(None)
    assert office.messages() == []


def test_a_job_that_ends_twice_writes_two_messages(office: Office) -> None:
    job = office.cancelled()
    office.ask_jobs(lambda jobs: jobs.resume(job.id))
    office.consumer.finish(claimed(office), JobStatus.SUCCEEDED)
    messages = office.messages()
    assert [office.fields(message)["status"] for message in messages] == ["cancelled", "succeeded"]
    assert len(set(messages)) == 2


def test_a_deleted_job_leaves_no_message(office: Office) -> None:
    kept, job = office.cancelled(), office.cancelled()
    office.ask_jobs(lambda jobs: jobs.resume(job.id))
    office.ask_jobs(lambda jobs: jobs.cancel(job.id))
    assert len(office.messages()) == 3
    office.ask_jobs(lambda jobs: jobs.end_deletion(job.id))
    assert [office.fields(message)["job"] for message in office.messages()] == [kept.id]
    assert len(office.redis.keys(f"{MESSAGE_PREFIX}*")) == 1


def test_a_message_of_a_record_that_no_longer_exists_is_removed(office: Office) -> None:
    office.redis.delete(job_key(office.cancelled().id))
    assert office.outbox().claim() is None
    assert office.redis.keys(f"{MESSAGE_PREFIX}*") + office.messages() == []


def test_only_one_sender_has_a_message_until_its_lease_ends(office: Office) -> None:
    office.cancelled()
    outbox = office.outbox(lease_seconds=50.0)
    first = outbox.claim()
    assert first is not None
    assert office.outbox().claim() is None
    assert office.redis.zscore(OUTBOX, first.id) == pytest.approx(first.claimed_at + 50.0, abs=1e-3)  # its end
    office.redis.zadd(OUTBOX, {first.id: time.time() + 0.2})  # almost 50 seconds later
    until(lambda: (second := office.outbox().claim()) is not None and (second.id, second.attempt) == (first.id, 2))
    assert outbox.put_back(first, 0.0, "") is False
    assert office.outbox().claim() is None  # the second sender still has it
    outbox.finish(first)  # it is delivered, although late
    assert office.messages() == []


def test_an_attempt_that_a_clock_ahead_has_put_off_is_due_at_once(office: Office) -> None:
    office.cancelled()
    (message,) = office.messages()
    office.redis.zadd(OUTBOX, {message: time.time() + 3500})
    assert office.outbox().claim() is None
    office.redis.zadd(OUTBOX, {message: time.time() + 4000})
    assert office.outbox().claim() is not None


def test_the_client_counts_the_messages(office: Office) -> None:
    office.cancelled()
    assert office.ask_jobs(lambda jobs: jobs.standing()).undelivered == 1


def test_a_message_has_the_kind_of_its_job_and_the_name_of_a_run(office: Office) -> None:
    outbox = office.outbox()
    office.cancelled()
    message = outbox.claim()
    assert message is not None
    assert (message.kind, message.name) == ("training", "first try")
    made_from = Order(
        TrainingConfig(name="another run"), dataset=DatasetOrder(checkpoint="latest"), webhook=office.receiver.url()
    )
    job = office.ask_jobs(lambda jobs: jobs.create(made_from))
    office.ask_jobs(lambda jobs: jobs.cancel(job.id))
    message = outbox.claim()
    assert message is not None
    assert (message.job, message.kind, message.name) == (job.id, "dataset", None)


@pytest.mark.parametrize("dataset", [None, DatasetOrder(checkpoint="latest")])
@pytest.mark.parametrize(("label", "name"), [("second try", "second try"), ("", None)])
def test_a_message_has_the_name_of_the_job_when_it_ended(
    office: Office, dataset: DatasetOrder | None, label: str, name: str | None
) -> None:
    def rename(label: str) -> None:
        office.ask_jobs(lambda jobs: JobCatalog(jobs).label(job.id, Labels(name=label)))

    outbox, job = office.outbox(), office.accept(dataset=dataset)
    rename(label)
    office.ask_jobs(lambda jobs: jobs.cancel(job.id))
    first = outbox.claim()
    rename("after its end")
    office.make_due()
    second = outbox.claim()
    assert first is not None
    assert second is not None
    assert first.name == name
    assert body_of(first) == body_of(second)  # a receiver may compare them


def test_the_record_shows_the_host_only(office: Office) -> None:
    job = office.accept("https://Hooks.Example.com:8443/path?token=abcdef")
    record = office.record(job)
    assert record.webhook_host == job.webhook_host == "hooks.example.com"
    assert "abcdef" not in record.model_dump_json() + repr(record)


def test_an_order_with_another_receiver_is_another_order() -> None:
    one, other = (Order(TrainingConfig(), webhook=f"https://hooks.example.com/{name}") for name in ("a", "b"))
    assert len({one.fingerprint, other.fingerprint, Order(TrainingConfig()).fingerprint}) == 3
