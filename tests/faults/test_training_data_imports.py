"""Files that become training data, with faults: uploads that are cut off, killed workers, full disks, hostile files."""

import socket
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import httpx2
import pytest

from models.registry.storage.uploads import UPLOAD, WORK
from models.registry.store import CheckpointId
from tests.app.conftest import publish
from tests.faults.api import Api
from tests.faults.hosts import HostedApi, HostedRedis, Network, in_thread, missing_requirement, network
from tests.faults.places import BOTH
from tests.faults.processes import is_alive, parent
from tests.faults.test_disk import MEGABYTE, fill
from tests.faults.test_hosts import served_at
from tests.faults.world import LEASE_SECONDS, RECOVERY_SECONDS, START_SECONDS, World, running_world
from tests.models.registry.test_store import OLD
from tests.support.disks import mounted_disk
from tests.support.image_archives import bomb, zip_of_pictures
from tests.support.s3_endpoint import Endpoint, Kind
from worker.importing.resource_limits import processes_of_session
from worker.jobs.model import Job, JobStatus

pytestmark = pytest.mark.faults
TYPE = {"Content-Type": "application/octet-stream"}
MANY = 60_000  # pictures, which take two processes ten seconds
LARGE = {"ACGAN_UPLOAD_LIMIT": "256MiB"}


@pytest.fixture(scope="module")
def many() -> bytes:
    return zip_of_pictures(count=MANY)


def send(url: str, data: bytes, name: str = "letters") -> str:
    answer = httpx2.put(f"{url}/training-data/{name}?file=letters.zip", content=data, headers=TYPE, timeout=120)
    assert answer.status_code == 202, answer.text
    return str(answer.json()["id"])


def progress(world: World, job_id: str) -> int:
    found = world.job(job_id).progress
    return found.batch if found else 0


def importer(world: World, job_id: str) -> int | None:
    """The process that reads the file of a job: a child of the one that holds the job."""
    holder = world.trainer(job_id)
    if holder is None:
        return None
    try:
        children = [int(child) for task in Path(f"/proc/{holder}/task").iterdir() for child in children_of(task)]
    except OSError:  # the process has ended
        return None
    return next((child for child in children if b"worker.importing.program" in cmdline(child)), None)


def children_of(task: Path) -> list[str]:
    try:
        return (task / "children").read_text().split()
    except OSError:  # the thread has ended
        return []


