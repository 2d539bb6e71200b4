"""Numbers of jobs and workers for the metrics, and the states of the workers' background loops."""

from collections import Counter

import redis.asyncio

from worker.jobs.codec import present
from worker.jobs.keys import ACCEPTED, DELAYED, JOBS, LEASES, LOOPS, OUTBOX, WORKERS, queue_key
from worker.jobs.loop_states import summarize
from worker.jobs.model import RUNS_ON, Standing, accepted_at

LOOKED_AT = 1000  # how many waiting jobs are searched for the oldest


async def read_standing(client: "redis.asyncio.Redis") -> Standing:
    places = [queue_key(runs_on) for runs_on in RUNS_ON] + [DELAYED]
    async with client.pipeline(transaction=True) as pipeline:
        pipeline.time()
        pipeline.get(ACCEPTED)
        for ids in (JOBS, LEASES, OUTBOX, *places):
            pipeline.zcard(ids)
        pipeline.zrange(WORKERS, 0, -1, withscores=True)
        for ids in places:
            pipeline.zrange(ids, 0, LOOKED_AT - 1)
        (seconds, _), accepted, listed, running, undelivered, *counts = await pipeline.execute()
    (*ready, delayed), workers, waiting = counts[: len(places)], counts[len(places)], counts[len(places) + 1 :]
    accepted_times = (accepted_at(job_id) for ids in waiting for job_id in ids)
    oldest = min((time.timestamp() for time in accepted_times if time is not None), default=seconds)
    kinds = Counter(worker.partition(" ")[0] for worker in present(workers, seconds))
    return Standing(
        accepted=int(accepted or listed),
        ready=dict(zip(RUNS_ON, ready, strict=True)),
        delayed=delayed,
        running=running,
        undelivered=undelivered,
        oldest=max(0.0, seconds - oldest),
        workers={"cpu": kinds["cpu"], "gpu": kinds["gpu"]},
    )


async def read_worker_loops(client: "redis.asyncio.Redis") -> dict[str, str]:
    async with client.pipeline(transaction=True) as pipeline:
        pipeline.hgetall(LOOPS)
        pipeline.zrange(WORKERS, 0, -1, withscores=True)
        pipeline.time()
        reports, workers, (seconds, _) = await pipeline.execute()
    return summarize(reports, present(workers, seconds), seconds)
