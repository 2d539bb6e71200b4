"""The Celery app. A message carries no job, it only notifies workers: a lost or duplicate one does no harm."""

from collections.abc import Sequence

from celery import Celery

from worker.jobs.keys import CELERY_PREFIX, queue_name
from worker.jobs.model import RUNS_ON, RunsOn
from worker.settings import WorkerSettings, celery_address

TRAIN = "acgan.train"


def make_celery(settings: WorkerSettings) -> Celery:
    celery = Celery("acgan", broker=celery_address(settings.redis_url), include=["worker.tasks"])
    celery.conf.update(
        task_default_queue=queue_name("any"),
        task_queues={queue_name(runs_on): {} for runs_on in RUNS_ON},
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
            "socket_timeout": 10.0,
            "socket_connect_timeout": 2.0,
            "socket_keepalive": True,
            "health_check_interval": 10,
        },
    )
    return celery


def listen_for(celery: Celery, takes: Sequence[RunsOn]) -> None:
    """Let the worker of this process read the queues of these kinds of jobs only."""
    celery.amqp.queues.select([queue_name(runs_on) for runs_on in takes])


def notify_workers(celery: Celery, runs_on: RunsOn = "any") -> None:
    """Notify the workers that a job waits. Raises kombu's OperationalError if Redis is unavailable."""
    once_more = {"max_retries": 1, "interval_start": 0.0}  # a connection from before Redis' restart fails once
    celery.send_task(TRAIN, queue=queue_name(runs_on), retry=True, retry_policy=once_more)
