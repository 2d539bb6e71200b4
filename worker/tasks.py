"""Entry point of the worker process: `celery -A worker.tasks worker`, or `acgan worker`."""

import logging
import os
import sys
from functools import partial
from typing import Any

import billiard
from billiard.exceptions import WorkerLostError
from celery import current_app, current_task
from celery.signals import (
    celeryd_after_setup,
    celeryd_init,
    setup_logging,
    task_failure,
    worker_process_init,
    worker_process_shutdown,
    worker_ready,
    worker_shutting_down,
)
from celery.worker import state
from kombu.exceptions import OperationalError

from models.devices import DeviceUnavailable, settle_device
from worker.celery_app import DRAW_SHARD, TRAIN, ShardMessage, listen_for, make_celery, notify_workers, send_shard
from worker.jobs.consumer import JobConsumer
from worker.jobs.errors import StoreUnavailable
from worker.jobs.model import kind_of
from worker.lifecycle import shutdown
from worker.lifecycle.heartbeat import is_alive, start_pulse
from worker.lifecycle.lease import STALLED_SECONDS
from worker.lifecycle.workshops import clear_workshops
from worker.observability import exporter, log_config, metrics, tracing
from worker.observability.metrics_channel import NAME as LINE
from worker.observability.metrics_channel import Sender
from worker.reconciler import MISTAKE, Reconciler
from worker.settings import WorkerSettings
from worker.tracker_catalog import TrackerMissing, require_libraries
from worker.webhooks.sender import WebhookSender

logger = logging.getLogger(__name__)

settings = WorkerSettings()
celery = make_celery(settings)


class Worker(celery.Worker):  # type: ignore[misc, name-defined]
    def start(self) -> None:
        """Run until the end. Ends the process with the exit code, because `worker_main` ignores it."""
        super().start()
        if self.exitcode:
            sys.exit(self.exitcode)

    def install_platform_tweaks(self, worker: Any) -> None:
        """Set Celery's signal handlers, except its restart on SIGHUP."""
        super().install_platform_tweaks(worker)
        shutdown.handle_one_signal_at_a_time()


celery.Worker = Worker


@celery.task(name=TRAIN)  # type: ignore[untyped-decorator]
def train() -> None:
    """Run the next job. If the job is handed back, notify the other workers."""
    from worker.runner import run_next_job  # here, so that the parent process does not import torch

    if (handed_back := run_next_job(settings, ask_to_draw)) is not None:
        notify_workers(celery, handed_back.runs_on)


def ask_to_draw(shard: ShardMessage) -> None:
    """Raises OperationalError."""
    send_shard(celery, shard, tracing.headers())


@celery.task(name=DRAW_SHARD, time_limit=STALLED_SECONDS)  # type: ignore[untyped-decorator]
def draw_shard(**shard: Any) -> None:
    """Draw one part of a data set that another worker makes. If drawing hangs, Celery replaces the process."""
    from worker.handlers import shards  # here, so that the parent process does not import torch

    if shard.keys() >= set(ShardMessage._fields):  # else another version sent it
        message = ShardMessage(**{name: shard[name] for name in ShardMessage._fields})
        shards.draw_shard(settings, message, str(current_task.request.get(tracing.TRACEPARENT) or ""))


def shut_down(code: int) -> None:
    """End this worker with an exit code, and hand its job back first, as after SIGTERM."""
    hand_the_job_back()
    state.should_stop = code


reconciler = Reconciler(
    JobConsumer.connect(settings.redis_url),
    notify_workers=partial(notify_workers, celery),
    idle=lambda: not state.reserved_requests,  # includes running ones: a child takes time to start
    seconds=settings.reconcile_seconds,
    backoff_seconds=settings.backoff_seconds,
    lease_seconds=settings.lease_seconds,
    children=shutdown.children,
    begin=partial(clear_workshops, settings),
    shut_down=shut_down,
)
webhooks = WebhookSender.of(settings)


@celeryd_init.connect  # type: ignore[untyped-decorator]
def settle_what_it_takes(**_: object) -> None:
    """Determine the device and the queues. A worker without its configured device or trackers does not start."""
    try:
        device = settle_device(settings.device)
        require_libraries(settings.trackers)
    except (DeviceUnavailable, TrackerMissing) as error:
        sys.stderr.write(f"error: {error}\n")
        sys.exit(MISTAKE)
    os.environ["ACGAN_DEVICE"] = device  # the training process reads it
    reconciler.kind = kind_of(device)
    listen_for(celery, reconciler.kind)


@setup_logging.connect  # type: ignore[untyped-decorator]
def log_as_we_do(**_: object) -> None:
    log_config.configure(settings)
    billiard.get_logger().propagate = True


@celeryd_after_setup.connect  # type: ignore[untyped-decorator]
def begin(**_: object) -> None:
    os.environ["_MP_FORK_LOGLEVEL_"] = ""  # otherwise the training process first logs in billiard's format
    shutdown.keep_requests()
    metrics.BUSY.set_function(lambda: len(state.active_requests))
    if settings.metrics_port:
        line = exporter.export(settings.metrics_host, settings.metrics_port, reconciler.supervisor)
        celery.conf[LINE] = line  # billiard pickles the configuration for each training process


@task_failure.connect  # type: ignore[untyped-decorator]
def count_the_lost(exception: BaseException | None = None, **_: object) -> None:
    """In the parent: count a training process that was killed, since it cannot report this itself."""
    if isinstance(exception, WorkerLostError):
        metrics.tell(metrics.PROCESSES_LOST)
        for gauge in (metrics.IMAGES_PER_SECOND, metrics.WAITS_FOR_STORAGE):
            metrics.tell(gauge, 0)
        release_ended()


def release_ended() -> None:
    """Queue the job of a training process that has ended at once, without waiting for its lease to expire."""
    try:
        if released := reconciler.consumer.release_ended(os.getpid(), is_alive):
            logger.warning("job %s: its training process has ended unexpectedly", ", ".join(released))
            reconciler.once()
    except (StoreUnavailable, OperationalError) as error:
        logger.warning("the lease of a lost training process cannot be released and stays until it expires: %s", error)


@worker_ready.connect  # type: ignore[untyped-decorator]
def begin_to_reconcile(**_: object) -> None:
    reconciler.start()
    if webhooks is not None:
        webhooks.start(reconciler.supervisor)


@worker_process_init.connect  # type: ignore[untyped-decorator]
def listen_for_the_end(**_: object) -> None:
    shutdown.listen()
    tracing.start(settings, "acgan-worker")
    start_pulse(JobConsumer.connect(settings.redis_url))
    if isinstance(sender := current_app.conf.get(LINE), Sender):
        metrics.speak_to_parent(sender)


@worker_process_shutdown.connect  # type: ignore[untyped-decorator]
def export_the_last_spans(**_: object) -> None:
    tracing.stop()


@worker_shutting_down.connect  # type: ignore[untyped-decorator]
def hand_the_job_back(**_: object) -> None:
    shutdown.pass_on()  # first: the training process needs the time
    reconciler.stop()
    if webhooks is not None:
        webhooks.stop()
