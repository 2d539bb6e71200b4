"""What the worker process runs: `celery -A worker.tasks worker`, or `acgan worker`."""

from functools import partial

from celery.signals import worker_process_init, worker_ready, worker_shutting_down
from celery.worker import state

from worker import interruption
from worker.bench import JobBench
from worker.queue import TRAIN, knock, make_celery
from worker.reconciler import Reconciler
from worker.settings import WorkerSettings

settings = WorkerSettings()
celery = make_celery(settings)


@celery.task(name=TRAIN)  # type: ignore[untyped-decorator]
def train() -> None:
    """Run the job that has waited longest, if one waits; where it is handed back, tell the other workers."""
    from worker.training import run_next_job  # here, so that the parent process stays free of torch

    if run_next_job(settings):
        knock(celery)


reconciler = Reconciler(
    JobBench.connect(settings.redis_url),
    knock=partial(knock, celery),
    idle=lambda: not state.active_requests,
    seconds=settings.reconcile_seconds,
    backoff_seconds=settings.backoff_seconds,
)


@worker_ready.connect  # type: ignore[untyped-decorator]
def begin_to_reconcile(**_: object) -> None:
    reconciler.start()


@worker_process_init.connect  # type: ignore[untyped-decorator]
def listen_for_the_end(**_: object) -> None:
    interruption.listen()


@worker_shutting_down.connect  # type: ignore[untyped-decorator]
def hand_the_job_back(**_: object) -> None:
    reconciler.stop()
    interruption.pass_on()
