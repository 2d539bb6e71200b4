"""The random faults of the soak. Each returns when what it broke works again, except for what the service repairs."""

import contextlib
import os
import random
import signal
import time
from collections.abc import Iterator
from pathlib import Path

from models.registry.store import FENCE, POINTER, CheckpointId
from tests.faults.processes import is_alive, parent
from tests.faults.set_clock import RedisWithClock
from tests.faults.world import World
from tests.support.stores import put_back
from worker.jobs.keys import EVENTS, JOBS, LEASES, PULSES, QUEUE, WORKERS, index_key, job_key
from worker.jobs.model import JobKind, JobStatus

NOT_UTF8 = b"\xff\xfe\x00\xc3"
CLOCKS = ["+3600", "-3600", "+1d", "-1d", "+10y", "-10y"]
PAUSES = (2.5, 4.0)  # seconds; Redis' clients wait for 2 s, and leases last 3 s


class NotPossible(Exception):
    """The job is not in a state in which the fault can be made."""


class Disturbances:
    def __init__(self, world: World, seed: int) -> None:
        self.world = world
        self.random = random.Random(seed)

    # ----------------------------------------------------------------------------
    # Processes.

    def kill_trainer(self, job_id: str) -> None:
        self.world.kill(self.training(job_id))

    def kill_worker(self, job_id: str) -> None:
        worker = self.working(job_id)
        os.killpg(worker, signal.SIGKILL)
        self.replace(worker)

    def end_worker(self, job_id: str) -> None:
        worker = self.working(job_id)
        os.kill(worker, signal.SIGTERM)
        self.replace(worker)

    def signal_group(self, job_id: str) -> None:
        """As systemd, Ctrl-C and a closed terminal do; often twice."""
        worker = self.working(job_id)
        sign = self.random.choice([signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
        self.world.note("signal to the group", sign.name)
        os.killpg(worker, sign)
        if self.random.random() < 0.3:
            time.sleep(self.random.uniform(0, 0.5))
            with contextlib.suppress(ProcessLookupError):
                os.killpg(worker, sign)
        self.replace(worker)

    def stop_trainer(self, job_id: str) -> None:
        pid = self.training(job_id)
        self.world.kill(pid, signal.SIGSTOP)
        self.world.pause(self.random.uniform(3.5, 6.0))
        with contextlib.suppress(ProcessLookupError, AssertionError):  # its parent may have ended it
            self.world.kill(pid, signal.SIGCONT)

    def stop_trainer_for_good(self, job_id: str) -> None:
        pid = self.training(job_id)
        self.world.kill(pid, signal.SIGSTOP)
        self.world.until(f"stopped process {pid} is ended", lambda: not is_alive(pid), 20)

    # ----------------------------------------------------------------------------
    # Redis.

    def kill_redis(self, _job_id: str) -> None:
        self.world.redis.kill()
        self.world.pause(self.random.uniform(0.1, 5.0))
        self.world.redis.start()

    def erase_broker(self, _job_id: str) -> None:
        with self.world.redis.client() as client:
            client.delete(*client.keys("acgan:celery:*") or ["nothing"])

    def cut_connections(self, _job_id: str) -> None:
        with self.world.redis.client() as client:
            client.client_kill_filter(_type="normal", skipme=True)

    def answer_late(self, _job_id: str) -> None:
        self.pause_redis()

    def claim_late(self, job_id: str) -> None:
        """The job's next claim is answered late: Redis stops answering as soon as the job may be claimed."""
        self.world.kill(self.training(job_id))
        with contextlib.suppress(AssertionError):
            self.world.until("it waits", lambda: self.world.job(job_id).status == JobStatus.QUEUED, 5)
        self.pause_redis()

    def pause_redis(self) -> None:
        seconds = self.random.uniform(*PAUSES)
        with self.world.redis.client() as client:
            client.client_pause(int(1e3 * seconds), all=True)
        time.sleep(seconds)

    def step_clock(self, _job_id: str) -> None:
        server, offset = self.world.redis, self.random.choice(CLOCKS)
        if not isinstance(server, RedisWithClock):
            raise NotPossible("libfaketime is not installed")
        self.world.note("clock", offset)
        server.set_clock(offset)
        self.world.pause(self.random.uniform(0.5, 8.0))
        if self.random.random() < 0.3:  # Redis ends while its clock is wrong: no lease is renewed before it is right
            server.kill()
            server.set_clock("+0")
            server.start()
        server.set_clock("+0")

    def add_undecodable_events(self, job_id: str) -> None:
        """Entries of the stream that another program or version wrote."""
        entries: list[dict[bytes | str, bytes | str]] = [
            {"job": job_id, "kind": "epoch", "data": "{"},
            {"job": job_id, "kind": "epoch", "data": NOT_UTF8},
            {"job": job_id, "kind": "progress", "data": "[]"},
            {"job": job_id, "kind": "news"},
            {"job": NOT_UTF8, "kind": NOT_UTF8, "data": NOT_UTF8},
            {NOT_UTF8: NOT_UTF8},
            {"job": job_id, "kind": "status", "data": "paused"},
        ]
        with self.world.redis.client() as client:
            for entry in self.random.sample(entries, 4):
                client.xadd(EVENTS, entry)

    def add_undecodable_records(self, _job_id: str) -> None:
        """A job, workers and processes whose names are not UTF-8, for some seconds."""
        name, runs = b"20260101-000000-" + NOT_UTF8, index_key(JobKind.TRAINING)
        record = {"status": "queued", "config": NOT_UTF8, "created_at": NOT_UTF8}
        with self.world.redis.client() as client:
            highest = float(client.incr("acgan:sequence"))
            client.hset(job_key("").encode() + name, mapping=record)
            for key in (JOBS, runs, index_key(JobKind.TRAINING, JobStatus.QUEUED), QUEUE):
                client.zadd(key, {name: highest if key != QUEUE else -1.0})
            for key in (WORKERS, PULSES, LEASES):
                client.zadd(key, {NOT_UTF8: time.time() + 2})
        self.world.pause(self.random.uniform(1.5, 4.0))
        with self.world.redis.client() as client:
            for key in (JOBS, runs, index_key(JobKind.TRAINING, JobStatus.QUEUED), QUEUE):
                client.zrem(key, name)
            for key in (WORKERS, PULSES, LEASES):
                client.zrem(key, NOT_UTF8)
            client.delete(job_key("").encode() + name)

    def cancel_and_resume(self, job_id: str) -> None:
        self.world.ask(lambda jobs: jobs.cancel(job_id))
        if self.world.until_ended(job_id).status == JobStatus.CANCELLED:
            self.world.ask(lambda jobs: jobs.resume(job_id))

    # ----------------------------------------------------------------------------
    # The store.

    def rename_store(self, _job_id: str) -> None:
        """The store is away for some seconds, as a mount may be; what was created in its place is moved aside."""
        root = self.world.store.root
        away = root.rename(root.with_name("away"))
        self.world.pause(self.random.uniform(0.5, 4.0))
        put_back(root, away)

    def remove_pointer(self, _job_id: str) -> None:
        (self.world.store.root / POINTER).unlink(missing_ok=True)

    def flip_in_pointer(self, _job_id: str) -> None:
        self.flip(self.world.store.root / POINTER)

    def flip_in_checkpoint(self, job_id: str) -> None:
        """In a file of an epoch that is not the last: the job's record must report it when the job ends."""
        self.world.until("two epochs", lambda: len(self.world.job(job_id).epochs) > 1 or self.world.ended(job_id))
        epochs = self.world.job(job_id).epochs[:-1]
        if not epochs:
            raise NotPossible("no epoch is followed by another")
        checkpoint = CheckpointId(job_id, self.random.choice(epochs).epoch)
        self.world.damaged.add(checkpoint)
        files = sorted(self.world.store.folder(checkpoint).glob("*.*"))
        if not files:
            raise NotPossible("the epoch is gone")
        self.flip(self.random.choice(files))

    def flip_in_state(self, job_id: str) -> None:
        """Flip a bit in a state, and let the run continue from it."""
        pid, states = self.training(job_id), sorted((self.world.store.root / job_id).glob("resume*"))
        if not states:
            raise NotPossible("no state is saved yet")
        self.world.kill(pid, signal.SIGSTOP)  # it saves no other meanwhile
        self.flip(self.random.choice(states))
        self.world.kill(pid)

    def hide_fence(self, job_id: str) -> None:
        """The fence of the store or of the job cannot be read for some seconds: there is a folder in its place."""
        root = self.world.store.root
        fence = self.random.choice([root / FENCE, root / job_id / FENCE])
        with replaced_by_folder(fence):
            self.world.pause(self.random.uniform(1.0, 5.0))

    def flip(self, path: Path) -> None:
        """Flip one bit in place."""
        self.world.note("flipped in", path.name)
        try:
            with path.open("r+b") as file:
                at = self.random.randrange(max(1, path.stat().st_size))
                file.seek(at)
                byte = file.read(1)
                file.seek(at)
                file.write(bytes([byte[0] ^ 1 << self.random.randrange(8)]))
        except (FileNotFoundError, IndexError):
            raise NotPossible(f"{path.name} is gone") from None

    # ----------------------------------------------------------------------------

    def training(self, job_id: str) -> int:
        """The process that trains the job. Raises NotPossible."""
        if (pid := self.world.trainer(job_id)) is None:
            raise NotPossible("no process trains it")
        return pid

    def working(self, job_id: str) -> int:
        """The worker that runs the job, or any."""
        alive = [process.pid for process in self.world.workers if process.poll() is None]
        if not alive:
            raise NotPossible("no worker runs")
        return next((pid for pid in alive if pid == parent(self.world.trainer(job_id) or 0)), alive[0])

    def replace(self, pid: int) -> None:
        """Wait until a worker has ended, and start another, as a supervisor does."""
        process = next(process for process in self.world.workers if process.pid == pid)
        process.wait(30)
        self.world.workers.remove(process)
        self.world.start_worker()


@contextlib.contextmanager
def replaced_by_folder(path: Path) -> Iterator[None]:
    beside = path.with_name(f".{path.name}-away")
    try:
        path.rename(beside)
    except FileNotFoundError:
        raise NotPossible(f"there is no {path.name}") from None
    path.mkdir()
    try:
        yield
    finally:
        path.rmdir()
        beside.rename(path)


PROCESSES = ["kill_trainer", "kill_worker", "end_worker", "signal_group", "stop_trainer", "stop_trainer_for_good"]
OF_REDIS = [
    *("kill_redis", "erase_broker", "cut_connections", "answer_late", "claim_late", "step_clock"),
    *("add_undecodable_events", "add_undecodable_records", "cancel_and_resume"),
]
OF_THE_STORE = [
    *("rename_store", "remove_pointer", "flip_in_pointer", "flip_in_checkpoint", "flip_in_state", "hide_fence")
]
FAULTS = [*PROCESSES, *OF_REDIS, *OF_THE_STORE]
