"""The trace of a job, from the request to the published checkpoint, as a collector receives it."""

import json
import logging
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.records import ask_desk
from models.config import TrainingConfig
from models.errors import TrainingFailed
from models.registry import bundled
from models.synthesis import order as dataset_order
from models.synthesis.order import DatasetOrder
from models.synthesis.shards import Shards
from tests.faults.test_shards import SMALL_PARTS
from tests.integrations.trace_collector import Collector, collecting, exporting
from tests.support.running_service import running
from tests.support.serving import until
from worker.celery_app import ShardMessage, make_celery, send_shard
from worker.jobs.client import Order
from worker.jobs.consumer import JobConsumer
from worker.jobs.keys import job_key
from worker.jobs.model import JobStatus
from worker.lifecycle import shutdown
from worker.lifecycle.context import JobContext
from worker.observability import tracing
from worker.runner import run_next_job
from worker.settings import WorkerSettings

pytestmark = pytest.mark.integrations

RUN = {"dataset": "printed", "epochs": 2, "batch_size": 10, "train_examples": 100, "test_examples": 10}
TRACE, REQUEST = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
TRACEPARENT, OTHER = f"00-{TRACE}-{REQUEST}-01", f"00-{TRACE[::-1]}-{REQUEST}-01"
TREE = {
    ("", "POST /train"),
    ("/POST /train", "queue"),
    ("/POST /train", "run training"),
    ("/POST /train/run training", "claim storage"),
    ("/POST /train/run training", "load data"),
    ("/POST /train/run training", "load state"),
    ("/POST /train/run training", "epoch"),
    ("/POST /train/run training", "end"),
    ("/POST /train/run training/epoch", "train"),
    ("/POST /train/run training/epoch", "evaluate"),
    ("/POST /train/run training/epoch", "snapshot"),
    ("/POST /train/run training/epoch", "publish"),
    ("/POST /train/run training/epoch/publish", "write checkpoint"),
    ("/POST /train/run training/epoch/publish", "record epoch"),
}


@pytest.fixture
def collector() -> Iterator[Collector]:
    with collecting() as collector:
        yield collector


@pytest.fixture
def settings(redis_url: str) -> WorkerSettings:
    return WorkerSettings(redis_url=redis_url, device="cpu")


def test_a_run_is_one_trace_from_the_request_to_the_published_checkpoint(tmp_path: Path, collector: Collector) -> None:
    with running(tmp_path / "home", **collector.environment, ACGAN_LOG_FORMAT="json") as service:
        job_id = service.train(**RUN)
        job = service.until_ended(job_id)
        assert job["status"] == "succeeded", job
        service.stop()
    (request,) = collector.named("POST /train")
    collector.spans = [span for span in collector.spans if span.trace == request.trace]
    assert collector.tree() == TREE
    assert {(span.service, span.name) for span in collector.spans if span.service != "acgan-worker"} == {
        ("acgan-api", "POST /train")
    }
    (run,) = collector.named("run training")
    assert {"acgan.job": job_id, "acgan.attempt": 1, "acgan.status": "succeeded"}.items() <= run.attributes.items()
    assert request.attributes["acgan.job"] == job_id
    assert [span.attributes["acgan.epoch"] for span in collector.named("epoch")] == [1, 2]
    published = {span.attributes["acgan.checkpoint"] for span in collector.named("publish")}
    assert published == {epoch["checkpoint"] for epoch in job["epochs"]}
    values = str([span.attributes for span in collector.spans])
    assert "redis" not in values
    assert "127.0.0.1" not in values
    lines = [json.loads(line) for line in service.worker_log().splitlines() if line.startswith("{")]
    assert {line.get("trace_id") for line in lines if line.get("job") == job_id} == {request.trace}
    assert request.trace in service.log.read_text()


