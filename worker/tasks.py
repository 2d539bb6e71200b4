"""What the worker process runs: `celery -A worker.tasks worker`, or `acgan worker`."""

import logging

from celery.signals import worker_process_init, worker_ready, worker_shutting_down

from worker import interruption
from worker.queue import TRAIN, knock, make_celery
from worker.settings import WorkerSettings
from worker.store import JobBench

settings = WorkerSettings()
celery = make_celery(settings)
logger = logging.getLogger(__name__)


@celery.task(name=TRAIN)  # type: ignore[untyped-decorator]
def train() -> None:
    """Run the job that has waited longest, if one waits; where it is handed back, tell the other workers."""
    from worker.training import run_next_job  # here, so that the parent process stays free of torch

    if run_next_job(settings):
        knock(celery)


@worker_ready.connect  # type: ignore[untyped-decorator]
def knock_for_those_that_wait(**_: object) -> None:
    """Jobs handed back by a worker that was stopped have no message: knock once for each."""
    bench = JobBench.connect(settings.redis_url)
    try:
        for _job in range(bench.waiting()):
            knock(celery)
    finally:
        bench.close()


@worker_process_init.connect  # type: ignore[untyped-decorator]
def listen_for_the_end(**_: object) -> None:
    interruption.listen()


@worker_shutting_down.connect  # type: ignore[untyped-decorator]
def hand_the_job_back(**_: object) -> None:
    interruption.pass_on()
