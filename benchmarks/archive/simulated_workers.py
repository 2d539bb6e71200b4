"""Measured the requests of simulated workers to Redis, for scale.py; figures: docs/scale.md, "Load on Redis".

Each worker has a JobConsumer, and thus a separate connection, and waits for replies. The workers are threads in a few
processes, since Redis replies faster than one interpreter can send requests.
"""

import multiprocessing
import random
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from typing import NamedTuple

from benchmarks.records import ManyAtOnce, epoch_record, progress
from benchmarks.redis_server import Work, between, connect, read
from worker.jobs.consumer import Claim, JobConsumer
from worker.jobs.errors import StoreUnavailable
from worker.jobs.model import JobStatus
from worker.reconciler import Reconciler

LEASE_SECONDS = 30.0
FOREVER = 3600.0  # for leases that must not expire
RENEW_SECONDS = 1.0  # as in worker/lifecycle/lease.py, which also detects a cancellation this way
REPORT_SECONDS = 1.0  # as in models/training/throughput.py
SAVE_SECONDS = 60.0
RECONCILE_SECONDS = 15.0
EPOCH_SECONDS = 60.0
JOB_SECONDS = 900.0
BACKOFF_SECONDS = 10.0


class Drill(NamedTuple):
    """The operations of every worker during one measurement."""

    kind: str  # claim, renew, report: as often as possible; or live: all of them at their usual rate
    seconds: float
    slower: float = 1.0  # factor by which `live` is slower than a real worker


@dataclass
class Tally:
    """Seconds of each operation, by name; requests without a timely reply; delays against the schedule."""

    took: dict[str, list[float]] = field(default_factory=dict)
    errors: int = 0
    late: list[float] = field(default_factory=list)
    cpu: float = 0.0  # processor seconds of the clients

    def __iadd__(self, other: "Tally") -> "Tally":
        for name, times in other.took.items():
            self.took.setdefault(name, []).extend(times)
        self.errors += other.errors
        self.late += other.late
        self.cpu += other.cpu
        return self


def notify_workers(_: str) -> None:
    """Do nothing, because no Celery worker runs."""


class Worker:
    """One simulated worker. It holds at most one job, except if only claims are measured."""

    def __init__(self, url: str, number: int) -> None:
        self.url = url
        self.consumer = JobConsumer.connect(url)
        self.reconciler = Reconciler(self.consumer, notify_workers, lambda: False, RECONCILE_SECONDS, BACKOFF_SECONDS)
        self.chance = random.Random(number)
        self.tally = Tally()
        self.claims: list[Claim] = []
        self.batch = 0

    def timed(self, name: str, act: Callable[[], object]) -> None:
        began = time.monotonic()
        try:
            act()
        except StoreUnavailable:
            self.tally.errors += 1
            time.sleep(0.1)
        else:
            self.tally.took.setdefault(name, []).append(time.monotonic() - began)

    def take(self, lease_seconds: float = FOREVER) -> None:
        if claim := self.consumer.claim(lease_seconds):
            self.claims.append(claim)

    def begin(self, kind: str) -> None:
        """Connect, and claim a job if the drill needs one."""
        while True:
            with suppress(StoreUnavailable):
                if kind == "claim":
                    self.consumer.claims()
                    return
                self.take()
                if self.claims:
                    return
            time.sleep(0.1)

    def renew(self) -> None:
        self.consumer.renew(self.claims[0], FOREVER)

    def report(self) -> None:
        self.batch += 1
        self.consumer.report(self.claims[0], progress(1, self.batch % 600))

    def save(self) -> None:
        self.consumer.saved(self.claims[0], 1, self.batch)

    def end_epoch(self) -> None:
        claim = self.claims[0]
        self.consumer.add_epoch(claim, epoch_record(claim.job.id, len(claim.reported) % 100 + 1, self.chance))

    def end_job(self) -> None:
        self.consumer.finish(self.claims[0], JobStatus.SUCCEEDED)
        claim = self.consumer.claim(FOREVER)
        self.claims = [claim] if claim else self.claims

    def reconcile(self) -> None:
        self.reconciler.once()

    def repeat(self, kind: str, until: float) -> None:
        act: Callable[[], None] = getattr(self, "take" if kind == "claim" else kind)
        while time.monotonic() < until:
            held = len(self.claims)
            self.timed(kind, act)
            if kind == "claim" and len(self.claims) == held:
                return  # no job is waiting

    def live(self, until: float, slower: float) -> None:
        """Run every operation at its usual rate, starting at a random time."""
        usual: list[tuple[Callable[[], None], float]] = [
            (self.renew, RENEW_SECONDS),
            (self.report, REPORT_SECONDS),
            (self.save, SAVE_SECONDS),
            (self.end_epoch, EPOCH_SECONDS),
            (self.end_job, JOB_SECONDS),
            (self.reconcile, RECONCILE_SECONDS),
        ]
        paces = [(act, slower * seconds) for act, seconds in usual]
        now = time.monotonic()
        due = [now + self.chance.random() * seconds for _, seconds in paces]
        while (next_due := min(due)) < until:
            time.sleep(max(0.0, next_due - time.monotonic()))
            which = due.index(next_due)
            act, seconds = paces[which]
            self.tally.late.append(time.monotonic() - next_due)
            self.timed(act.__name__, act)
            due[which] += seconds

    def hand_back(self) -> None:
        with connect(self.url) as client, client.pipeline(transaction=False) as pipeline:
            back = ManyAtOnce(pipeline)
            for claim in self.claims:
                claim.reported.clear()
                back.finish(claim, JobStatus.QUEUED)
            pipeline.execute()
        self.claims.clear()

    def perform(self, drill: Drill) -> None:
        until = time.monotonic() + drill.seconds
        if drill.kind == "live":
            self.live(until, drill.slower)
        else:
            self.repeat(drill.kind, until)


