"""The service of one machine as plain processes, ten times as fast, with a history of everything that happened.

Leases last 3 s, reconcilers run every second, the first loss of a worker costs half a second of back-off: after any
fault, a job must be running again within ten seconds. On a busy machine, `PACE=5` in the environment makes all of
these five times as long, leases and limits alike.
"""

import contextlib
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any, TypeVar

import httpx2
import obstore
import redis

from models.config import TrainingConfig
from models.networks import weights
from models.registry.manifest import Order as PublicationOrder
from models.registry.storage.base import Unreachable
from models.registry.storage.object_store import ObjectStorage
from models.registry.store import GENERATOR, CheckpointId, CheckpointStore
from tests.conftest import LAZY, RunningRedis
from tests.faults.invariants import Report, Serving, check_all
from tests.faults.processes import is_alive as is_alive
from tests.faults.processes import parent as parent
from tests.faults.witness import ServedWatcher
from tests.support.failures import HasJobs, explained
from tests.support.job_lists import newest
from tests.support.s3_endpoint import Endpoint, open_store
from worker.jobs.client import JobClient, Order
from worker.jobs.errors import StoreUnavailable
from worker.jobs.model import ENDED, Job, JobKind, JobStatus

Answer = TypeVar("Answer")

PACE = float(os.environ.get("PACE", "1"))
RECOVERY_SECONDS = 10.0  # multiplied by PACE, as every time passed to `until` and `pause`
START_SECONDS = 30.0  # for a worker and its training process to start, which is no recovery; import of torch included
LEASE_SECONDS = 3.0
TIMES = {
    "ACGAN_LEASE_SECONDS": str(LEASE_SECONDS * PACE),
    "ACGAN_RECONCILE_SECONDS": str(1.0 * PACE),
    "ACGAN_BACKOFF_SECONDS": str(0.5 * PACE),
    "ACGAN_SAVE_SECONDS": str(0.3 * PACE),
    "ACGAN_STORE_SECONDS": str(4.0 * PACE),
}
TINY: dict[str, Any] = {
    "dataset": "printed",
    "epochs": 6,
    "batch_size": 4,
    "train_examples": 32,
    "test_examples": 8,
    "precision": "fp32",
}


