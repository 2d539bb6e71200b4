"""A receiver, and an outbox in a real Redis with a sender for it."""

import ssl
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from models.config import TrainingConfig
from tests.support.webhook_receiver import SECRET, Receiver
from tests.worker.conftest import Ask
from worker.jobs.client import JobClient, Order
from worker.jobs.consumer import JobConsumer
from worker.jobs.keys import MESSAGE_PREFIX, OUTBOX
from worker.jobs.model import Job
from worker.jobs.outbox import Outbox
from worker.webhook_url import Endpoint, read_webhook_secrets
from worker.webhooks.sender import WebhookSender

LOCAL = "127.0.0.1"


@pytest.fixture(scope="module")
def shared_receiver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Receiver]:
    receiver = Receiver(tmp_path_factory.mktemp("receiver"))
    yield receiver
    receiver.close()


@pytest.fixture
def receiver(shared_receiver: Receiver) -> Receiver:
    shared_receiver.clear()
    return shared_receiver


class Office:
    """Jobs whose ends are announced to the receiver, and the sender of the messages."""

    def __init__(self, ask: Ask[Any], consumer: JobConsumer, receiver: Receiver) -> None:
        self.ask, self.consumer, self.receiver = ask, consumer, receiver
        self.redis = consumer.redis

    def accept(self, url: str | None = "", **fields: Any) -> Job:
        """Accept a job for the receiver, for another address, or with None for none."""
        order = Order(TrainingConfig(name="first try"), webhook=self.receiver.url() if url == "" else url, **fields)
        job: Job = self.ask_jobs(lambda jobs: jobs.create(order))
        return job

    def ask_jobs(self, question: Callable[[JobClient], Any]) -> Any:
        return self.ask(question)

    def cancelled(self, url: str | None = "") -> Job:
        """A job that has ended, so that its message is due."""
        job = self.accept(url)
        self.ask_jobs(lambda jobs: jobs.cancel(job.id))
        return job

    def record(self, job: Job) -> Job:
        found: Job = self.ask_jobs(lambda jobs: jobs.get(job.id))
        return found

    def outbox(self, lease_seconds: float = 30.0, give_up_seconds: float = 86400.0) -> Outbox:
        return Outbox(self.redis, lease_seconds, 3600.0, give_up_seconds)

    def sender(self, hosts: tuple[str, ...] = (LOCAL,), outbox: Outbox | None = None, **options: Any) -> WebhookSender:
        context = ssl.create_default_context(cafile=self.receiver.ca)
        secrets = read_webhook_secrets(SECRET)
        receivers = frozenset(Endpoint(host, self.receiver.port) for host in hosts)
        return WebhookSender(outbox or self.outbox(), receivers, secrets, context, **options)

    def messages(self) -> list[str]:
        found: Any = self.redis.zrange(OUTBOX, 0, -1)
        return list(found)

    def fields(self, message: str) -> dict[str, str]:
        found: Any = self.redis.hgetall(MESSAGE_PREFIX + message)
        return dict(found)

    def make_due(self) -> None:
        """Let the waits of all messages be over."""
        for message in self.messages():
            self.redis.zadd(OUTBOX, {message: 0})


@pytest.fixture
def office(ask: Ask[Any], consumer: JobConsumer, receiver: Receiver) -> Office:
    return Office(ask, consumer, receiver)
