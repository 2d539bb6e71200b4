"""The metrics and the log of a real worker that trains, is killed, and finds its port in use."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from models.config import TrainingConfig
from models.registry.store import FENCE
from tests.conftest import RunningRedis
from tests.support.failures import HasJobs, explained
from tests.support.ports import free_port
from tests.support.worker_figures import read_figures
from worker.jobs.client import Order
from worker.jobs.model import ENDED, Job, JobStatus

TINY = {"epochs": 2, "batch_size": 20, "train_examples": 60, "test_examples": 40, "dataset": "printed"}


class Worker(HasJobs):
    """`acgan worker` as a process, over its own Redis. Its lease does not expire on a slow machine."""

    def __init__(self, folder: Path, server: RunningRedis, port: int, **environment: str) -> None:
        self.redis = server
        self.port = port
        self.log = folder / "worker.log"
        ours = {name: value for name, value in os.environ.items() if not name.startswith("ACGAN_")}
        times = {"LEASE_SECONDS": "30", "RECONCILE_SECONDS": "0.3", "BACKOFF_SECONDS": "0.3", "SAVE_SECONDS": "0.5"}
        given = {"HOME": str(folder), "REDIS_URL": server.url, "METRICS_PORT": str(port), "DEVICE": "cpu", **times}
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "app.cli", "worker"],
                env={**ours, "OMP_NUM_THREADS": "1", **{f"ACGAN_{n}": v for n, v in (given | environment).items()}},
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def stop(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()

    def accept(self, **fields: Any) -> str:
        return self.redis.ask(lambda jobs: jobs.create(Order(TrainingConfig(**{**TINY, **fields})))).id

    def job(self, job_id: str) -> Job:
        return self.redis.ask(lambda jobs: jobs.get(job_id))

    def until(self, what: str, true: Callable[[], bool], seconds: float = 120) -> None:
        deadline = time.monotonic() + seconds
        while not true():
            assert time.monotonic() < deadline, f"{what}: not within {seconds} s\n{self.log.read_text()}"
            time.sleep(0.05)

    def until_ended(self, job_id: str) -> Job:
        self.until(f"{job_id} ends", lambda: self.job(job_id).status in ENDED)
        return self.job(job_id)

    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.log.read_text().splitlines()]

    def figures(self) -> dict[str, float]:
        return read_figures(self.port)


@contextmanager
def working(folder: Path, server: RunningRedis, port: int, **environment: str) -> Iterator[Worker]:
    worker = Worker(folder, server, port, **environment)
    try:
        with explained(worker):
            yield worker
    finally:
        worker.stop()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningRedis]:
    running = RunningRedis(tmp_path_factory.mktemp("redis"))
    yield running
    running.kill()


@pytest.fixture(scope="module")
def worker(tmp_path_factory: pytest.TempPathFactory, server: RunningRedis) -> Iterator[Worker]:
    with working(tmp_path_factory.mktemp("home"), server, free_port()) as worker:
        yield worker


@pytest.fixture(scope="module")
def finished(worker: Worker) -> Job:
    """The worker's first job, which has ended."""
    job = worker.until_ended(worker.accept())
    worker.until("the worker is idle", lambda: worker.figures()["acgan_worker_busy"] == 0)
    return job


def test_the_exported_losses_are_those_of_the_record(worker: Worker, finished: Job) -> None:
    assert finished.status == JobStatus.SUCCEEDED
    result, last = worker.figures(), finished.epochs[-1]
    losses = {
        f"acgan_worker_loss{{{loss},{network},{split}}}": row
        for network, splits in last.losses.model_dump().items()
        for split, rows in splits.items()
        for loss, row in rows.items()
    }
    assert len(losses) == 12
    assert {name: result[name] for name in losses} == losses
    assert result["acgan_worker_last_epoch_seconds"] == last.seconds
    assert last.metrics
    assert {name: result[f"acgan_worker_quality{{{name}}}"] for name in last.metrics} == last.metrics
    assert result["acgan_worker_epochs_refused_total"] == len(finished.epochs)
    assert result["acgan_worker_epoch_seconds_sum"] == pytest.approx(sum(epoch.seconds for epoch in finished.epochs))


