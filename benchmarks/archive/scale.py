"""Measured the capacity of one Redis and one API with 1,000 simulated workers; figures: docs/scale.md.

python -m benchmarks.archive.scale [--records 100000] [--workers 10 100 1000] repeats it. A separate Redis with the
settings of `acgan up` is filled with ended jobs. Simulated workers then use it with the service's own scripts, at full
speed and at their usual rate. A real `acgan serve` returns lists of jobs. Everything runs on the same processors; the
processor time of Redis' thread for each script does not depend on other processes.
"""

import argparse
import os
import platform
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import redis

from benchmarks.archive.event_cost import EventCost, measure_events
from benchmarks.archive.idle_worker import IdleWorker, measure_idle_worker
from benchmarks.archive.job_lists import PATIENCE_SECONDS, ListTimes, request_all
from benchmarks.archive.simulated_workers import Drill, Rounds, SimulatedWorkers, Tally, reconcile
from benchmarks.load import percentile
from benchmarks.records import accept, fill, multiply
from benchmarks.redis_server import RedisServer, Work, connect, read
from benchmarks.serving import markdown
from worker.jobs.keys import EVENTS, JOBS

ACCEPTED = 50  # jobs that are submitted; the other waiting jobs are copies of them
FULL_SPEED = ("claim", "renew", "report")
IDLE_PERIODS = 6  # times --seconds; at five seconds this covers two rounds of the reconciler
EVENT_RATES = [0.0, 100.0, 1000.0]


class Measured(NamedTuple):
    workers: int
    drills: dict[str, tuple[Tally, Work]]
    rounds: Rounds


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--records", type=int, default=100_000, help="number of ended jobs")
    options.add_argument("--waiting", type=int, default=10_000, help="number of waiting jobs, for claims")
    options.add_argument("--workers", type=int, nargs="+", default=[10, 100, 1000])
    options.add_argument("--seconds", type=float, default=5.0, help="duration of each measurement")
    options.add_argument("--slower", type=float, default=1.0, help="slow the usual rate down; results are multiplied")
    options.add_argument("--answers", type=int, default=200, help="responses to each kind of request")
    options.add_argument(
        "--answer-seconds", type=float, default=30.0, help="limit for each kind, after its first response"
    )
    options.add_argument("--folder", type=Path, help="folder for Redis' file; default: the folder of temporary files")
    return options.parse_args(arguments)


def progress(line: str) -> None:
    sys.stderr.write(f"{time.strftime('%H:%M:%S')} {line}\n")


# ----------------------------------------------------------------------------
# The measurements.


def fill_in(server: RedisServer, records: int) -> Iterator[list[str]]:
    """Create the ended jobs. Redis does not wait for the disk until all exist."""
    with connect(server.url) as client:
        client.config_set("appendfsync", "no")
        empty = read(client)
        run = fill(server.url, records)
        client.delete(EVENTS)
        full = read(client)
        rewriting = rewrite(server)
        size = read(client).file
    restarting = server.restart()
    yield [
        "jobs",
        "of them run",
        "bytes of memory per job",
        "memory, MB",
        "file, MB",
        "s to rewrite it",
        "s to restart",
    ]
    cells = [(full.memory - empty.memory) / records, full.memory / 1e6, size / 1e6]
    yield [str(records), str(run), *(f"{cell:.0f}" for cell in cells), f"{rewriting:.1f}", f"{restarting:.1f}"]


def let_wait(url: str, count: int) -> None:
    """Create this number of waiting jobs."""
    accepted = min(ACCEPTED, count)
    accept(url, accepted)
    with connect(url) as client:
        multiply(url, count - accepted, client.zrevrange(JOBS, 0, accepted - 1))


def rewrite(server: RedisServer) -> float:
    """Let Redis rewrite its file. Returns the seconds that it takes."""
    with connect(server.url) as client:
        while rewrites(client):
            time.sleep(0.05)
        began = time.monotonic()
        client.bgrewriteaof()
        while rewrites(client):
            time.sleep(0.05)
        return time.monotonic() - began


def rewrites(client: "redis.Redis") -> bool:
    persistence = client.info("persistence")
    return bool(persistence["aof_rewrite_in_progress"] or persistence["aof_rewrite_scheduled"])


def measure(url: str, workers: int, given: argparse.Namespace) -> Measured:
    drills = {}
    with SimulatedWorkers(url, workers) as simulated:
        for kind in (*FULL_SPEED, "live"):
            progress(f"{workers} workers: {kind}")
            drills[kind] = simulated.run(Drill(kind, given.seconds * (2 if kind == "live" else 1), given.slower))
    progress(f"{workers} workers are lost")
    return Measured(workers, drills, reconcile(url, workers))


# ----------------------------------------------------------------------------
# The tables.


def ms(seconds: list[float], share: float) -> str:
    return f"{1e3 * percentile(seconds, share):.1f}" if seconds else ""


