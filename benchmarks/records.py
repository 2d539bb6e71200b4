"""Makes a hundred thousand job records: a thousand that JobClient accepts and JobConsumer runs, and copies of these."""

import asyncio
import random
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from datetime import UTC, datetime
from itertools import count as counting
from multiprocessing import get_context
from typing import Any, TypeVar

from benchmarks.redis_server import connect
from models.config import TrainingConfig
from models.records import EpochLosses, Loss, Progress, SplitLosses
from models.registry.store import CheckpointId
from worker.jobs import scripts
from worker.jobs.client import JobClient, Order
from worker.jobs.consumer import Claim, JobConsumer
from worker.jobs.keys import JOBS, SEQUENCE, job_key
from worker.jobs.model import EpochRecord, JobStatus

EPOCHS = 15
AT_ONCE = 16  # connections of a process that creates jobs
PROCESSES = 2
NO_BOUND = 10**9  # limit on waiting jobs
ORIGINALS = 1000  # jobs that are run; the others are copies
COPIED_AT_ONCE = 500
FAILED_EVERY = 1000  # so that listing failed jobs has to search far
WORDS = ("baseline", "wider batch", "another seed", "slower", "sharp, again", "before the weekend")

Answer = TypeVar("Answer")


def ask_desk(url: str, question: Callable[[JobClient], Coroutine[Any, Any, Answer]]) -> Answer:
    """Call a method of the API's job client, with connections that are closed afterwards."""

    async def answer() -> Answer:
        jobs = JobClient.connect(url)
        try:
            return await question(jobs)
        finally:
            await jobs.close()

    return asyncio.run(answer())


def recipe(chance: random.Random) -> TrainingConfig:
    name = f"{chance.choice(WORDS)} {chance.randrange(1000)}" if chance.random() < 0.5 else None
    return TrainingConfig(epochs=EPOCHS, seed=chance.randrange(2**31), name=name)


def epoch_record(job_id: str, epoch: int, chance: random.Random) -> EpochRecord:
    """Make an epoch's record with the same number of figures and digits as a real one."""

    def row() -> Loss:
        generation, auxiliary = 0.6 + chance.random(), 0.01 + chance.random() / 10
        return Loss(loss=generation + auxiliary, generation_loss=generation, auxiliary_loss=auxiliary)

    def split() -> SplitLosses:
        return SplitLosses(train=row(), test=row())

    names = ["label_accuracy", "label_accuracy_worst", "variety", "variety_least", "frechet_distance"]
    names += [f"{figure}_{label}" for label in range(10) for figure in ("label_accuracy", "variety")]
    names += [f"{name}_{end}" for name in names if not name.startswith("label_accuracy_") for end in ("low", "high")]
    names += [f"label_accuracy_worst_{end}" for end in ("low", "high")]
    names += ["judged_per_class", "frechet_distance_raw", "frechet_distance_averaged"]
    return EpochRecord(
        epoch=epoch,
        seconds=150 + 10 * chance.random(),
        losses=EpochLosses(generator=split(), discriminator=split()),
        checkpoint=str(CheckpointId(job_id, epoch)),
        metrics={name: round(0.9 + chance.random() / 10, 4) for name in names},
    )


def progress(epoch: int, batch: int) -> Progress:
    left = (EPOCHS - epoch + 1) * 156.25 - batch / 4
    pace = 468.75 + batch / 7
    return Progress(epoch=epoch, epochs=EPOCHS, batch=batch, batches=600, images_per_second=pace, eta_seconds=left)


# ----------------------------------------------------------------------------
# Accepting jobs as POST /train does.


def accept(url: str, count: int, seed: int = 0) -> None:
    """Submit this number of jobs, over several connections at a time."""
    recipes = [recipe(random.Random(f"{seed} {number}")) for number in range(count)]

    async def one_after_another(jobs: JobClient, left: Iterator[TrainingConfig]) -> None:
        for config in left:
            await jobs.create(Order(config))

    async def together() -> None:
        jobs, left = JobClient.connect(url, NO_BOUND), iter(recipes)
        try:
            await asyncio.gather(*(one_after_another(jobs, left) for _ in range(AT_ONCE)))
        finally:
            await jobs.close()

    asyncio.run(together())


# ----------------------------------------------------------------------------
# Running jobs as a worker does, except for progress within an epoch.


