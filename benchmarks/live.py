"""Cost of what a running job shows between two epochs.

`python -m benchmarks.live epochs --rounds 3 --examples 6000` measures the duration of epochs with `ACGAN_LIVE` on and
off, in turn, for `seed` and `sharp`, and the time that the training thread spends in live reports.
`python -m benchmarks.live followers --followers 50 --seconds 20` measures the latency of `/livez` while 50 followers of
a run read its event stream and, after each event, `GET /jobs/{id}/live`.
"""

import argparse
import asyncio
import json
import multiprocessing
import random
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest import mock

import httpx2

from benchmarks.archive.job_lists import serving
from benchmarks.records import accept, ask_desk
from benchmarks.redis_server import RedisServer
from models.config import TrainingConfig
from models.records import Loss, Progress
from worker.handlers.live_report import LiveReport
from worker.jobs.client import Order
from worker.jobs.consumer import Claim, JobConsumer
from worker.jobs.live import LiveWriter, RecentLosses, Sample
from worker.runner import run_next_job
from worker.settings import WorkerSettings

PNG = b"\x89PNG" + bytes(3996)  # as long as the longest sample
LOSS = Loss(loss=1.2345, generation_loss=0.7345, auxiliary_loss=0.5)
PAUSE = 0.01  # seconds between two probes
SPREAD = 0.8  # seconds over which the page spreads its requests


def measure_epochs(url: str, folder: Path, rounds: int, examples: int) -> None:
    """Print the median seconds of an epoch's training and test, with and without live losses and samples."""
    for recipe in ("seed", "sharp"):
        seconds: dict[bool, list[float]] = {True: [], False: []}
        shares = []
        for _ in range(rounds):
            for shows in (True, False):
                settings = WorkerSettings(redis_url=url, home=folder, live=shows, judge=False)
                config = TrainingConfig(
                    recipe=recipe, epochs=1, dataset="printed", train_examples=examples, test_examples=100
                )
                with timed_reports() as reports:
                    seconds[shows].append(run_epoch(settings, config))
                if shows:
                    shares.append(sum(reports) / seconds[shows][-1])
        on, off = (statistics.median(seconds[shows]) for shows in (True, False))
        each = {("on" if shows else "off"): [round(one, 2) for one in found] for shows, found in seconds.items()}
        share = f"live reports take {100 * statistics.median(shares):.2f} %"
        sys.stdout.write(f"{recipe}: on {on:.2f} s, off {off:.2f} s, {100 * (on / off - 1):+.2f} %; {share}; {each}\n")


@contextmanager
def timed_reports() -> Iterator[list[float]]:
    """Collect the seconds that each live report takes in the training thread."""
    taken: list[float] = []
    add = LiveReport.add_live

    def timed(report: LiveReport, progress: Progress) -> None:
        started = time.perf_counter()
        add(report, progress)
        taken.append(time.perf_counter() - started)

    with mock.patch.object(LiveReport, "add_live", timed):
        yield taken


def run_epoch(settings: WorkerSettings, config: TrainingConfig) -> float:
    """Run a job of one epoch in this process. Returns the seconds of the epoch."""
    job = ask_desk(settings.redis_url, lambda jobs: jobs.create(Order(config)))
    run_next_job(settings)
    return ask_desk(settings.redis_url, lambda jobs: jobs.get(job.id)).epochs[0].seconds


def write(consumer: JobConsumer, claim: Claim, over: threading.Event) -> None:
    """Report once a second as a worker does."""
    writer, batch = LiveWriter(consumer.redis), 0
    while not over.wait(1.0):
        batch += 2
        sample = Sample(0, 1, batch, PNG) if batch % 10 == 0 else None
        number = writer.add(claim, RecentLosses(1, batch, 600, 2, LOSS, LOSS), sample)
        at = Progress(epoch=1, epochs=2, batch=batch, batches=600, images_per_second=1, eta_seconds=1, live=number)
        consumer.report(claim, at)


async def follow(client: httpx2.AsyncClient, job: str, counts: list[int]) -> None:
    after = 0
    async with client.stream("GET", f"/jobs/{job}/events", timeout=None) as stream:
        async for line in stream.aiter_lines():
            if line.startswith("data: ") and (number := newest(json.loads(line[6:]))) > after:
                await asyncio.sleep(random.random() * SPREAD)
                live = (await client.get(f"/jobs/{job}/live?after={after}&limit=300")).json()
                after = live["newest"]
                counts.append(number)


def newest(data: dict[str, object]) -> int:
    progress = data.get("progress", data)
    return int(progress.get("live") or 0) if isinstance(progress, dict) else 0


async def follow_all(address: str, job: str, followers: int, seconds: float) -> int:
    """Follow a job many times. Returns the number of live answers."""
    counts: list[int] = []
    limits = httpx2.Limits(max_connections=None)
    async with httpx2.AsyncClient(base_url=address, limits=limits, timeout=30) as client:
        tasks = [asyncio.create_task(follow(client, job, counts)) for _ in range(followers)]
        await asyncio.sleep(seconds)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    return len(counts)


def follow_in_process(address: str, job: str, followers: int, seconds: float) -> None:
    sys.stdout.write(f"{asyncio.run(follow_all(address, job, followers, seconds))} live answers; ")
    sys.stdout.flush()


def probe(address: str, job: str, followers: int, seconds: float) -> list[float]:
    """Return the seconds that each request for `/livez` took, while another process follows the job."""
    process = multiprocessing.get_context("spawn").Process(
        target=follow_in_process, args=(address, job, followers, seconds + 8)
    )
    process.start()
    time.sleep(6)
    took, until = [], time.monotonic() + seconds
    with httpx2.Client(base_url=address, timeout=30) as client:
        while time.monotonic() < until:
            began = time.monotonic()
            client.get("/livez").raise_for_status()
            took.append(time.monotonic() - began)
            time.sleep(PAUSE)
    process.join()
    return took


def measure_followers(url: str, folder: Path, followers: int, seconds: float) -> None:
    accept(url, 1)
    consumer = JobConsumer.connect(url)
    claim = consumer.claim(3600.0)
    if claim is None:
        raise RuntimeError("no job is waiting")
    over = threading.Event()
    writer = threading.Thread(target=write, args=(consumer, claim, over))
    writer.start()
    try:
        with serving(url, folder) as server:
            took = probe(f"http://127.0.0.1:{server.port}", claim.job.id, followers, seconds)
    finally:
        over.set()
        writer.join()
        consumer.close()
    ms = sorted(1e3 * one for one in took)
    p50, p99 = ms[len(ms) // 2], ms[int(len(ms) * 0.99)]
    sys.stdout.write(
        f"{followers} followers, {len(ms)} probes: /livez p50 {p50:.1f} ms, p99 {p99:.1f} ms, max {ms[-1]:.1f} ms\n"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("part", choices=("epochs", "followers"))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--examples", type=int, default=6000)
    parser.add_argument("--followers", type=int, default=50)
    parser.add_argument("--seconds", type=float, default=20.0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, RedisServer(Path(folder)) as redis:
        if options.part == "epochs":
            measure_epochs(redis.url, Path(folder), options.rounds, options.examples)
        else:
            measure_followers(redis.url, Path(folder), options.followers, options.seconds)


if __name__ == "__main__":
    main()