# ----------------------------------------------------------------------------
# Processes with simulated workers.


def crew(url: str, first: int, count: int, pipe: Connection) -> None:
    """Run workers `first` to `first + count - 1`, one drill after the other, until the pipe sends None."""
    workers = [Worker(url, number) for number in range(first, first + count)]
    while drill := pipe.recv():
        pipe.send(exercise(workers, drill, pipe))
        for worker in workers:
            worker.hand_back()
        pipe.send("over")


def exercise(workers: list[Worker], drill: Drill, pipe: Connection) -> Tally:
    """Report when all are ready, wait for the start signal, and return the tally."""
    ready, go = threading.Barrier(len(workers) + 1), threading.Event()

    def work(worker: Worker) -> None:
        worker.begin(drill.kind)
        worker.tally = Tally()
        ready.wait()
        go.wait()
        worker.perform(drill)

    threads = [threading.Thread(target=work, args=(worker,), daemon=True) for worker in workers]
    for thread in threads:
        thread.start()
    ready.wait()
    pipe.send("ready")
    pipe.recv()
    before, tally = time.process_time(), Tally()
    go.set()
    for thread in threads:
        thread.join()
    tally.cpu = time.process_time() - before
    for worker in workers:
        tally += worker.tally
    return tally


class SimulatedWorkers:
    """Context manager that runs simulated workers and ends them."""

    def __init__(self, url: str, workers: int, processes: int = 2) -> None:
        self.url, self.workers = url, workers
        context = multiprocessing.get_context("spawn")
        processes = min(processes, workers)
        self.pipes: list[Connection] = []
        self.crews = []
        for number in range(processes):
            first, end = (workers * index // processes for index in (number, number + 1))
            parent_end, child_end = context.Pipe()
            self.crews.append(context.Process(target=crew, args=(url, first, end - first, child_end), daemon=True))
            self.crews[-1].start()
            child_end.close()
            self.pipes.append(parent_end)

    def run(self, drill: Drill) -> tuple[Tally, Work]:
        """Return the workers' tally and the work of Redis in that time. The workers hand their jobs back afterwards.

        Raises EOFError if one of the processes has died.
        """
        tally = Tally()
        with connect(self.url) as client:
            self._send(drill)
            first = read(client)
            self._send("go", answered=False)
            time.sleep(drill.seconds)
            work = between(first, read(client))
        for pipe in self.pipes:
            tally += pipe.recv()
        for pipe in self.pipes:
            pipe.recv()
        return tally, work

    def _send(self, word: Drill | str | None, answered: bool = True) -> None:
        for pipe in self.pipes:
            pipe.send(word)
        for pipe in self.pipes if answered else ():
            pipe.recv()

    def __enter__(self) -> "SimulatedWorkers":
        return self

    def __exit__(self, *failure: object) -> None:
        for process, pipe in zip(self.crews, self.pipes, strict=True):
            if failure[0] is None:
                pipe.send(None)
                process.join(10)
            if process.is_alive():
                process.kill()
            process.join()
            pipe.close()


# ----------------------------------------------------------------------------
# Lost workers.


class Rounds(NamedTuple):
    """Seconds of each round of the reconciler."""

    nothing: list[float]  # no job was lost
    lost: list[float]  # lost jobs were queued again, at most a hundred per round
    due: list[float]  # jobs whose back-off was over were queued again, at most a hundred per round


def reconcile(url: str, workers: int, idle_rounds: int = 50, backoff_seconds: float = 3.0) -> Rounds:
    """Let this number of workers claim jobs, then lose all of them at once."""
    consumer = JobConsumer.connect(url)

    def hold() -> list[Claim]:
        claims: list[Claim] = []
        while len(claims) < workers and (claim := consumer.claim(FOREVER)):
            claims.append(claim)
        if len(claims) < workers:
            raise RuntimeError("too few jobs are waiting")
        return claims

    def round_seconds() -> tuple[int, float]:
        began = time.monotonic()
        return len(consumer.reconcile(backoff_seconds)), time.monotonic() - began

    def until_done() -> list[float]:
        rounds, queued = [], 0
        while queued < workers:
            queued_now, seconds = round_seconds()
            queued += queued_now
            rounds.append(seconds)
        return rounds

    def lose(claims: list[Claim]) -> list[float]:
        with connect(url) as client, client.pipeline(transaction=False) as pipeline:
            shorter = ManyAtOnce(pipeline)
            for claim in claims:
                shorter.renew(claim, 0.0)
            pipeline.execute()
        return until_done()

    claims = hold()
    nothing = [round_seconds()[1] for _ in range(idle_rounds)]
    lost = lose(claims)
    lose(hold())  # a back-off starts only after a second loss
    time.sleep(backoff_seconds + 0.1)
    due = until_done()
    consumer.close()
    return Rounds(nothing, lost, due)
