"""What a worker deletes after the end of a job: nothing of a worker that runs the job again, resumed at once."""

import hashlib
from collections.abc import Callable
from typing import Any

import pytest
from pydantic import BaseModel

from models.config import TrainingConfig
from models.data.building.order import TrainingDataOrder
from models.evaluation.evaluation_records import EvaluationOrder
from models.registry import bundled
from models.registry.evaluations import WORK as STEPS
from models.registry.storage.base import Folder
from models.registry.storage.uploads import WORK as PICTURES
from models.registry.storage.uploads import has_upload, store_upload
from models.synthesis.order import DatasetOrder
from tests.support.s3_endpoint import Endpoint
from tests.worker.conftest import Ask
from worker.handlers.dataset import drop_shards
from worker.handlers.evaluation import drop_steps
from worker.handlers.training_data import drop_upload
from worker.jobs.client import Order
from worker.jobs.consumer import JobConsumer
from worker.jobs.model import JobKind, JobStatus
from worker.lifecycle.context import JobContext
from worker.lifecycle.lease import Lease
from worker.settings import WorkerSettings

UPLOAD = TrainingDataOrder(name="letters", size=1, sha256=hashlib.sha256(b"x").hexdigest())
ORDERS: dict[JobKind, BaseModel] = {
    JobKind.TRAINING_DATA: UPLOAD,
    JobKind.EVALUATION: EvaluationOrder(checkpoint=str(bundled.checkpoint()), effort="quick"),
    JobKind.DATASET: DatasetOrder(checkpoint=str(bundled.checkpoint())),
}
Cleanup = Callable[[JobContext, JobStatus], None]


@pytest.fixture(params=["folder", "bucket"])
def settings(request: pytest.FixtureRequest, redis_url: str, monkeypatch: pytest.MonkeyPatch) -> WorkerSettings:
    if request.param == "bucket":
        endpoint: Endpoint = request.getfixturevalue("endpoint")
        monkeypatch.setenv("ACGAN_STORE", endpoint.address())
    return WorkerSettings(redis_url=redis_url, device="cpu")


def claimed(settings: WorkerSettings, consumer: JobConsumer) -> JobContext:
    """Claim a job as a worker does, in Redis and in the store."""
    claim = consumer.claim()
    assert claim is not None
    store = settings.open_store()
    store.take(claim.job.id, claim.fence)
    return JobContext(consumer, Lease(consumer, claim, 30), store, settings)


@pytest.mark.parametrize(
    ("kind", "clean_up", "status"),
    [
        (JobKind.TRAINING_DATA, drop_upload, JobStatus.FAILED),
        (JobKind.TRAINING_DATA, drop_upload, JobStatus.SUCCEEDED),
        (JobKind.EVALUATION, drop_steps, JobStatus.SUCCEEDED),
        (JobKind.DATASET, drop_shards, JobStatus.FAILED),
    ],
)
def test_a_worker_deletes_no_files_of_the_worker_that_runs_the_resumed_job(
    ask: Ask[Any],
    consumer: JobConsumer,
    settings: WorkerSettings,
    kind: JobKind,
    clean_up: Cleanup,
    status: JobStatus,
) -> None:
    job = ask(lambda jobs: jobs.create(Order(TrainingConfig(), dataset=ORDERS[kind], given_kind=kind))).id
    first = claimed(settings, consumer)
    consumer.finish(first.claim, JobStatus.FAILED)
    ask(lambda jobs: jobs.resume(job))
    second = claimed(settings, consumer)
    storage = second.storage.storage
    sent = settings.home / "sent"
    sent.write_bytes(b"x")
    store_upload(storage, job, UPLOAD, sent)
    storage.write(f"{job}/part-0", b"digits")
    work = [storage.workshop(Folder(job, name)) / "source" / "file" for name in (STEPS, PICTURES)]
    for file in work:
        file.parent.mkdir(parents=True)
        file.write_bytes(b"x")

    def stored() -> tuple[bool, bool, list[bool]]:
        return has_upload(storage, job), "part-0" in storage.names(job), [file.exists() for file in work]

    clean_up(first, status)
    assert stored() == (True, True, [True, True])
    clean_up(second, status)
    is_sent = (kind, status) != (JobKind.TRAINING_DATA, JobStatus.SUCCEEDED)
    kept = [kind != JobKind.EVALUATION, kind != JobKind.TRAINING_DATA]
    assert stored() == (is_sent, kind != JobKind.DATASET, kept)
    assert [path for file in work for path in file.parents[2].glob(".*")] == []
