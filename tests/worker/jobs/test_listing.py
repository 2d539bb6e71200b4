"""Jobs that need a version of training data, in a real Redis."""

from typing import Any

import pytest
import redis

from models.config import TrainingConfig
from models.data.reference import Reference
from models.synthesis.order import DatasetOrder
from tests.worker.conftest import Ask, accept
from worker.jobs.client import JobClient, Order
from worker.jobs.consumer import JobConsumer
from worker.jobs.keys import job_key
from worker.jobs.listing import read_users_of_training_data, users_of_training_data

LETTERS = Reference("letters", 2)


@pytest.mark.parametrize(
    ("dataset", "needs"), [("letters@2", True), ("letters", True), ("letters@1", False), ("mnist", False)]
)
def test_a_queued_run_needs_the_version_that_its_config_names(
    ask: Ask[Any], consumer: JobConsumer, dataset: str, needs: bool
) -> None:
    job = accept(ask, dataset=dataset)
    users = [job.id] if needs else []
    assert users_of_training_data(consumer.redis, LETTERS) == users
    assert ask(lambda jobs: read_users_of_training_data(jobs.redis, LETTERS)) == users


def test_a_run_that_has_ended_needs_nothing(ask: Ask[Any], consumer: JobConsumer) -> None:
    job = accept(ask, dataset="letters@2")
    ask(lambda jobs: jobs.cancel(job.id))
    assert users_of_training_data(consumer.redis, LETTERS) == []


def test_a_data_set_on_order_does_not_need_the_training_data_of_its_generator(
    ask: Ask[Any], consumer: JobConsumer
) -> None:
    async def order(jobs: JobClient) -> None:
        drawn = DatasetOrder(checkpoint="20260131-120000-00001c-e001")
        await jobs.create(Order(TrainingConfig(dataset="letters@2"), dataset=drawn))

    ask(order)
    assert users_of_training_data(consumer.redis, LETTERS) == []


def test_a_record_of_another_version_counts_if_its_config_names_the_data(
    ask: Ask[Any], consumer: JobConsumer, redis_url: str
) -> None:
    job = accept(ask, dataset="mnist")
    with redis.Redis.from_url(redis_url) as client:
        client.hset(job_key(job.id), mapping={"config": '{"dataset": "letters@2", "colour": 7}', "kind": "of tomorrow"})
        assert users_of_training_data(consumer.redis, LETTERS) == [job.id]
        for unreadable in ("no JSON", "[]", '{"dataset": 7}', "null"):
            client.hset(job_key(job.id), "config", unreadable)
            assert users_of_training_data(consumer.redis, LETTERS) == []
