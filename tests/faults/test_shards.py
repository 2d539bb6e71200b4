"""Data sets drawn by two real workers, one of which dies, hangs or leaves for a job: the files are the same."""

import hashlib
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from models.config import TrainingConfig
from models.registry import bundled
from models.synthesis.order import MANIFEST, DatasetManifest, DatasetOrder
from models.synthesis.shards import Shards
from tests.faults.world import PACE, TINY, World, assert_legal, parent, running_world
from worker.celery_app import make_celery, notify_workers
from worker.jobs.client import Order
from worker.jobs.model import JobStatus
from worker.settings import WorkerSettings

ORDER = DatasetOrder(per_class=900, test_per_class=100, seed=4, checkpoint=str(bundled.checkpoint()))
SMALL_PARTS = str(Path(__file__).parent / "small_parts")
SETTINGS = {
    "ACGAN_LEASE_SECONDS": "10",  # a part takes seconds if other processes work too
    "ACGAN_RECONCILE_SECONDS": "3",  # and so does a worker, until it reads the request
    "PYTHONPATH": os.pathsep.join([SMALL_PARTS, *filter(None, [os.environ.get("PYTHONPATH")])]),
}

Files = dict[str, str]


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Files:
    """The checksums of the files that one worker makes."""
    with running_world(tmp_path_factory.mktemp("alone"), environment=SETTINGS) as world:
        world.start_worker()
        job_id = order(world)
        assert world.until_ended(job_id).status == JobStatus.SUCCEEDED, world.story()
        assert manifest(world, job_id).helpers == {}
        return files(world, job_id)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """A world with two workers that are ready."""
    with running_world(tmp_path, environment=SETTINGS) as made:
        for _ in range(2):
            made.start_worker()
        made.until("both are ready", lambda: made.log.read_text().count(" ready.") == 2)
        yield made


def order(world: World) -> str:
    wanted = Order(TrainingConfig(**TINY), dataset=ORDER)
    job_id = world.ask(lambda jobs: jobs.create(wanted)).id
    world.note("ordered", job_id)
    return job_id


def manifest(world: World, job_id: str) -> DatasetManifest:
    return DatasetManifest.model_validate_json(world.store.read_dataset(job_id, MANIFEST))


def files(world: World, job_id: str) -> Files:
    return {
        name: hashlib.sha256(world.store.read_dataset(job_id, name)).hexdigest()
        for name in manifest(world, job_id).files
    }


def helped(world: World) -> int:
    """The number of shards that workers have drawn for others."""
    return world.log.read_text().count("helping with data set")


def both_draw(world: World) -> tuple[str, "subprocess.Popen[bytes]", "subprocess.Popen[bytes]"]:
    """Order, and wait until a shard is drawn. Returns the job, its owner's worker, and the other."""
    job_id = order(world)
    world.until("another worker draws", lambda: helped(world))
    owner = parent(world.until_running(job_id))
    workers = sorted(world.workers, key=lambda worker: worker.pid != owner)
    world.note("owner, helper", [worker.pid for worker in workers])
    return job_id, workers[0], workers[1]


def check(world: World, job_id: str, alone: Files, claims: int = 1) -> None:
    job = world.until_ended(job_id)
    assert job.status == JobStatus.SUCCEEDED, world.story()
    assert files(world, job_id) == alone, world.story()
    assert job.progress
    assert job.progress.batch == ORDER.digits
    assert 0 < sum(manifest(world, job_id).helpers.values()) <= helped(world)
    world.until("no shard is left", lambda: not Shards(world.store, job_id).names(), 5)
    with world.redis.client() as client:
        assert int(str(client.get("acgan:fence"))) == claims
        assert_legal(client)


@pytest.mark.faults  # it measures time, so no other tests may run beside it
def test_a_job_waits_for_one_shard_at_most(world: World, alone: Files) -> None:
    job_id, _owner, helper = both_draw(world)
    run = world.accept(epochs=1)
    notify_workers(make_celery(WorkerSettings(redis_url=world.redis.url)))  # as the API does
    drawn = helped(world)
    trainer = world.until_running(run, 30)
    assert parent(trainer) == helper.pid
    assert helped(world) - drawn <= 1, world.story()
    accepted = world.job(run)
    assert accepted.started_at
    assert (accepted.started_at - accepted.created_at).total_seconds() < 2 * PACE
    assert world.job(job_id).status == JobStatus.RUNNING
    check(world, job_id, alone, claims=2)
    assert world.until_ended(run).status == JobStatus.SUCCEEDED


@pytest.mark.parametrize("sign", [signal.SIGKILL, pytest.param(signal.SIGTERM, marks=pytest.mark.long)])
def test_a_data_set_is_completed_when_a_helper_is_lost_or_shuts_down(
    world: World, alone: Files, sign: signal.Signals
) -> None:
    """It holds no job: nothing is queued again, and the owner of the data set draws what is missing."""
    job_id, _owner, helper = both_draw(world)
    if sign == signal.SIGKILL:
        os.killpg(helper.pid, sign)
    else:
        world.kill(helper.pid, sign)
        assert helper.wait(25) == 0
    check(world, job_id, alone)


@pytest.mark.long
def test_a_data_set_is_completed_when_its_owner_is_killed(world: World, alone: Files) -> None:
    """The helper takes the job over, and continues with the parts that both have drawn."""
    job_id, owner, helper = both_draw(world)
    os.killpg(owner.pid, signal.SIGKILL)
    world.until("the other worker has the job", lambda: parent(world.trainer(job_id) or 0) == helper.pid)
    check(world, job_id, alone, claims=2)


@pytest.mark.long
def test_no_worker_waits_for_a_helper_that_hangs(world: World, alone: Files) -> None:
    job_id, owner, helper = both_draw(world)
    (drawer,) = [pid for pid in children(helper.pid) if b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes()]
    world.kill(drawer, signal.SIGSTOP)
    try:
        assert world.until_ended(job_id, 60).status == JobStatus.SUCCEEDED
        assert world.job(job_id).worker is not None
    finally:
        world.kill(drawer, signal.SIGCONT)
    check(world, job_id, alone)
    assert owner.poll() is None


@pytest.mark.long
def test_a_data_set_is_cancelled_while_both_draw_and_resumed(world: World, alone: Files) -> None:
    job_id, *_ = both_draw(world)
    world.ask(lambda jobs: jobs.cancel(job_id))
    assert world.until_ended(job_id, 30).status == JobStatus.CANCELLED
    world.until("no shard is left", lambda: not Shards(world.store, job_id).names(), 5)
    drawn = world.job(job_id).progress
    assert drawn
    assert 0 < drawn.batch < ORDER.digits
    time.sleep(0.5)
    world.ask(lambda jobs: jobs.resume(job_id))
    check(world, job_id, alone, claims=2)


def children(pid: int) -> list[int]:
    return [int(entry.name) for entry in Path("/proc").glob("[0-9]*") if parent(int(entry.name)) == pid]
