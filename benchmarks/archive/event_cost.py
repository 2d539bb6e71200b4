"""Measured the cost of events for an API without followers, for scale.py; figures: docs/scale.md, "Events"."""

import time
from pathlib import Path
from typing import NamedTuple

from benchmarks.archive.job_lists import Turns, serving
from benchmarks.records import ManyAtOnce, progress
from benchmarks.redis_server import between, connect, read
from worker.jobs.consumer import JobConsumer

AT_ONCE = 5  # events in one message
SETTLING_SECONDS = 3.0


class EventCost(NamedTuple):
    events: float  # per second
    reads: float  # of the stream, per second
    server: float  # share of a processor
    redis: float
    sent: float  # bytes per second that Redis sent


def measure_events(url: str, folder: Path, rates: list[float], seconds: float) -> list[EventCost]:
    """Start an API, and write progress events at each of these rates. Needs a waiting job."""
    consumer = JobConsumer.connect(url)
    claim = consumer.claim(3600.0)
    if claim is None:
        raise RuntimeError("no job is waiting")
    with connect(url) as client, client.pipeline(transaction=False) as pipeline, serving(url, folder) as server:
        redis_pid, writer = int(client.info("server")["process_id"]), ManyAtOnce(pipeline)
        time.sleep(SETTLING_SECONDS)
        costs = []
        for rate in rates:
            first, before = read(client), [Turns.of(pid) for pid in (server.pid, redis_pid)]
            began, written = time.monotonic(), 0
            while (passed := time.monotonic() - began) < seconds:
                while written < rate * passed:
                    for _ in range(AT_ONCE):
                        writer.report(claim, progress(1, written % 600))
                        written += 1
                    pipeline.execute()
                time.sleep(0.001)
            work, after = between(first, read(client)), [Turns.of(pid) for pid in (server.pid, redis_pid)]
            api, redis = ((last.ran - one.ran) / work.seconds for one, last in zip(before, after, strict=True))
            reads = work.calls.get("xread", 0) / work.seconds
            costs.append(EventCost(written / work.seconds, reads, api, redis, work.sent))
    consumer.close()
    return costs