def full_speed_table(measured: list[Measured]) -> Iterator[list[str]]:
    yield [
        *("workers", "script", "per second", "p50 ms", "p99 ms", "timeouts", "µs inside", "µs of Redis' thread each"),
        *("capacity of one processor, per second", "Redis' share of one", "clients' share"),
    ]
    for workers, drills, _ in measured:
        for kind in FULL_SPEED:
            tally, work = drills[kind]
            times = tally.took.get(kind, [])
            yield [
                *(str(workers), kind, f"{work.scripts / work.seconds:.0f}", ms(times, 0.5), ms(times, 0.99)),
                *(str(tally.errors), f"{work.script_usec:.0f}", f"{work.cpu_usec:.0f}", f"{work.capacity:.0f}"),
                *(f"{work.cpu_share:.2f}", f"{tally.cpu / work.seconds:.2f}"),
            ]


def usual_rate_table(measured: list[Measured], slower: float) -> Iterator[list[str]]:
    yield [
        *("workers", "scripts per second", "events per second", "Redis' share of a processor", "kB/s in", "kB/s out"),
        *("kB/s to the file", "renew p50, p99 ms", "late p50, p99 ms", "timeouts"),
    ]
    for workers, drills, _ in measured:
        tally, work = drills["live"]
        scripts, events = (slower * count / work.seconds for count in (work.scripts, work.calls.get("xadd", 0)))
        rates = (slower * rate / 1e3 for rate in (work.received, work.sent, work.file))
        renewals = tally.took.get("renew", [])
        yield [
            *(str(workers), f"{scripts:.0f}", f"{events:.0f}", f"{slower * work.cpu_share:.3f}"),
            *(f"{rate:.0f}" for rate in rates),
            f"{ms(renewals, 0.5)}, {ms(renewals, 0.99)}",
            f"{ms(tally.late, 0.5)}, {ms(tally.late, 0.99)}",
            str(tally.errors),
        ]


def reconciliation_table(measured: list[Measured]) -> Iterator[list[str]]:
    yield [
        "workers",
        "nothing lost: p50, p99 ms",
        "all lost at once: rounds, ms in total",
        "queued again after the back-off: rounds, ms in total",
    ]
    for workers, _, rounds in measured:
        after = (f"{len(times)}, {1e3 * sum(times):.1f}" for times in (rounds.lost, rounds.due))
        yield [str(workers), f"{ms(rounds.nothing, 0.5)}, {ms(rounds.nothing, 0.99)}", *after]


def lists_table(lists: dict[str, ListTimes | None]) -> Iterator[list[str]]:
    yield [
        *("request", "responses", "p50 ms", "p99 ms", "without waiting for a processor: p50, p99 ms"),
        *("the API's processor ms", "Redis'", "kB"),
    ]
    for request, times in lists.items():
        if times is None:
            yield [request, "0", f"> {1e3 * PATIENCE_SECONDS:.0f}", "-", "-", "-", "-", "-"]
            continue
        yield [
            *(request, str(times.answers), f"{times.p50:.1f}", f"{times.p99:.1f}"),
            f"{times.undisturbed_p50:.1f}, {times.undisturbed_p99:.1f}",
            *(f"{times.server:.1f}", f"{times.redis:.2f}", f"{times.size / 1e3:.1f}"),
        ]


def idle_worker_table(worker: IdleWorker) -> Iterator[list[str]]:
    yield ["a real worker, idle: connections", "commands per second", "bytes per second in", "out", "the most frequent"]
    rates = (f"{rate:.0f}" for rate in (worker.received, worker.sent))
    yield [str(worker.connections), f"{worker.commands:.1f}", *rates, worker.most]


def events_table(costs: list[EventCost]) -> Iterator[list[str]]:
    yield [
        "events per second",
        "reads of the stream per second",
        "the API's share of a processor",
        "Redis' share",
        "kB/s out",
    ]
    for cost in costs:
        yield [
            *(f"{cost.events:.0f}", f"{cost.reads:.0f}", f"{cost.server:.3f}", f"{cost.redis:.3f}"),
            f"{cost.sent / 1e3:.0f}",
        ]


def main(arguments: list[str] | None = None) -> None:
    given = parse_arguments(arguments)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that child processes are ended
    with tempfile.TemporaryDirectory(dir=given.folder) as folder, RedisServer(Path(folder)) as server:
        about = f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}, {server.version}"
        progress(f"creating {given.records} jobs")
        records = markdown(fill_in(server, given.records))
        progress("lists")
        lists = markdown(lists_table(request_all(server.url, Path(folder), given.answers, given.answer_seconds)))
        progress("a real idle worker")
        idle_worker = markdown(
            idle_worker_table(measure_idle_worker(server.url, Path(folder), IDLE_PERIODS * given.seconds))
        )
        let_wait(server.url, given.waiting)
        measured = [measure(server.url, workers, given) for workers in given.workers]
        progress("events")
        events = markdown(events_table(measure_events(server.url, Path(folder), EVENT_RATES, given.seconds)))
    pace = f"; usual rate slowed down {given.slower:g} times, results multiplied" if given.slower != 1 else ""
    tables = [
        records,
        markdown(full_speed_table(measured)),
        markdown(usual_rate_table(measured, given.slower)),
        markdown(reconciliation_table(measured)),
    ]
    sys.stdout.write(f"{about}{pace}\n\n" + "\n\n".join([*tables, idle_worker, events, lists]) + "\n")


if __name__ == "__main__":
    main()
