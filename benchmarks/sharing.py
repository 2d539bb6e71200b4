"""A generated data set by one worker and by two: python -m benchmarks.sharing [--rounds R] [--per-class N]

Each worker is pinned to one processor and draws with one thread. In every round, first one worker and then two make
the same data set. The seconds are those of the job record, from the claim to the end, after a warm-up. If other
programs use the processors too, compare the processor seconds.
"""

import argparse
import hashlib
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from app.server.embedded_redis import prepare
from benchmarks.processes import cpu_seconds, stop
from benchmarks.records import ask_desk
from models.config import TrainingConfig
from models.registry import bundled
from models.registry.store import CheckpointStore
from models.synthesis.order import MANIFEST, DatasetManifest, DatasetOrder
from worker.jobs.client import Order
from worker.jobs.model import ENDED, Job, JobStatus

CHECKPOINT = str(bundled.checkpoint())
WARM_UP = DatasetOrder(per_class=50, test_per_class=1, checkpoint=CHECKPOINT)
PATIENCE_SECONDS = 3600.0


@contextmanager
def started(command: list[str], env: dict[str, str], log: Path, processor: int | None = None) -> Iterator[int]:
    """Run a command. Yields its process id."""
    with log.open("ab") as output:
        process = subprocess.Popen(  # noqa: S603
            command, env={**os.environ, **env}, stdout=output, stderr=subprocess.STDOUT, start_new_session=True
        )
    if processor is not None:
        os.sched_setaffinity(process.pid, {processor})  # before it starts any child
    try:
        yield process.pid
    finally:
        stop(process)


def made(url: str, *orders: DatasetOrder) -> list[Job]:
    """Order data sets, wait until they are made, and return their job records."""
    jobs = [ask_desk(url, lambda jobs: jobs.create(Order(TrainingConfig(), dataset=order))) for order in orders]  # noqa: B023
    deadline = time.monotonic() + PATIENCE_SECONDS
    while any(job.status not in ENDED for job in jobs):
        if time.monotonic() > deadline:
            raise SystemExit("the data set was not made in time")
        time.sleep(0.2)
        jobs = [ask_desk(url, lambda jobs: jobs.get(job.id)) for job in jobs]  # noqa: B023
    return jobs


def measure(order: DatasetOrder, workers: int) -> tuple[float, float, str]:
    """Return the seconds that this number of workers takes, the processor seconds, and a checksum of all files."""
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        home, server = Path(folder) / "home", prepare(Path(folder) / "redis")
        env = {"ACGAN_HOME": str(home), "ACGAN_REDIS_URL": server.url, "ACGAN_DEVICE": "cpu", "OMP_NUM_THREADS": "1"}
        stack.enter_context(started(server.command, {}, Path(folder) / "redis.log"))
        time.sleep(1)
        command, log = [sys.executable, "-m", "app.cli", "worker"], Path(folder) / "worker.log"
        processors = sorted(os.sched_getaffinity(0))[:workers]
        pids = [stack.enter_context(started(command, env, log, processor)) for processor in processors]
        made(server.url, *[WARM_UP] * workers)
        before = sum(map(cpu_seconds, pids))
        (job,) = made(server.url, order)
        cpu = sum(map(cpu_seconds, pids)) - before
        if job.status != JobStatus.SUCCEEDED or job.started_at is None or job.ended_at is None:
            raise SystemExit(f"the data set is {job.status}: {job.error}\n{log.read_text()}")
        store = CheckpointStore(home / "checkpoints")
        manifest = DatasetManifest.model_validate_json(store.read_dataset(job.id, MANIFEST))
        sums = hashlib.sha256("".join(file.sha256 for file in manifest.files.values()).encode()).hexdigest()
        seconds = (job.ended_at - job.started_at).total_seconds()
        parts = sum(manifest.helpers.values())
        by_helpers = f"{parts} of {len(order.parts)} parts by helpers"
        print(f"{workers} worker(s): {seconds:.1f} s, {cpu:.1f} s of processor time, {by_helpers}", flush=True)  # noqa: T201
        return seconds, cpu, sums


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--per-class", type=int, default=6000)
    wanted = parser.parse_args()
    order = DatasetOrder(per_class=wanted.per_class, checkpoint=CHECKPOINT)
    rounds = [(measure(order, 1), measure(order, 2)) for _ in range(wanted.rounds)]
    one, two = (statistics.median(measured[which][0] for measured in rounds) for which in (0, 1))
    cpu = [statistics.median(measured[which][1] for measured in rounds) for which in (0, 1)]
    same = len({sums for measured in rounds for *_, sums in measured}) == 1
    print(f"{order.digits} digits, medians of {wanted.rounds}: {one:.1f} s by one worker, {two:.1f} s by two")  # noqa: T201
    print(f"processor time: {cpu[0]:.1f} s by one, {cpu[1]:.1f} s by two together")  # noqa: T201
    print(f"{one / two:.2f} times as fast; the files are {'the same' if same else 'NOT THE SAME'}")  # noqa: T201


if __name__ == "__main__":
    main()
