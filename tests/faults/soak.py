"""Random faults for a given time, and a summary: python -m tests.faults.soak --minutes 30 [--faults NAME ...]

Jobs run one after another in a world of two workers and an API; every few seconds a fault kills, stops, cuts off,
damages or erases something. A caller and a follower of events check each response of the API. At the end no job or
epoch may be lost, duplicated or late, and every run must have the result of an undisturbed one. Exits with 1 if
anything is wrong.
"""

import argparse
import random
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import httpx2
import redis
from rich.console import Console
from rich.table import Table

from models.registry.store import FENCE, CheckpointDamaged, CheckpointId, CheckpointNotFound
from tests.faults.api import Api
from tests.faults.disturbances import FAULTS, Disturbances, NotPossible
from tests.faults.invariants import INVARIANTS, Report, verified
from tests.faults.set_clock import LIBRARY, RedisWithClock
from tests.faults.witness import Caller, Follower
from tests.faults.world import PACE, RECOVERY_SECONDS, Outcome, World, outcome, running_world
from worker.jobs.errors import StoreUnavailable
from worker.jobs.model import Job, JobStatus

QUIET_SECONDS = (0.0, 2.0)  # between the start of training and the next fault
MOST_FAULTS = 10  # in one job, so that every job ends
LOOP_SECONDS = 40.0  # for a loop that failed to be restarted: the pause grows to 30 s
FOLLOWED_SECONDS = 20.0  # from a job's end until its follower must have every epoch


class Soak(Disturbances):
    def __init__(self, world: World, undisturbed: Outcome, seed: int, api_url: str) -> None:
        super().__init__(world, seed)
        self.undisturbed = undisturbed
        self.api_url = api_url
        self.caller = Caller(api_url)
        self.faults: Counter[str] = Counter()
        self.tally: Counter[str] = Counter()
        self.report = Report()
        self.recoveries: list[float] = []
        self.losses_in_a_row = 0
        self.kept: str | None = None

    def one_job(self, faults: list[str]) -> None:
        job_id = self.world.accept()
        self.tally["jobs accepted"] += 1
        self.losses_in_a_row, self.kept = 0, None
        follower = Follower(self.api_url, job_id)
        for _ in range(MOST_FAULTS):
            if not self.mended(job_id, time.monotonic()):
                break
            time.sleep(self.random.uniform(*QUIET_SECONDS))
            if self.losses_in_a_row >= 2:  # a third loss without progress would rightly end the job
                self.world.until_saved(job_id, beyond=self.kept)
            if self.ended(job_id):
                break
            self.losses_in_a_row = 1 if self.world.saved(job_id) != self.kept else self.losses_in_a_row + 1
            self.kept = self.world.saved(job_id)
            self.disturb(self.random.choice(faults), job_id)
        self.judge(job_id, follower)
        follower.stop()

    def ended(self, job_id: str) -> bool:
        return self.world.until("Redis answers", lambda: 1 + abs(self.world.ended(job_id)), 20) == 2

    def disturb(self, fault: str, job_id: str) -> None:
        self.world.note("fault", fault)
        try:
            getattr(self, fault)(job_id)
            self.faults[fault] += 1
        except (NotPossible, ProcessLookupError) as reason:
            self.world.note("not possible", reason)

    def mended(self, job_id: str, since: float) -> bool:
        """Wait until the job runs, and record the duration. False if it has ended."""
        trainer = self.world.until("it runs again", lambda: self.world.trainer(job_id) or self.world.ended(job_id), 60)
        took = time.monotonic() - since
        self.recoveries.append(took)
        if took > RECOVERY_SECONDS * PACE:
            self.wrong("late recoveries", (job_id, took))
        return trainer != -1

    # ----------------------------------------------------------------------------
    # Checks at the end.

    def wrong(self, what: str, about: object) -> None:
        self.tally[what] += 1
        self.world.note(what, about)

    def judge(self, job_id: str, follower: Follower) -> None:
        job = self.world.until_ended(job_id, 180)
        self.check_invariants(job_id)
        if job.status != JobStatus.SUCCEEDED:
            self.wrong("jobs lost", (job_id, job.status.value, job.error))
            return
        self.tally["jobs succeeded"] += 1
        damaged = self.damaged_epochs(job)
        if [epoch.epoch for epoch in job.epochs] != list(range(1, job.config.epochs + 1)):
            self.wrong("epochs doubled or missing", (job_id, [epoch.epoch for epoch in job.epochs]))
        whole = job.model_copy(update={"epochs": [each for each in job.epochs if each.epoch not in damaged]})
        expected = [each for each in self.undisturbed if each["epoch"] not in damaged]
        if outcome(self.world.store, whole) != expected:
            self.wrong("other weights or losses", job_id)
        if bool(damaged) != (job.trouble is not None):
            self.wrong("trouble is not true", (job_id, damaged, job.trouble))
        self.look_for_zombies(job_id)
        self.check_follower(job, follower)

    def damaged_epochs(self, job: Job) -> set[int]:
        """Those that a fault damaged and no later attempt replaced."""
        damaged = set()
        for epoch in job.epochs:
            checkpoint = CheckpointId(job.id, epoch.epoch)
            try:
                verified(self.world.store, checkpoint)
            except (CheckpointDamaged, CheckpointNotFound):
                if checkpoint in self.world.damaged:
                    damaged.add(epoch.epoch)
        return damaged

    def look_for_zombies(self, job_id: str) -> None:
        fence_file = self.world.store.root / job_id / FENCE
        for manifest in (each for each in self.world.store.manifests() if each.job == job_id):
            published = self.world.store.folder(manifest.checkpoint).stat().st_ctime
            if manifest.fence < int(fence_file.read_text()) and published > fence_file.stat().st_mtime:
                self.wrong("zombie publications", manifest.id)

    def check_follower(self, job: Job, follower: Follower) -> None:
        expected = {epoch.epoch: epoch.losses.model_dump() for epoch in job.epochs}
        deadline = time.monotonic() + FOLLOWED_SECONDS * PACE
        while time.monotonic() < deadline and not (follower.epochs == expected and "succeeded" in follower.statuses):
            time.sleep(0.1)
        if follower.epochs != expected or "succeeded" not in follower.statuses:
            self.wrong("wrong answers", f"follower of {job.id}: epochs {sorted(follower.epochs)}, {follower.statuses}")
        for sentence in follower.wrong:
            self.wrong("wrong answers", sentence)

    def check_invariants(self, job_id: str | None = None) -> None:
        """Check until they hold, since an API follows a publication within a second; record the rest as violations."""
        deadline = time.monotonic() + RECOVERY_SECONDS * PACE
        while (found := self.world.check_invariants(job_id)).violations and time.monotonic() < deadline:
            time.sleep(0.5)
        for sentence in found.violations:
            self.wrong("broken invariants", sentence)
        self.report.add(found)

    def check_loops(self) -> None:
        """When all faults are over, every background loop of the API and the workers runs again."""
        deadline, troubles = time.monotonic() + LOOP_SECONDS * PACE, ["not asked yet"]
        while troubles and time.monotonic() < deadline:
            time.sleep(1)
            ready = httpx2.get(f"{self.api_url}/readyz", timeout=20).json()
            states = {**ready["loops"], **ready["worker_loops"]}
            troubles = [f"{name}: {state}" for name, state in states.items() if state != "running"]
            troubles += [] if "reconciler" in states else ["no worker reports its loops"]
        for trouble in troubles:
            self.wrong("loops in trouble", trouble)

    def end(self) -> None:
        self.check_loops()
        self.caller.stop()
        self.world.served.series.append(self.caller.series)
        self.check_invariants()
        for sentence in self.caller.wrong:
            self.wrong("wrong answers", sentence)
        for sentence in self.world.violations:
            self.wrong("bad checkpoints behind latest", sentence)


