"""Random faults for as long as asked, and a tally: python -m tests.faults.soak --minutes 30 [--faults NAME ...]

Jobs run one after another in a world of two workers; every few seconds something is killed, stopped, cut off or erased.
At the end nothing may be lost, doubled or late, and every run must have come to what an undisturbed one comes to. Ends
with 1 where something was.
"""

import argparse
import contextlib
import os
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import redis
from rich.console import Console
from rich.table import Table

from models.checkpoints import FENCE, POINTER
from tests.faults.world import PACE, RECOVERY_SECONDS, Outcome, World, outcome, parent, world
from worker.jobs import JobStatus

QUIET_SECONDS = (0.0, 2.0)  # between a job's being run and the next fault


class Soak:
    def __init__(self, here: World, undisturbed: Outcome, seed: int) -> None:
        self.here = here
        self.undisturbed = undisturbed
        self.random = random.Random(seed)
        self.faults: Counter[str] = Counter()
        self.tally: Counter[str] = Counter()
        self.recoveries: list[float] = []
        self.losses_in_a_row = 0
        self.kept: str | None = None

    # ----------------------------------------------------------------------------
    # Faults. Each returns when what it broke is whole again, but for what the service has to mend itself.

    def kill_trainer(self, job_id: str) -> None:
        if pid := self.here.trainer(job_id):
            self.here.kill(pid)

    def kill_worker(self, job_id: str) -> None:
        worker = self.working(job_id)
        os.killpg(worker, signal.SIGKILL)
        self.replace(worker)

    def end_worker(self, job_id: str) -> None:
        worker = self.working(job_id)
        os.kill(worker, signal.SIGTERM)
        self.replace(worker)

    def stop_trainer(self, job_id: str) -> None:
        if pid := self.here.trainer(job_id):
            self.here.kill(pid, signal.SIGSTOP)
            self.here.pause(self.random.uniform(3.5, 6.0))
            with contextlib.suppress(ProcessLookupError):
                self.here.kill(pid, signal.SIGCONT)

    def kill_redis(self, _job_id: str) -> None:
        self.here.redis.kill()
        self.here.pause(self.random.uniform(0.1, 5.0))
        self.here.redis.start()

    def erase_broker(self, _job_id: str) -> None:
        with self.here.redis.client() as client:
            client.delete(*client.keys("acgan:celery:*") or ["nothing"])

    def cut_connections(self, _job_id: str) -> None:
        with self.here.redis.client() as client:
            client.client_kill_filter(_type="normal", skipme=True)

    def cancel_and_resume(self, job_id: str) -> None:
        self.here.ask(lambda desk: desk.cancel(job_id))
        if self.here.until_ended(job_id).status == JobStatus.CANCELLED:
            self.here.ask(lambda desk: desk.resume(job_id))

    def rename_store(self, _job_id: str) -> None:
        """It is away for some seconds, as a mount may be, and what was made in its place is put aside."""
        root = self.here.store.root
        away = root.rename(root.with_name("away"))
        self.here.pause(self.random.uniform(0.5, 4.0))
        if root.exists():
            root.rename(root.with_name(f"aside-{time.monotonic_ns()}"))
        away.rename(root)

    def remove_pointer(self, _job_id: str) -> None:
        (self.here.store.root / POINTER).unlink(missing_ok=True)

    # ----------------------------------------------------------------------------

    def working(self, job_id: str) -> int:
        """The worker that runs the job, or any."""
        alive = [process.pid for process in self.here.workers if process.poll() is None]
        return next((pid for pid in alive if pid == parent(self.here.trainer(job_id) or 0)), alive[0])

    def replace(self, pid: int) -> None:
        process = next(process for process in self.here.workers if process.pid == pid)
        process.wait(30)
        self.here.workers.remove(process)
        self.here.start_worker()

    def one_job(self, faults: list[str]) -> None:
        job_id = self.here.accept()
        self.tally["jobs accepted"] += 1
        self.losses_in_a_row, self.kept = 0, None
        while True:
            if not self.mended(job_id, time.monotonic()):
                break
            time.sleep(self.random.uniform(*QUIET_SECONDS))
            if self.losses_in_a_row >= 2:  # a third loss without progress would rightly end the job
                self.here.until_saved(job_id, beyond=self.kept)
            if self.here.ended(job_id):
                break
            self.losses_in_a_row = 1 if self.here.saved(job_id) != self.kept else self.losses_in_a_row + 1
            self.kept = self.here.saved(job_id)
            fault = self.random.choice(faults)
            self.here.note("fault", fault)
            with contextlib.suppress(ProcessLookupError, AssertionError):
                getattr(self, fault)(job_id)
                self.faults[fault] += 1
        self.judge(job_id)

    def mended(self, job_id: str, since: float) -> bool:
        """Wait until the job runs, and note how long that took. False where it has ended."""
        trainer = self.here.until("it runs again", lambda: self.here.trainer(job_id) or self.here.ended(job_id), 60)
        took = time.monotonic() - since
        self.recoveries.append(took)
        if took > RECOVERY_SECONDS * PACE:
            self.tally["late recoveries"] += 1
            self.here.note("late", (job_id, took))
        return trainer != -1

    def judge(self, job_id: str) -> None:
        job = self.here.until_ended(job_id, 180)
        if job.status != JobStatus.SUCCEEDED:
            self.tally["jobs lost"] += 1
            self.here.note("lost", (job_id, job.status.value, job.error))
            return
        self.tally["jobs succeeded"] += 1
        if [epoch.epoch for epoch in job.epochs] != list(range(1, job.config.epochs + 1)):
            self.tally["epochs doubled or missing"] += 1
        if outcome(self.here.store, job) != self.undisturbed:
            self.tally["other weights or losses"] += 1
        fence_file = self.here.store.root / job_id / FENCE
        for manifest in (each for each in self.here.store.manifests() if each.job == job_id):
            published = self.here.store.folder(manifest.checkpoint).stat().st_ctime
            if manifest.fence < int(fence_file.read_text()) and published > fence_file.stat().st_mtime:
                self.tally["zombie publications"] += 1