def test_jobs_iterations_and_checkpoints_are_counted(worker: Worker, finished: Job) -> None:
    result = worker.figures()
    assert result["acgan_worker_jobs_taken_total"] == 1
    assert result["acgan_worker_jobs_ended_total{succeeded}"] == 1
    assert result["acgan_worker_jobs_ended_total{failed}"] == 0
    assert result["acgan_worker_iterations_total"] == 2 * 3
    assert result["acgan_worker_epoch_seconds_count"] == 2
    assert result["acgan_worker_publish_seconds_count"] == 2
    assert result["acgan_worker_publish_seconds_sum"] > 0
    assert result["acgan_worker_images_per_second"] == 0  # no job runs


def test_every_line_of_a_run_names_job_epoch_and_token(worker: Worker, finished: Job) -> None:
    lines = [
        line for line in worker.lines() if line["logger"].startswith(("worker.handlers.training", "worker.runner"))
    ]
    result = [(line["job"], line["epoch"]) for line in lines if "component" in line["event"]]
    assert result == [(finished.id, 1), (finished.id, 2)]
    about = [line for line in lines if finished.id in line["event"]]
    assert {(line["job"], line["fence"]) for line in about} == {(finished.id, 1)}
    warned = [line["event"] for line in about if line["level"] != "info"]
    assert len(warned) == 2
    assert all("is not served" in event for event in warned), "two iterations are not enough to draw"


def test_killing_a_training_process_loses_neither_counts_nor_the_port(worker: Worker, finished: Job) -> None:
    before = worker.figures()
    job_id = worker.accept(epochs=50, batch_size=4, train_examples=400)
    saves = before["acgan_worker_save_seconds_count"]
    worker.until("its state is saved", lambda: worker.figures()["acgan_worker_save_seconds_count"] > saves)
    worker.until("it is measured", lambda: worker.figures()["acgan_worker_images_per_second"] > 0)
    trainer = int(str(worker.job(job_id).worker).rpartition(":")[2])
    counted = worker.figures()["acgan_worker_iterations_total"]
    os.kill(trainer, signal.SIGKILL)
    after = dict[str, float]()

    def is_counted() -> bool:
        after.update(worker.figures())
        return after["acgan_worker_processes_lost_total"] == 1

    worker.until("the lost worker is counted", is_counted)
    assert after["acgan_worker_iterations_total"] >= counted > before["acgan_worker_iterations_total"]
    assert after["acgan_worker_images_per_second"] == 0
    worker.until("another takes over", lambda: worker.figures()["acgan_worker_jobs_taken_total"] == 3)
    assert worker.figures()["acgan_worker_workers_lost_total"] == 1
    assert worker.figures()["acgan_worker_jobs_requeued_total"] == 1
    worker.until("it continues to train", lambda: worker.figures()["acgan_worker_iterations_total"] > counted + 20)
    worker.redis.ask(lambda jobs: jobs.cancel(job_id))
    worker.until("the end is logged", lambda: worker.figures()["acgan_worker_jobs_ended_total{cancelled}"] == 1)


def test_a_killed_process_no_longer_waits_for_storage(worker: Worker, finished: Job) -> None:
    """It cannot report this itself. The job was cancelled, so that no other process waits in its place."""
    fence = worker.log.parent / "checkpoints" / FENCE
    kept = fence.read_bytes()
    fence.unlink()
    fence.mkdir()
    job_id = worker.accept()
    worker.until("it waits", lambda: worker.figures()["acgan_worker_waits_for_storage"] == 1)
    trainer = int(str(worker.job(job_id).worker).rpartition(":")[2])
    os.kill(trainer, signal.SIGSTOP)
    worker.redis.ask(lambda jobs: jobs.cancel(job_id))
    os.kill(trainer, signal.SIGKILL)
    assert worker.until_ended(job_id).status == JobStatus.CANCELLED
    worker.until("it no longer waits", lambda: worker.figures()["acgan_worker_waits_for_storage"] == 0)
    fence.rmdir()
    fence.write_bytes(kept)


def test_a_port_in_use_disables_the_metrics_and_fails_no_job(
    tmp_path: Path, server: RunningRedis, worker: Worker
) -> None:
    before = worker.figures()["acgan_worker_jobs_taken_total"]
    worker.stop()  # it would take the job
    with socket.create_server(("127.0.0.1", free_port())) as taken:
        port = taken.getsockname()[1]
        with working(tmp_path, server, port, REDIS_URL=server.url) as other:
            assert other.until_ended(other.accept(epochs=1)).status == JobStatus.SUCCEEDED
            (line,) = (line for line in other.lines() if line["logger"] == "worker.observability.exporter")
    assert before >= 1
    assert line["level"] == "error"
    assert f"127.0.0.1:{port}" in line["event"]
    assert "Set another ACGAN_METRICS_PORT" in line["event"]
