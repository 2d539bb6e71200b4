"""The Celery app. Lost and duplicate messages of both kinds do no harm.

`train` carries no job, it only notifies workers that one waits. `draw_shard` asks a worker for one part of a data set;
a worker receives it only if no message of the first kind waits.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

from celery import Celery

from models.synthesis.order import Provenance
from worker.jobs.keys import CELERY_PREFIX, queue_name, shard_queue_name
from worker.jobs.model import KINDS_OF_WORKERS, RUNS_ON, RunsOn, kind_of, taken_by
from worker.redis_address import celery_address
from worker.settings import WorkerSettings

TRAIN = "acgan.train"
DRAW_SHARD = "acgan.draw_shard"


class ShardMessage(NamedTuple):
    """A request to draw one part of a data set. A worker that would draw other bytes ignores it."""

    job: str
    number: int  # of the part in the order, from 0
    fence: int  # token of the owner's claim
    generator_sha256: str
    code_version: str
    device_type: str  # `cpu` or `cuda`

    @property
    def origin(self) -> Provenance:
        return Provenance(
            generator_sha256=self.generator_sha256, device=self.device_type, code_version=self.code_version
        )


SendShard = Callable[[ShardMessage], None]


def make_celery(settings: WorkerSettings) -> Celery:
    celery = Celery("acgan", broker=celery_address(settings.redis_url), include=["worker.tasks"])
    celery.conf.update(
        task_default_queue=queue_name("any"),
        task_queues={name: {} for name in [*map(queue_name, RUNS_ON), *map(shard_queue_name, KINDS_OF_WORKERS)]},
        task_ignore_result=True,  # results are in the job's record
        task_serializer="json",
        accept_content=["json"],
        task_acks_late=False,
        worker_concurrency=1,  # one training at a time: it uses the whole machine
        worker_pool_start_method="spawn",  # CUDA and OpenMP do not survive a fork
        worker_prefetch_multiplier=1,
        worker_disable_prefetch=True,  # a busy worker must not reserve messages that an idle one could process
        worker_hijack_root_logger=False,
        worker_send_task_events=False,
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        broker_transport_options={
            "global_keyprefix": CELERY_PREFIX,
            "queue_order_strategy": "priority",  # that of `listen_for`
            "socket_timeout": 10.0,
            "socket_connect_timeout": 2.0,
            "socket_keepalive": True,
            "health_check_interval": 10,
        },
    )
    return celery


def listen_for(celery: Celery, kind: RunsOn) -> None:
    """Let the worker of this process read the queues of its kind, `cpu` or `gpu`: notifications before shards."""
    celery.amqp.queues.select([*map(queue_name, taken_by(kind)), shard_queue_name(kind)])


def notify_workers(celery: Celery, runs_on: RunsOn = "any") -> None:
    """Notify the workers that a job waits. Raises kombu's OperationalError if Redis is unavailable."""
    _send(celery, TRAIN, queue_name(runs_on))


def send_shard(celery: Celery, shard: ShardMessage, headers: dict[str, str] | None = None) -> None:
    """Ask workers with the device type of its owner to draw a shard. Raises OperationalError as `notify_workers`."""
    _send(celery, DRAW_SHARD, shard_queue_name(kind_of(shard.device_type)), shard._asdict(), headers)


def _send(
    celery: Celery,
    task: str,
    queue: str,
    arguments: dict[str, Any] | None = None,
    headers: dict[str, str] | None = None,
) -> None:
    once_more = {"max_retries": 1, "interval_start": 0.0}  # a connection from before Redis' restart fails once
    celery.send_task(task, kwargs=arguments, queue=queue, headers=headers, retry=True, retry_policy=once_more)
