"""The ids of the jobs that have not ended: what they need of the store may not be deleted."""

import redis
import redis.asyncio

from worker.jobs import ENDED, JobStatus
from worker.keys import index_key


def index_keys() -> list[str]:
    """The lists of runs and of data sets in each state that is not an end."""
    open_states = [status for status in JobStatus if status not in ENDED]
    return [index_key(datasets, status) for datasets in (False, True) for status in open_states]


def unfinished(client: "redis.Redis") -> set[str]:
    """Raises redis.RedisError."""
    with client.pipeline(transaction=True) as pipeline:
        for key in index_keys():
            pipeline.zrange(key, 0, -1)
        return {str(job_id) for found in pipeline.execute() for job_id in found}


async def read_unfinished(client: "redis.asyncio.Redis") -> set[str]:
    """Raises redis.RedisError."""
    async with client.pipeline(transaction=True) as pipeline:
        for key in index_keys():
            pipeline.zrange(key, 0, -1)
        return {str(job_id) for found in await pipeline.execute() for job_id in found}
