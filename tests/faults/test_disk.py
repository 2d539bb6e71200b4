"""A disk that fills up during a run: no published checkpoint is harmed, and the run continues when there is room."""

import contextlib
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from app.problems.redis_diagnosis import DISK_FULL, explain_error
from app.server.embedded_redis import explain
from models.data.reference import Reference
from models.registry.store import CheckpointStore
from tests.conftest import RunningRedis
from tests.faults.world import Outcome, World, check, running_world
from tests.support.class_folders import write_classes
from tests.support.disks import mounted_disk
from tests.support.forks import run_acgan
from tests.support.ports import free_port
from tests.support.worker_figures import read_figures
from worker.jobs.errors import StoreUnavailable
from worker.jobs.model import JobStatus

pytestmark = pytest.mark.faults
MEGABYTE = 2**20


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A separate file system of 220 MB."""
    with mounted_disk(tmp_path / "disk", 220) as folder:
        yield folder


@pytest.fixture
def cramped(tmp_path: Path, small_disk: Path) -> Iterator[World]:
    figures = {"ACGAN_METRICS_PORT": str(free_port())}
    with running_world(tmp_path / "world", store=small_disk / "checkpoints", environment=figures) as made:
        made.start_worker()
        yield made


def waits_for_storage(world: World) -> float:
    return read_figures(int(world.environment["ACGAN_METRICS_PORT"]))["acgan_worker_waits_for_storage"]


def test_a_full_disk_delays_a_run_and_harms_nothing(cramped: World, small_disk: Path, undisturbed: Outcome) -> None:
    job_id = cramped.accept(epochs=4)
    cramped.until("a first epoch", lambda: cramped.job(job_id).epochs)
    filler = small_disk / "filler"
    with filler.open("wb") as file:
        try:
            while True:
                file.write(b"\0" * MEGABYTE)
                file.flush()
        except OSError:
            cramped.note("the disk is full")
    cramped.until("the record has the trouble", lambda: "disk is full" in (cramped.job(job_id).trouble or ""))
    job = cramped.job(job_id)
    assert job.status == JobStatus.RUNNING
    cramped.until("the metrics show it", lambda: waits_for_storage(cramped) == 1)
    filler.unlink()
    cramped.note("there is room")
    assert cramped.until_ended(job_id).status == JobStatus.SUCCEEDED
    cramped.until("the metrics show the end of it", lambda: waits_for_storage(cramped) == 0)
    assert cramped.job(job_id).trouble is None
    check(cramped, [job_id], undisturbed)


def test_a_job_on_a_full_disk_can_be_cancelled_and_resumed(
    cramped: World, small_disk: Path, undisturbed: Outcome
) -> None:
    (small_disk / "filler").write_bytes(b"\0" * 215 * MEGABYTE)
    job_id = cramped.accept(epochs=2)
    cramped.until("the record has a trouble", lambda: cramped.job(job_id).trouble)
    cramped.ask(lambda jobs: jobs.cancel(job_id))
    assert cramped.until_ended(job_id, 10).status == JobStatus.CANCELLED
    (small_disk / "filler").unlink()
    cramped.ask(lambda jobs: jobs.resume(job_id))
    assert cramped.until_ended(job_id).status == JobStatus.SUCCEEDED
    check(cramped, [job_id], undisturbed)


def test_an_embedded_redis_on_a_full_disk_reports_it(small_disk: Path) -> None:
    """It exits, since every write must reach the disk; its last log lines and the error name the reason."""
    running = RunningRedis(small_disk / "redis", stdout=subprocess.PIPE)
    folder = small_disk / "redis"
    try:
        fill(small_disk)
        with running.client() as client, pytest.raises(redis.RedisError) as refused:
            client.mset({str(number): "x" * 100_000 for number in range(40)})
        assert explain_error(StoreUnavailable.of(refused.value), folder) == DISK_FULL
        last_words = running.process.communicate(timeout=10)[0].decode()
        assert "is full" in str(explain(last_words, folder))
        assert f"{folder.resolve()}" in str(explain(last_words, folder))
    finally:
        running.kill()


def fill(disk: Path) -> None:
    with (disk / "filler").open("wb") as file, contextlib.suppress(OSError):
        while True:
            file.write(bytes(MEGABYTE))
            file.flush()


def test_training_data_are_stored_completely_or_not_at_all(tmp_path: Path) -> None:
    """The disk of the decoded images is full first, then that of the store."""
    images = write_classes(tmp_path / "images", {"a": 1500, "b": 1500})  # 2.4 MB of decoded images
    with mounted_disk(tmp_path / "home", 4) as home, mounted_disk(tmp_path / "store", 8) as store:
        environment = {**os.environ, "ACGAN_HOME": str(home), "ACGAN_STORE": str(store)}
        data = CheckpointStore(store).training_data
        for disk, size in ((home, 3 * MEGABYTE), (store, 6 * MEGABYTE)):
            (disk / "filler").write_bytes(bytes(size))
            refused = run_acgan("training-data", "add", "letters", str(images), environment=environment)
            assert refused.returncode == 2
            said = refused.stderr.replace("\n", " ")
            assert f"error: {disk}" in said
            assert "cannot be written: No space left on device. Nothing was stored" in said
            assert data.references() == []
            assert [path for path in store.rglob("*idx*") if path.is_file()] == []
            assert list(home.rglob("*.tmp")) == []
            (disk / "filler").unlink()
        finished = {path: path.stat().st_mtime_ns for path in home.rglob("*.chunk")}
        assert len(finished) == 6
        added = run_acgan("training-data", "add", "letters", str(images), environment=environment)
        assert added.returncode == 0, added.stderr
        assert data.load(Reference("letters", 1))[0].train_counts == (1286, 1286)