BAD = [
    *("broken invariants", "jobs lost", "epochs doubled or missing", "other weights or losses", "trouble is not true"),
    *("zombie publications", "late recoveries", "wrong answers", "loops in trouble", "bad checkpoints behind latest"),
]


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--minutes", type=float, default=0)
    options.add_argument("--count", type=int, default=0, help="continue until this many faults have happened")
    options.add_argument("--faults", nargs="+", choices=FAULTS, default=FAULTS)
    options.add_argument("--seed", type=int, default=random.randrange(10**6))
    given = options.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        with running_world(Path(folder) / "undisturbed") as made:
            made.start_worker()
            undisturbed = outcome(made.store, made.until_ended(made.accept()))
        server = RedisWithClock(Path(folder) / "soak" / "redis") if LIBRARY else None
        with running_world(Path(folder) / "soak", server=server) as world:
            soak, story = run(world, undisturbed, given)
    console = Console()
    console.print(tally_table(soak, given), invariants_table(soak.report), sep="\n")
    sys.stdout.write(story)
    return 1 if any(soak.tally[each] for each in BAD) else 0


def run(world: World, undisturbed: Outcome, given: argparse.Namespace) -> tuple[Soak, str]:
    """Return the history of a soak in which something was wrong, else an empty one."""
    world.supervised = True
    world.start_worker()
    world.start_worker()
    api = Api(world)
    soak, ends = Soak(world, undisturbed, given.seed, api.url), time.monotonic() + 60 * given.minutes
    try:
        while time.monotonic() < ends or soak.faults.total() < given.count:
            soak.one_job(given.faults)
    except (AssertionError, redis.RedisError, StoreUnavailable) as error:
        soak.wrong("jobs lost", error)
    soak.end()
    api.end()
    return soak, world.story() if any(soak.tally[each] for each in BAD) else ""


def tally_table(soak: Soak, given: argparse.Namespace) -> Table:
    table = Table("what", "how often", title=f"Soak, seed {given.seed}")
    for name in given.faults:
        table.add_row(name, str(soak.faults[name]))
    for name in ["jobs accepted", "jobs succeeded", *BAD]:
        table.add_row(name, str(soak.tally[name]), style="red" if name in BAD and soak.tally[name] else "")
    for name, count in sorted(soak.caller.answers.items()):
        table.add_row(f"answers: {name}", str(count))
    table.add_row("slowest recovery", f"{max(soak.recoveries, default=0):.1f} s")
    return table


def invariants_table(report: Report) -> Table:
    table = Table("invariant", "checks", "violations", title="Invariants")
    for letter, sentence in INVARIANTS.items():
        table.add_row(f"{letter}  {sentence}", str(report.checks[letter]), str(report.count(letter)))
    return table


if __name__ == "__main__":
    sys.exit(main())