class World(HasJobs):
    """Redis, a store, and workers that tests may kill; `history` records every action and observation, in order.

    The store is a folder, or in the bucket of an endpoint, which the environment must name.
    """

    def __init__(
        self,
        folder: Path,
        store: Path | None = None,
        environment: dict[str, str] | None = None,
        endpoint: Endpoint | None = None,
        server: RunningRedis | None = None,
    ) -> None:
        self.folder = folder
        self.home = folder / "home"
        self.home.mkdir(parents=True)
        self.redis = server or RunningRedis(folder / "redis", options=LAZY)
        self.endpoint = endpoint
        address = endpoint.address() if endpoint else str(store or self.home / "checkpoints")
        self.store = open_store(address, folder / "watcher", seconds=20) if endpoint else CheckpointStore(Path(address))
        self.environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("ACGAN_")},
            **TIMES,
            "ACGAN_HOME": str(self.home),
            "ACGAN_STORE": address,
            "ACGAN_REDIS_URL": self.redis.url,
            "ACGAN_DEVICE": "cpu",
            "ACGAN_WORK_RATE": "off",
            "ACGAN_JUDGE": "false",  # tests train for seconds, and their generators must be served
            "ACGAN_PRETRAINED": "false",
            "ACGAN_DRAWING_WAIT_SECONDS": "60",
            "OMP_NUM_THREADS": "1",
            **({"ACGAN_SAVE_SECONDS": str(PACE)} if endpoint else {}),  # 50 MB each time
            **(environment or {}),
        }
        self.log = folder / "worker.log"
        self.workers: list[subprocess.Popen[bytes]] = []
        self.history: list[tuple[float, str, Any]] = []
        self.violations: list[str] = []
        self.within: list[str] = []  # the prefix of a command that starts a worker elsewhere
        self.api_url: str | None = None  # of an API over this store, if one was started
        self.supervised = False  # whether a worker that exits by itself is started again, as by `acgan up` or Compose
        self.damaged: set[CheckpointId] = set()  # by a test, on purpose
        self.served = ServedWatcher(lambda: self.api_url)
        self._over = threading.Event()
        self._watcher = threading.Thread(target=self._watch, daemon=True)
        self._watcher.start()

    # ----------------------------------------------------------------------------
    # Actions.

    def note(self, what: str, about: Any = None) -> None:
        self.history.append((time.monotonic(), what, about))

    def start_worker(self, environment: dict[str, str] | None = None) -> subprocess.Popen[bytes]:
        with self.log.open("ab") as log:
            process = subprocess.Popen(
                [*self.within, sys.executable, "-m", "app.cli", "worker"],
                env={**self.environment, **(environment or {})},
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self.workers.append(process)
        self.note("worker started", process.pid)
        return process

    def ask(self, question: Callable[[JobClient], Coroutine[Any, Any, Answer]]) -> Answer:
        return self.redis.ask(question)

    def accept(self, **fields: Any) -> str:
        order = Order(TrainingConfig(**{**TINY, **fields}))
        job_id = self.ask(lambda jobs: jobs.create(order)).id
        self.note("accepted", job_id)
        return job_id

    def job(self, job_id: str) -> Job:
        return self.ask(lambda jobs: jobs.get(job_id))

    def trainer(self, job_id: str) -> int | None:
        """The process that trains the job, if there is one."""
        job = self.job(job_id)
        if job.status not in (JobStatus.RUNNING, JobStatus.CANCELLING) or job.worker is None:
            return None
        pid = int(job.worker.rpartition(":")[2])
        return pid if is_alive(pid) else None

    def kill(self, pid: int, sign: signal.Signals = signal.SIGKILL) -> None:
        """Kill a process that this world started: one of its workers, or a worker's child."""
        ours = {process.pid for process in self.workers}
        assert pid in ours or parent(pid) in ours, f"{pid}was not started by this world"
        self.note("signal", (sign.name, pid))
        os.kill(pid, sign)

    def pause(self, seconds: float) -> None:
        time.sleep(seconds * PACE)

    def until(self, what: str, answer: Callable[[], Answer | None], seconds: float = 60.0) -> Answer:
        deadline = time.monotonic() + seconds * PACE
        while time.monotonic() < deadline:
            if self.supervised and all(process.poll() is not None for process in self.workers):
                self.start_worker()
            with contextlib.suppress(redis.RedisError, StoreUnavailable):
                if found := answer():
                    return found
            time.sleep(0.05)
        raise AssertionError(f"{what}: not within {seconds * PACE} s\n{self.story()}")

    def until_running(self, job_id: str, seconds: float = START_SECONDS) -> int:
        return self.until(f"{job_id} runs", lambda: self.trainer(job_id), seconds)

    def until_ended(self, job_id: str, seconds: float = 120.0) -> Job:
        def ended() -> Job | None:
            job = self.job(job_id)
            return job if job.status in ENDED else None

        job = self.until(f"{job_id} ends", ended, seconds)
        self.note("ended", (job_id, job.status.value))
        return job

    def saved(self, job_id: str) -> str | None:
        """The progress in the job's last saved state, according to its record."""
        with self.redis.client() as client:
            kept: str | None = client.hget(f"acgan:job:{job_id}", "saved")
            return kept

    def disturb(self, job_id: str, times: int, seed: int, disturb: Callable[[int], None]) -> int:
        """Disturb the job's training process at random moments, but never three times without progress in between.

        Returns the number of disturbances before the job ended.
        """
        moments, without_progress, kept = random.Random(seed), 0, self.saved(job_id)
        self.note("seed", seed)
        for done in range(times):
            if self.until(f"{job_id} runs", lambda: self.trainer(job_id) or self.ended(job_id), START_SECONDS) == -1:
                return done
            self.pause(moments.uniform(0, 1.0))
            if without_progress == 2:
                self.until_saved(job_id, beyond=kept)
            pid = self.trainer(job_id)
            if pid is None:
                return done
            without_progress = without_progress + 1 if self.saved(job_id) == kept else 1
            kept = self.saved(job_id)
            disturb(pid)
            self.until_left(job_id, pid)
        return times

    def until_saved(self, job_id: str, beyond: str | None) -> None:
        self.until("progress", lambda: self.saved(job_id) != beyond or self.ended(job_id))

    def until_left(self, job_id: str, pid: int) -> None:
        self.until(f"{pid} no longer runs {job_id}", lambda: self.trainer(job_id) != pid, RECOVERY_SECONDS)

    def ended(self, job_id: str) -> int:
        return -1 if self.job(job_id).status in ENDED else 0

    def broken_invariants(self) -> list[str]:
        return self.check_invariants().violations

    def check_invariants(self, job_id: str | None = None) -> Report:
        """Check one job or every job of this world, and the served checkpoints of its API, if it has one."""
        kinds = (JobKind.TRAINING, JobKind.TRAINING_DATA)
        of_kind = [self.ask(lambda jobs, kind=kind: newest(jobs, 100, kind=kind)) for kind in kinds]  # type: ignore[misc]
        jobs = [self.job(job_id)] if job_id else [job for jobs in of_kind for job in jobs]
        known = [job for job in jobs if isinstance(job, Job)]
        return check_all(self.store, known, self.serving(), self.served.series)

    def serving(self) -> Serving | None:
        if self.api_url is None:
            return None
        with httpx2.Client(base_url=self.api_url, timeout=20) as client:
            return Serving.of(client.get("/readyz").json(), client.get("/serving").json())

    def close(self) -> None:
        self._over.set()
        self._watcher.join()
        self.served.stop()
        for process in self.workers:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        self.workers.clear()
        self.redis.kill()
        if isinstance(self.store.storage, ObjectStorage):  # the endpoint keeps it in memory
            for page in obstore.list(self.store.storage.objects):
                obstore.delete(self.store.storage.objects, [meta["path"] for meta in page])

    def story(self) -> str:
        """The history, for the reader of a failure."""
        begun = self.history[0][0] if self.history else 0.0
        lines = [f"{when - begun:7.2f} {what} {about}" for when, what, about in self.history]
        return "\n".join([*self.violations, *lines, *self.log.read_text(errors="replace").splitlines()[-40:]])

    # ----------------------------------------------------------------------------
    # Observation: ten times a second, the checkpoint that a loader would find behind `latest`.

    def _watch(self) -> None:
        seen, verified = PublicationOrder(0, "", 0), set()
        while not self._over.wait(0.1 * PACE):
            try:
                latest = self.store.latest()
            except Unreachable:
                continue
            if latest is None or latest in verified:
                continue
            try:
                manifest = self.store.manifest(latest)
                weights.generator_from_bytes(self.store.read(manifest, GENERATOR))
            except Unreachable:  # loaders wait, too
                continue
            except Exception as error:  # a loader would have met the same error
                if latest not in self.damaged:
                    self.violations.append(f"latest names {latest}: {error!r}")
                continue
            if manifest.order < seen:
                self.violations.append(f"latest went back from {seen} to {latest}")
            seen = max(seen, manifest.order)
            verified.add(latest)


@contextlib.contextmanager
def running_world(folder: Path, **options: Any) -> Iterator[World]:
    with contextlib.closing(World(folder, **options)) as made, explained(made):
        yield made


# ----------------------------------------------------------------------------
# Checks.


Outcome = list[dict[str, Any]]


def outcome(store: CheckpointStore, job: Job) -> Outcome:
    """The result of a run without times and tokens: losses as reported, checksums of files. One entry per epoch."""
    told = []
    for epoch in job.epochs:
        manifest = store.manifest(CheckpointId(job.id, epoch.epoch))
        files = {name: record.sha256 for name, record in manifest.files.items()}
        told.append({"epoch": epoch.epoch, "losses": epoch.losses.model_dump(), "files": files})
    return told


def check(world: World, jobs: list[str], undisturbed: Outcome, status: JobStatus = JobStatus.SUCCEEDED) -> None:
    """The invariants that hold after every fault. Shorter runs have the first epochs of the undisturbed one."""
    assert world.violations == [], world.story()
    for job_id in jobs:
        job = world.job(job_id)
        assert job.status == status, world.story()
        assert [epoch.epoch for epoch in job.epochs] == list(range(1, len(job.epochs) + 1))
        fences = [world.store.manifest(CheckpointId(job_id, epoch.epoch)).fence for epoch in job.epochs]
        assert fences == sorted(fences), f"tokens went back: {fences}"
        assert max(fences, default=0) <= world.store.highest_fence()
        if status == JobStatus.SUCCEEDED:
            assert len(job.epochs) == job.config.epochs, world.story()
            assert outcome(world.store, job) == undisturbed[: job.config.epochs]
    if status == JobStatus.SUCCEEDED:  # the worker that ended it cleans up after it has reported the end
        cleared = "no staged file is left"
        world.until(cleared, lambda: not any(staged_files(world.store, job_id) for job_id in jobs), RECOVERY_SECONDS)
    assert world.broken_invariants() == [], world.story()
    with world.redis.client() as client:
        assert client.zcard("acgan:leases") == 0
        assert_legal(client)


def staged_files(store: CheckpointStore, job_id: str) -> list[str]:
    """List files of a job that were staged and never moved into place."""
    if not isinstance(store.storage, ObjectStorage):
        return [str(path) for path in (store.root / job_id).glob(".*")]
    placed = set(store.storage._seen(job_id).ledger.folders.values())
    return [place for place in store.storage._list(job_id)[0] if place not in placed]


def assert_legal(client: "redis.Redis") -> None:
    """No job changed from one state to another that must not follow it."""
    from worker.jobs.model import TRANSITIONS

    states: dict[str, JobStatus] = {}
    events: Any = client.xrange("acgan:events")
    for _, event in events:
        if event["kind"] == "status":
            new, old = JobStatus(event["data"]), states.get(event["job"])
            assert old is None or new in TRANSITIONS[old], f"{event['job']}: {old} -> {new}"
            states[event["job"]] = new
