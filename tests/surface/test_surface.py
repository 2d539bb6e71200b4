"""The public surface equals the frozen one. After an intended change, run `python -m tests.surface` and add a line to
CHANGELOG.md.
"""

import json
from pathlib import Path
from typing import Any, get_args

import pytest

from benchmarks.records import ask_desk
from models.config import TrainingConfig
from models.evaluation.evaluation_records import EvaluationOrder
from models.records import Loss
from tests.app.conftest import publish_own
from tests.conftest import RunningRedis
from tests.models.registry.test_store import OLD
from tests.support.training_sets import bring
from tests.surface import collect
from worker.jobs.client import Order
from worker.jobs.consumer import JobConsumer
from worker.jobs.keys import job_key
from worker.jobs.lists.catalog import JobCatalog, Labels, Selection, Sort
from worker.jobs.live import LiveWriter, RecentLosses, Sample
from worker.jobs.model import JobStatus
from worker.runner import run_next_job
from worker.settings import WorkerSettings


@pytest.fixture
def undefined(monkeypatch: pytest.MonkeyPatch) -> None:
    """The tests' own variables do not change a default."""
    for name in ("ACGAN_DATA_DIR", "ACGAN_HOME", "ACGAN_MNIST_MIRRORS", "ACGAN_JUDGE", "ACGAN_PRETRAINED"):
        monkeypatch.delenv(name, raising=False)


def frozen(name: str) -> Any:
    return json.loads((collect.FROZEN / f"{name}.json").read_text())


@pytest.mark.usefixtures("undefined")
@pytest.mark.parametrize("name", collect.PARTS)
def test_the_surface_equals_the_frozen_one(name: str) -> None:
    assert json.loads(collect.as_json(collect.PARTS[name]())) == frozen(name)


def test_jobs_store_the_same_keys_and_files(
    shared_redis: RunningRedis, redis_url: str, config: TrainingConfig, tmp_path: Path
) -> None:
    """Of a run that is labelled and searched, of an evaluation, and of a run that shows what happens now."""
    settings = WorkerSettings(redis_url=redis_url, device="cpu")
    store = settings.open_store()
    order = Order(config, caller="ana", idempotency_key="once", webhook="https://hooks.example.com/")
    run = ask_desk(redis_url, lambda jobs: jobs.create(order)).id
    run_next_job(settings)
    ask_desk(redis_url, lambda jobs: label_and_search(JobCatalog(jobs), run))
    checkpoint = publish_own(store, OLD, str(bring(store.training_data, "bars").reference), ("a", "b", "c"))
    wanted = EvaluationOrder(checkpoint=checkpoint, effort="quick")
    evaluated = Order(TrainingConfig(dataset="bars@1"), dataset=wanted)
    evaluation = ask_desk(redis_url, lambda jobs: jobs.create(evaluated)).id
    run_next_job(settings)
    live = show_now(redis_url, config)
    with shared_redis.client() as client:
        assert client.hget(job_key(evaluation), "status") == JobStatus.SUCCEEDED, client.hgetall(job_key(evaluation))
        keys = {f"{key}: {client.type(key)}" for key in client.scan_iter("*")}
        fields = {
            f"{key} {field}"
            for key in client.scan_iter("acgan:job:*")
            if client.type(key) == "hash"
            for field in client.hkeys(key)
        }
    root = settings.store_dir
    files = [str(path.relative_to(root)) for path in root.rglob("*") if path.is_file()]
    jobs = (run, evaluation, live, OLD)
    found = {"redis": collect.stored(keys | fields, jobs), "store": collect.stored(files, jobs)}
    assert found == {"redis": frozen("redis"), "store": frozen("store")}, collect.as_json(found)


async def label_and_search(catalog: JobCatalog, job_id: str) -> None:
    await catalog.label(job_id, Labels(name="one", notes="two", tags=["three"], archived=True))
    for order in get_args(Sort):
        found = await catalog.page(Selection(limit=1, sort=order, search="one", tag="three"))
        assert [job.id for job in found.jobs] == [job_id]


def show_now(redis_url: str, config: TrainingConfig) -> str:
    """Start a run, and add losses and a sample, as its worker does after seconds. Returns its id."""
    ask_desk(redis_url, lambda jobs: jobs.create(Order(config)))
    consumer = JobConsumer.connect(redis_url)
    claim = consumer.claim()
    assert claim
    loss = Loss(loss=1.5, generation_loss=1.0, auxiliary_loss=0.5)
    LiveWriter(consumer.redis).add(claim, RecentLosses(1, 1, 3, 1, loss, loss), Sample(0, 1, 1, b"picture"))
    consumer.close()
    return claim.job.id
