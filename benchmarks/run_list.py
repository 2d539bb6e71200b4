"""Time of lists of many runs over HTTP: the newest, searched, sorted and filtered; and the memory of Redis.

python -m benchmarks.run_list [--runs 10000] [--requests 100] starts a Redis and a service of its own, accepts and runs
jobs of 15 epochs with the product's own code (benchmarks/records.py), and prints a table.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple
from urllib.error import URLError
from urllib.parse import quote
from urllib.request import urlopen

from app.server.embedded_redis import free_port
from benchmarks.processes import stop
from benchmarks.records import EPOCHS, WORDS, accept, run_all
from benchmarks.redis_server import RedisServer, connect

WAITING = 30  # runs that stay in the queue
START_SECONDS = 120.0
PAGE = "limit=20&epochs=last&archived=false"


class Timing(NamedTuple):
    what: str
    median: float  # ms
    p95: float


def measure(address: str, what: str, queries: Sequence[str], requests: int) -> Timing:
    took = []
    for number in range(requests):
        began = time.perf_counter()
        with urlopen(f"{address}/jobs?{queries[number % len(queries)]}") as answer:  # noqa: S310
            json.load(answer)
        took.append(1000 * (time.perf_counter() - began))
    return Timing(what, statistics.median(took), sorted(took)[int(0.95 * len(took))])


def pages_of(address: str, query: str, pages: int) -> list[str]:
    """Return the queries of the first pages of a list."""
    queries = [query]
    while len(queries) < pages:
        with urlopen(f"{address}/jobs?{queries[-1]}") as answer:  # noqa: S310
            following: Any = json.load(answer)["next"]
        if following is None:
            break
        queries.append(following.partition("?")[2])
    return queries


def measure_all(address: str, requests: int) -> list[Timing]:
    words = [f"search={quote(word)}" for word in WORDS]
    cases = {
        "newest": pages_of(address, PAGE, 20),
        "running first": pages_of(address, f"{PAGE}&sort=active", 20),
        **{
            f"sort by {order}": pages_of(address, f"{PAGE}&sort={order}", 20) for order in ("name", "epochs", "frechet")
        },
        "search, many hits": [f"{PAGE}&{word}" for word in words],
        "search, one hit": [f"{PAGE}&search={number}" for number in range(1000, 9000, 400)],
        "search, no hit": [f"{PAGE}&search=absent{number}" for number in range(10)],
        "search in names sorted": [f"{PAGE}&sort=name&{word}" for word in words],
        "status": [f"{PAGE}&status={status}" for status in ("queued", "succeeded", "failed")],
        "tag, no hit": [f"{PAGE}&tag=absent"],
        "archived, none": ["limit=20&epochs=last&archived=true"],
    }
    return [measure(address, what, queries, requests) for what, queries in cases.items()]


@contextmanager
def service(redis_url: str, folder: Path) -> Iterator[str]:
    """Start the API in a process of its own. Yields its address."""
    port = free_port()
    settings = {"REDIS_URL": redis_url, "HOME": str(folder), "STORE": str(folder / "store"), "DEVICE": "cpu"}
    settings |= {"QUEUE_LIMIT": "1000"}
    command = [sys.executable, "-m", "app.cli", "serve", "--port", str(port)]
    environment = os.environ | {f"ACGAN_{name}": value for name, value in settings.items()}
    with (folder / "service.log").open("wb") as log:
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=log, start_new_session=True)  # noqa: S603
    address = f"http://127.0.0.1:{port}"
    deadline = time.monotonic() + START_SECONDS
    try:
        while not is_live(address):
            if process.poll() is not None or time.monotonic() > deadline:
                raise SystemExit((folder / "service.log").read_text()[-2000:])
            time.sleep(0.1)
        yield address
    finally:
        stop(process)


def is_live(address: str) -> bool:
    try:
        with urlopen(f"{address}/livez") as answer:  # noqa: S310
            return bool(answer.status == 200)
    except URLError:
        return False


def memory(url: str) -> float:
    """Return the megabytes that Redis uses."""
    with connect(url) as client:
        info: dict[str, Any] = client.info("memory")
    return float(info["used_memory"]) / 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=10_000)
    parser.add_argument("--requests", type=int, default=100)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, RedisServer(Path(folder)) as server:
        accept(server.url, chosen.runs)
        run_all(server.url, chosen.runs - WAITING)
        before = memory(server.url)
        with service(server.url, Path(folder)) as address:
            plain = measure(address, "newest, before the index", [PAGE], 1)
            first = measure(address, "first list that needs the index", [f"{PAGE}&sort=name"], 1)
            after = memory(server.url)
            timings = [plain, first, *measure_all(address, chosen.requests)]
        lines = [
            f"{server.version}, {chosen.runs} runs with {EPOCHS} epochs each, {chosen.requests} requests each",
            "",
            "| list of 20 runs | median, ms | p95, ms |",
            "|---|---|---|",
            *(f"| {timing.what} | {timing.median:.0f} | {timing.p95:.0f} |" for timing in timings),
            "",
            f"Redis: {before:.1f} MB before the index, {after:.1f} MB with it",
        ]
    print("\n".join(lines))  # noqa: T201


if __name__ == "__main__":
    main()
