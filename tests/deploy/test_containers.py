"""The containers behind their proxy: their permissions, and the effect of losing some of them."""

import itertools
import json
import random
import shutil
import threading
import time
from collections import Counter
from collections.abc import Iterator

import httpx2
import pytest

from tests.deploy.fleet import Fleet, docker, inspect, kill, reported_epochs
from tests.faults.world import assert_legal

JOBS = 30
JOB = {"dataset": "printed", "epochs": 1, "batch_size": 50, "train_examples": 200, "test_examples": 50}
READ = ("/digits/7?n=4", "/jobs?epochs=last", "/checkpoints")  # no probe: a replica that shuts down fails its probe
PATIENCE = 3600.0

pytestmark = [
    pytest.mark.containers,
    pytest.mark.timeout(2 * PATIENCE),
    pytest.mark.skipif(shutil.which("docker-compose") is None, reason="needs docker-compose"),
]


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    made = Fleet(tmp_path_factory.mktemp("fleet"), api=2, worker=3)
    try:
        made.up("--build")
        made.until_ready()
        yield made
    finally:
        made.end()


@pytest.mark.parametrize("service", ["api", "worker", "edge"])
def test_containers_run_without_privileges_on_a_read_only_file_system(fleet: Fleet, service: str) -> None:
    for container in fleet.containers(service):
        uid = docker("exec", container, "id", "-u")
        confined = inspect(container, "{{.HostConfig.ReadonlyRootfs}} {{json .HostConfig.CapDrop}}")
        written = docker("exec", container, "sh", "-c", "touch /here 2>&1 || true")
        print(service, container[:12], "uid", uid, "read-only", confined, written)  # noqa: T201
        assert uid not in ("", "0")
        assert confined == 'true ["ALL"]'
        assert "Read-only file system" in written


class Load:
    """Readers, and a client that submits jobs, each with its key, in a loop; counts the outcome of each request."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.jobs: set[str] = set()
        self.outcomes = {"read": Counter[str](), "order": Counter[str]()}
        self.over = threading.Event()
        self.lock = threading.Lock()
        self.threads = [threading.Thread(target=self.read, args=(number,)) for number in range(len(READ))]
        self.threads.append(threading.Thread(target=self.order))
        for thread in self.threads:
            thread.start()

    def read(self, number: int) -> None:
        with httpx2.Client(base_url=self.url, timeout=120) as client:
            while not self.over.wait(0.5):
                self.ask("read", client, "GET", READ[number])

    def order(self) -> None:
        with httpx2.Client(base_url=self.url, timeout=120) as client:
            for number in itertools.cycle(range(JOBS)):
                headers = {"Idempotency-Key": f"job-{number}"}
                answer = self.ask("order", client, "POST", "/train", json={**JOB, "seed": number}, headers=headers)
                if answer is not None and answer.status_code == 202:
                    self.jobs.add(answer.json()["id"])
                if self.over.wait(1):  # as often as ACGAN_WORK_RATE allows one caller
                    return

    def ask(self, kind: str, client: httpx2.Client, method: str, path: str, **what: object) -> httpx2.Response | None:
        answer = None
        try:
            answer = client.request(method, path, **what)  # type: ignore[arg-type]
            outcome = str(answer.status_code)
        except httpx2.TransportError as error:
            outcome = type(error).__name__
        with self.lock:
            self.outcomes[kind][outcome] += 1
        if answer is not None and answer.status_code >= 400:
            print(f"{time.strftime('%H:%M:%S')} {method} {path}: {answer.text[:300]}", flush=True)  # noqa: T201
        return answer

    def end(self) -> None:
        self.over.set()
        for thread in self.threads:
            thread.join()


def states(fleet: Fleet) -> Counter[str]:
    """The number of jobs in each status."""
    jobs = httpx2.get(f"{fleet.url}/jobs?epochs=last&limit=100", timeout=120).json()["jobs"]
    return Counter(job["status"] for job in jobs)


def over(fleet: Fleet) -> bool:
    found = states(fleet)
    print(f"{time.strftime('%H:%M:%S')} {dict(found)}", flush=True)  # noqa: T201
    time.sleep(5)
    return found.total() == JOBS and found["queued"] + found["running"] == 0


VERIFY = """
from pathlib import Path
from models.registry.store import CheckpointStore, CheckpointId
store, verified = CheckpointStore(Path("/data/checkpoints")), 0
for job in {jobs}:
    manifest = store.manifest(CheckpointId(job, 1))
    for name in manifest.files:
        store.read(manifest, name)
    verified += 1
print(verified)
"""


def test_every_job_runs_once_although_a_worker_and_a_replica_are_killed(fleet: Fleet) -> None:
    load, killed = Load(fleet.url), []
    victims = random.Random(time.time_ns())
    try:
        fleet.until("a third is accepted", lambda: len(load.jobs) >= JOBS // 3, PATIENCE)
        replica = victims.choice(fleet.containers("api"))
        kill(replica)
        killed.append(f"api {replica[:12]} when {len(load.jobs)} were accepted")
        fleet.until("some are done", lambda: states(fleet)["succeeded"] >= JOBS // 6, PATIENCE)
        worker = fleet.until(
            "a worker runs a job", lambda: next(filter(fleet.running, fleet.containers("worker")), ""), 300
        )
        kill(worker)
        killed.append(f"worker {worker[:12]} with a job in hand")
        fleet.until("all have ended", lambda: over(fleet), PATIENCE)
    finally:
        load.end()
        print(f"killed: {killed}\nrequests: {load.outcomes}\njobs: {states(fleet)}")  # noqa: T201
    assert states(fleet) == {"succeeded": JOBS}
    assert len(load.jobs) == JOBS
    with fleet.redis() as client:
        result = Counter(reported_epochs(client))
        print(f"epochs reported: {result.total()} of {len(result)} jobs")  # noqa: T201
        assert result == {(job, 1): 1 for job in load.jobs}
        assert client.zcard("acgan:leases") == 0
        assert_legal(client)
    verify = VERIFY.format(jobs=json.dumps(sorted(load.jobs)))
    verified = docker("exec", fleet.containers("api")[0], "python", "-c", verify)
    print(f"checkpoints whose every file is what its manifest says: {verified}")  # noqa: T201
    assert int(verified) == JOBS
    assert set(load.outcomes["order"]) == {"202"}  # each has a key: the proxy may send it again
    lost = load.outcomes["read"].total() - load.outcomes["read"]["200"]
    assert lost <= len(READ)  # no more than were in progress at the replica that was killed
    assert set(load.outcomes["read"]) <= {"200", "502", "RemoteProtocolError"}  # answered by an error, or cut off


def test_replacing_replicas_drops_no_request(fleet: Fleet) -> None:
    """As the README describes it: new replicas start, then the old ones stop."""
    old = fleet.containers("api")
    load = Load(fleet.url)
    try:
        fleet.scale["api"] = 4
        fleet.up("--no-recreate")
        fleet.until_ready()
        docker("stop", "-t", "60", *old)
        docker("rm", *old)
        time.sleep(5)
    finally:
        load.end()
        print(f"requests: {load.outcomes}")  # noqa: T201
    assert len(fleet.containers("api")) == 2
    assert set(load.outcomes["read"]) == {"200"}
    assert set(load.outcomes["order"]) == {"202"}