FAULTS = [
    *("kill_trainer", "kill_worker", "end_worker", "stop_trainer"),
    *("kill_redis", "erase_broker", "cut_connections", "cancel_and_resume"),
    *("rename_store", "remove_pointer"),
]
BAD = [
    "broken invariants",
    "jobs lost",
    "epochs doubled or missing",
    "other weights or losses",
    "zombie publications",
    "late recoveries",
]


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--minutes", type=float, default=0)
    options.add_argument("--count", type=int, default=0, help="go on until there were so many faults")
    options.add_argument("--faults", nargs="+", choices=FAULTS, default=FAULTS)
    options.add_argument("--seed", type=int, default=random.randrange(10**6))
    given = options.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        with world(Path(folder) / "undisturbed") as made:
            made.start_worker()
            undisturbed = outcome(made.store, made.until_ended(made.accept()))
        with world(Path(folder) / "soak") as here:
            here.supervised = True
            here.start_worker()
            here.start_worker()
            soak, ends = Soak(here, undisturbed, given.seed), time.monotonic() + 60 * given.minutes
            try:
                while time.monotonic() < ends or soak.faults.total() < given.count:
                    soak.one_job(given.faults)
            except (AssertionError, redis.RedisError) as error:
                soak.tally["jobs lost"] += 1
                sys.stderr.write(f"{error}\n")
            for sentence in here.broken_invariants():
                soak.tally["broken invariants"] += 1
                here.note("broken", sentence)
            soak.tally["bad checkpoints behind latest"] = len(here.violations)
            told = here.story() if any(soak.tally[each] for each in BAD) else ""
    table = Table("what", "how often", title=f"Soak, seed {given.seed}")
    for name in given.faults:
        table.add_row(name, str(soak.faults[name]))
    for name in ["jobs accepted", "jobs succeeded", *BAD, "bad checkpoints behind latest"]:
        table.add_row(name, str(soak.tally[name]), style="red" if name in BAD and soak.tally[name] else "")
    table.add_row("slowest recovery", f"{max(soak.recoveries, default=0):.1f} s")
    Console().print(table, told, sep="\n")
    return 1 if any(soak.tally[each] for each in BAD) or soak.tally["bad checkpoints behind latest"] else 0


if __name__ == "__main__":
    sys.exit(main())