class ManyAtOnce(JobConsumer):
    """Collects the writes of a run in a pipeline, so that they are one message. It cannot claim."""

    def _still_ours(self, claim: Claim, status: str | None) -> JobStatus:
        return JobStatus.RUNNING  # the caller checks the pipeline's results


def run_through(consumer: ManyAtOnce, claim: Claim, chance: random.Random) -> None:
    settled = claim.job.config.model_copy(update={"precision": "bf16"})
    consumer.record_runtime(claim, settled, "cpu (2 threads)")
    for epoch in range(1, EPOCHS + 1):
        consumer.add_epoch(claim, epoch_record(claim.job.id, epoch, chance))
    consumer.saved(claim, EPOCHS, 600)
    consumer.report(claim, progress(EPOCHS, 600))
    claim.reported.clear()  # nothing was lost, so nothing is reported again
    if claim.fence % FAILED_EVERY == 0:
        consumer.finish(claim, JobStatus.FAILED, "the losses are no longer finite: the run has diverged")
    else:
        consumer.finish(claim, JobStatus.SUCCEEDED)


def run_all(url: str, count: int) -> int:
    """Run up to `count` waiting jobs, each with all its epochs. Returns their number."""
    turns = counting()

    def one_after_another(_: int) -> int:
        done = 0
        with connect(url) as client, client.pipeline(transaction=False) as pipeline:
            claims, writes = JobConsumer(client), ManyAtOnce(pipeline)
            while next(turns) < count and (claim := claims.claim(600.0)):
                run_through(writes, claim, random.Random(claim.fence))
                if None in pipeline.execute():
                    raise RuntimeError(f"job {claim.job.id} was lost while its record was written")
                done += 1
        return done

    with ThreadPoolExecutor(AT_ONCE) as threads:
        return sum(threads.map(one_after_another, range(AT_ONCE)))


# ----------------------------------------------------------------------------
# Copying inside Redis: each copy is a separate record with a new id, in every list that has the original.

# ARGV: position before the first copy, prefix of the copies' ids, number of lists, the lists, ids to copy.
COPY = """
local lists = tonumber(ARGV[3])
for n = 4 + lists, #ARGV do
  local place = ARGV[1] + n - 3 - lists
  local copy = ARGV[2] .. string.format('%06x', place)
  local original, record = JOB_PREFIX .. ARGV[n], JOB_PREFIX .. copy
  redis.call('COPY', original, record)
  redis.call('COPY', original .. EPOCHS_SUFFIX, record .. EPOCHS_SUFFIX)
  for l = 4, 3 + lists do
    if redis.call('ZSCORE', ARGV[l], ARGV[n]) then redis.call('ZADD', ARGV[l], place, copy) end
  end
end
"""


def multiply(url: str, count: int, originals: list[str]) -> None:
    """Make `count` copies of these jobs, in turn. They name the checkpoints of the originals."""
    with connect(url) as client:
        copy = client.register_script(scripts.prelude() + COPY)
        lists = [key for key in client.scan_iter("acgan:*", _type="zset") if not key.startswith(job_key(""))]
        (seconds, _) = client.time()
        begin = f"{datetime.fromtimestamp(seconds, UTC):%Y%m%d-%H%M%S}-"  # ids of the older form, numbered by Lua
        for done in range(0, count, COPIED_AT_ONCE):
            many = min(COPIED_AT_ONCE, count - done)
            last = client.incrby(SEQUENCE, many)
            ids = [originals[(done + n) % len(originals)] for n in range(many)]
            copy(args=[last - many, begin, len(lists), *lists, *ids])


def fill(url: str, count: int) -> int:
    """Make `count` ended jobs. Returns how many of them were run."""
    run = min(count, ORIGINALS)
    shares = [run // PROCESSES + (n < run % PROCESSES) for n in range(PROCESSES)]
    with ProcessPoolExecutor(PROCESSES, mp_context=get_context("spawn")) as pool:
        list(pool.map(accept, [url] * PROCESSES, shares, range(PROCESSES)))
        if sum(pool.map(run_all, [url] * PROCESSES, shares)) != run:
            raise RuntimeError("not every job was created")
    with connect(url) as client:
        multiply(url, count - run, client.zrange(JOBS, 0, -1))
    return run