def test_every_attempt_has_the_parent_of_the_first(
    settings: WorkerSettings, collector: Collector, config: TrainingConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first attempt is interrupted, the second fails, the third is that of a resumed job."""

    def handle(context: JobContext) -> None:
        if context.claim.attempt < 3:
            raise shutdown.Interrupted if context.claim.attempt == 1 else TrainingFailed("redis://host/")

    monkeypatch.setattr("worker.runner.HANDLERS", {"training": handle})
    with exporting(collector, settings, "worker"):
        job = ask_desk(settings.redis_url, lambda jobs: jobs.create(Order(config, traceparent=TRACEPARENT)))
        assert run_next_job(settings) is not None
        run_next_job(settings)
        ask_desk(settings.redis_url, lambda jobs: jobs.resume(job.id, OTHER))
        run_next_job(settings)
    attempts = collector.named("run training")
    assert {(span.trace, span.parent) for span in attempts} == {(TRACE, REQUEST)}
    found = [(span.attributes["acgan.attempt"], span.attributes["acgan.status"], span.failed) for span in attempts]
    assert found == [(1, "queued", False), (2, "failed", True), (3, "succeeded", False)]
    assert len(collector.named("queue")) == 1
    assert "redis" not in str(collector.spans)


def test_a_job_that_was_accepted_without_a_trace_gets_that_of_its_resumption(
    settings: WorkerSettings, collector: Collector, config: TrainingConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("worker.runner.HANDLERS", {"training": lambda _: None})
    job = ask_desk(settings.redis_url, lambda jobs: jobs.create(Order(config)))
    ask_desk(settings.redis_url, lambda jobs: jobs.cancel(job.id))
    ask_desk(settings.redis_url, lambda jobs: jobs.resume(job.id, TRACEPARENT))
    with exporting(collector, settings, "worker"):
        run_next_job(settings)
    (run,) = collector.named("run training")
    assert (run.trace, run.parent) == (TRACE, REQUEST)


def test_an_invalid_context_in_a_record_is_ignored(
    settings: WorkerSettings, collector: Collector, config: TrainingConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("worker.runner.HANDLERS", {"training": lambda _: None})
    invalid = ["00", "x" * 10_000, f"00-{'0' * 32}-{REQUEST}-01", f"00-{TRACE}-é-01"]
    consumer = JobConsumer.connect(settings.redis_url)
    with exporting(collector, settings, "worker"):
        for traceparent in invalid:
            job = ask_desk(settings.redis_url, lambda jobs: jobs.create(Order(config)))
            consumer.redis.hset(job_key(job.id), "traceparent", traceparent)
            run_next_job(settings)
            assert consumer.redis.hget(job_key(job.id), "status") == JobStatus.SUCCEEDED
    consumer.close()
    assert [span.parent for span in collector.named("run training")] == [""] * len(invalid)


def test_a_shard_belongs_to_the_trace_of_its_owner(
    settings: WorkerSettings, collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another worker, a real process that reads only shards, draws one part; the owner waits for it."""
    monkeypatch.setattr(dataset_order, "PART", 50)  # as in SMALL_PARTS
    monkeypatch.setenv("PYTHONPATH", SMALL_PARTS, prepend=os.pathsep)
    order = DatasetOrder(per_class=150, test_per_class=50, seed=4, checkpoint=str(bundled.checkpoint()))
    for name, value in {"ACGAN_REDIS_URL": settings.redis_url, "ACGAN_DEVICE": "cpu", **collector.environment}.items():
        monkeypatch.setenv(name, value)
    command = [sys.executable, "-m", "celery", "-A", "worker.tasks", "worker", "-Q", "acgan-shards-cpu"]
    helper = subprocess.Popen(command)
    celery = make_celery(settings)

    def ask(message: ShardMessage) -> None:
        if message.number == 0:
            send_shard(celery, message, tracing.headers())
            shards = Shards(settings.open_store(), message.job)
            until("the other worker stores a part", lambda: bool(shards.names()), seconds=100)

    try:
        with exporting(collector, settings, "owner"):
            new = Order(TrainingConfig(), dataset=order, traceparent=TRACEPARENT)
            job = ask_desk(settings.redis_url, lambda jobs: jobs.create(new))
            run_next_job(settings, ask)
    finally:
        helper.terminate()
        helper.wait(30)
    assert ask_desk(settings.redis_url, lambda jobs: jobs.get(job.id)).status == JobStatus.SUCCEEDED
    (run,) = collector.named("run dataset")
    (shard,) = collector.named("draw shard")
    assert (shard.service, shard.trace, shard.parent) == ("acgan-worker", TRACE, run.id)
    assert (shard.attributes["acgan.part"], shard.failed) == (0, False)
    assert len(collector.named("draw part")) == len(order.parts) - 1


def test_a_collector_that_is_down_is_logged_once(
    settings: WorkerSettings, collector: Collector, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "0.2")
    caplog.set_level(logging.DEBUG, "worker")
    caplog.set_level(logging.DEBUG, "opentelemetry")
    collector.is_open.clear()
    with exporting(collector, settings, "worker"):
        with tracing.span("lost"):
            pass
        until("the loss is logged", lambda: "spans are lost" in caplog.text)
        for _ in range(3):
            with tracing.span("lost too"):
                pass
        tracing._provider.force_flush()
        collector.is_open.set()

        def is_recovered() -> bool:
            with tracing.span("kept"):  # again, if a busy machine does not export one in time
                pass
            return "accepts spans again" in caplog.text

        until("the recovery is logged", is_recovered)
        collector.wait_for("kept")
    lost, found = [record for record in caplog.records if record.levelno >= logging.INFO]
    assert lost.levelname == "WARNING"
    assert "spans are lost until the collector of traces accepts them: Failed to export" in lost.getMessage()
    assert found.getMessage() == "the collector of traces accepts spans again"


def test_the_end_of_a_process_does_not_wait_for_a_collector_that_hangs(
    settings: WorkerSettings, collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tracing, "FLUSH_SECONDS", 0.1)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "600")
    collector.is_open.clear()
    with exporting(collector, settings, "worker"), tracing.span("kept back"):
        pass
    assert not collector.is_open.is_set()
    assert collector.spans == []


def test_a_variable_that_the_sdk_rejects_is_logged_and_nothing_fails(
    settings: WorkerSettings, collector: Collector, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("OTEL_BSP_MAX_QUEUE_SIZE", "-1")
    with exporting(collector, settings, "worker"), tracing.span("none"):
        assert tracing.headers() == {}
    assert "no traces are exported, because OpenTelemetry rejects its settings: max_queue_size" in caplog.text