def cmdline(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def check(world: World) -> None:
    assert world.violations == [], world.story()
    assert world.broken_invariants() == [], world.story()
    with world.redis.client() as client:
        assert client.zcard("acgan:leases") == 0


def sent_from(network: Network, host: str, url: str, data: bytes) -> str:
    """Send a file from a host to a service on it. Returns the job."""
    jobs = list[str]()

    def there() -> None:
        network.enter(host)
        jobs.append(send(url, data))

    in_thread(there)
    return jobs[0]


def worker_of(job: Job) -> int:
    """The worker whose training process ran the job."""
    assert job.worker is not None
    return parent(int(job.worker.rpartition(":")[2]))


@pytest.fixture
def large(tmp_path: Path, place: Endpoint | None) -> Iterator[World]:
    with running_world(tmp_path, environment=LARGE, endpoint=place) as made:
        made.start_worker()
        yield made


@BOTH
@pytest.mark.long
def test_an_import_continues_after_its_worker_was_killed(large: World, many: bytes) -> None:
    """The pictures that are decoded are not decoded again, and no process of the killed worker is left."""
    api = Api(large, is_watched=False)
    try:
        job_id = send(api.url, many)
        large.until("it reads", lambda: progress(large, job_id) > MANY // 5)
        child = large.until("a process reads", lambda: importer(large, job_id))
        before, holder = progress(large, job_id), large.trainer(job_id)
        assert holder is not None
        large.kill(holder)
        large.until("the processes of the killed one end", lambda: not processes_of_session(child))
        large.until("it runs again", lambda: large.trainer(job_id) not in (None, holder), START_SECONDS)
        again = large.until("it reads again", lambda: importer(large, job_id))
        assert again != child
        first = large.until("it continues", lambda: (at := progress(large, job_id)) and at != before and at)
        assert first > before // 2
        ended = large.until_ended(job_id)
        assert (ended.status, ended.error) == (JobStatus.SUCCEEDED, None)
        assert ended.result is not None
        assert ended.result.train_images + ended.result.test_images == MANY
        large.until("its files are deleted", lambda: not large.store.storage.folders(job_id), RECOVERY_SECONDS)
        assert large.store.training_data.find("letters").version == 1
        check(large)
    finally:
        api.end()


@pytest.mark.long
def test_a_cancelled_import_ends_within_a_second_and_can_be_resumed(large: World, many: bytes) -> None:
    api = Api(large, is_watched=False)
    try:
        job_id = send(api.url, many)
        child = large.until("a process reads", lambda: progress(large, job_id) and importer(large, job_id))
        large.ask(lambda jobs: jobs.cancel(job_id))
        assert large.until_ended(job_id, LEASE_SECONDS).status == JobStatus.CANCELLED
        large.until("its processes end", lambda: not processes_of_session(child), 2)
        assert not is_alive(child)
        assert [folder.name for folder in large.store.storage.folders(job_id)] == [UPLOAD]
        assert large.store.training_data.references() == []
        large.ask(lambda jobs: jobs.resume(job_id))
        assert large.until_ended(job_id).status == JobStatus.SUCCEEDED
        large.until("its files are deleted", lambda: not large.store.storage.folders(job_id), RECOVERY_SECONDS)
        check(large)
    finally:
        api.end()


@BOTH
def test_a_worker_that_stops_hands_its_import_back(large: World, many: bytes) -> None:
    api = Api(large, is_watched=False)
    try:
        job_id = send(api.url, many)
        child = large.until("a process reads", lambda: progress(large, job_id) and importer(large, job_id))
        large.workers[0].terminate()
        assert large.workers[0].wait(RECOVERY_SECONDS) == 0
        job = large.job(job_id)
        assert (job.status, job.trouble) == (JobStatus.QUEUED, "no worker is available: start one")
        large.until("its processes end", lambda: not processes_of_session(child), RECOVERY_SECONDS)
        large.start_worker()
        assert large.until_ended(job_id).status == JobStatus.SUCCEEDED
    finally:
        api.end()


@BOTH
def test_an_upload_that_is_cut_off_leaves_nothing(world: World, api: Api) -> None:
    data = zip_of_pictures()
    address = urlsplit(api.url)
    head = f"PUT /training-data/letters HTTP/1.1\r\nHost: {address.netloc}\r\nContent-Length: {2 * len(data)}\r\n"
    with socket.create_connection((address.hostname, address.port or 80)) as connection:
        connection.sendall(head.encode() + b"Content-Type: application/zip\r\n\r\n" + data)
        time.sleep(0.5)
    folder = world.home / ("cache/uploads" if world.endpoint else "checkpoints")
    world.until("the file is deleted", lambda: not list(folder.glob(".upload-*")), RECOVERY_SECONDS)
    assert not [file for file in world.store.storage.files() if f"/{UPLOAD}" in file.name]
    with world.redis.client() as client:
        assert client.zcard("acgan:jobs") == 0
    assert world.store.training_data.references() == []


def test_a_hostile_file_is_a_failed_job_with_a_sentence(world: World, api: Api) -> None:
    for data, named in ((bomb(), "a/1.png"), (b"PK\x03\x04" + bytes(1000), "letters.zip"), (b"", "letters.zip")):
        job_id = send(api.url, data)
        job = world.until_ended(job_id)
        assert job.status == JobStatus.FAILED
        assert job.error
        assert named in job.error
        assert "\n" not in job.error
        check(world)
        assert httpx2.delete(f"{api.url}/jobs/{job_id}", timeout=20).status_code == 204
        assert not [file.name for file in world.store.storage.files() if job_id in file.name]
    assert world.store.training_data.references() == []


def test_a_full_disk_delays_an_import_and_nothing_is_half_stored(tmp_path: Path, many: bytes) -> None:
    with (
        mounted_disk(tmp_path / "disk", 300) as disk,
        running_world(tmp_path / "world", store=disk / "checkpoints", environment=LARGE) as world,
    ):
        api = Api(world, is_watched=False)
        try:
            job_id = send(api.url, many)
            world.start_worker()
            world.until("it reads", lambda: progress(world, job_id))
            fill(disk)
            world.until("the record has the trouble", lambda: "disk is full" in (world.job(job_id).trouble or ""))
            assert world.job(job_id).status == JobStatus.RUNNING
            assert world.store.training_data.references() == []
            (disk / "filler").unlink()
            job = world.until_ended(job_id)
            assert (job.status, job.trouble) == (JobStatus.SUCCEEDED, None)
            world.until("its files are deleted", lambda: not world.store.storage.folders(job_id), RECOVERY_SECONDS)
            assert not list((disk / "checkpoints" / job_id).glob(f"*{WORK}*"))
            check(world)
        finally:
            api.end()


@pytest.mark.long
@pytest.mark.parametrize("how", ["refuse", "lose"])
def test_a_bucket_that_fails_delays_an_import_and_nothing_is_half_stored(
    tmp_path: Path, endpoint: Endpoint, how: Kind
) -> None:
    """The counterpart of a full disk in object storage. With `lose`, the objects are written without an answer."""
    with running_world(tmp_path / "world", endpoint=endpoint) as world:
        api = Api(world, is_watched=False)
        try:
            job_id = send(api.url, zip_of_pictures())
            with endpoint.fault(how, "PUT"):
                world.start_worker()
                world.until("the record has a trouble", lambda: "cannot be" in (world.job(job_id).trouble or ""))
                assert world.job(job_id).status == JobStatus.RUNNING
                assert world.store.training_data.references() == []
            job = world.until_ended(job_id)
            assert (job.status, job.trouble) == (JobStatus.SUCCEEDED, None)
            assert world.store.training_data.find("letters").version == 1
            world.until("its files are deleted", lambda: not world.store.storage.folders(job_id), RECOVERY_SECONDS)
            check(world)
        finally:
            api.end()


def test_a_file_that_does_not_fit_on_the_disk_is_refused(tmp_path: Path) -> None:
    data = bytes(30 * MEGABYTE)
    with (
        mounted_disk(tmp_path / "disk", 40) as disk,
        running_world(tmp_path / "world", store=disk / "checkpoints") as world,
    ):
        api = Api(world, is_watched=False)
        try:
            answer = httpx2.put(f"{api.url}/training-data/letters", content=data, headers=TYPE, timeout=60)
            assert (answer.status_code, answer.json()["type"]) == (503, "/problems/disk-full")
            assert [path for path in (disk / "checkpoints").rglob("*") if path.is_dir()] == []
        finally:
            api.end()


def test_two_hosts_train_on_data_that_one_of_them_was_given(tmp_path: Path, endpoint: Endpoint) -> None:
    """The file is sent to the host of the API, one worker makes the training data, and both train on it."""
    if (reason := missing_requirement()) is not None:
        pytest.skip(reason)
    with network("api", "one", "two", "store") as made, served_at(endpoint, made) as bucket:
        redis = HostedRedis(tmp_path / "redis", made, "store")
        given = {"ACGAN_REDIS_URL": redis.address, "AWS_ENDPOINT_URL": bucket}
        with running_world(tmp_path / "world", environment=given, endpoint=endpoint, server=redis) as world:
            publish(world.store, OLD, 1, seed=1, dataset="printed")  # so that the API is ready
            api = HostedApi(world, made, "api", {"ACGAN_HOME": str(tmp_path / "api"), "ACGAN_STOCK": "0"})
            try:
                first, second = ({"ACGAN_HOME": str(tmp_path / name)} for name in ("one", "two"))
                world.within = made.within("one")
                world.start_worker(first)
                api.until_ready(60)
                job_id = sent_from(made, "api", api.url, zip_of_pictures())
                assert world.until_ended(job_id).status == JobStatus.SUCCEEDED
                world.within = made.within("two")
                other = world.start_worker(second)
                world.until("both are ready", lambda: world.log.read_text().count(" ready.") == 2)
                whole = {"dataset": "letters@1", "epochs": 4, "train_examples": None, "test_examples": None}
                runs = [world.accept(**whole, seed=seed) for seed in range(6)]
                ended = [world.until_ended(run) for run in runs]
                assert [run.status for run in ended] == [JobStatus.SUCCEEDED] * len(runs), world.story()
                by = {worker_of(run) for run in ended}
                assert other.pid in by, "the host that was not given the file trained none"
                assert len(by) == 2
                published = [CheckpointId.parse(epoch.checkpoint) for run in ended for epoch in run.epochs]
                checksums = {world.store.manifest(checkpoint).dataset_checksum for checkpoint in published}
                manifest = world.store.training_data.manifest(world.store.training_data.find("letters"))
                assert checksums == {manifest.dataset_checksum}
                check(world)
            finally:
                api.end()
