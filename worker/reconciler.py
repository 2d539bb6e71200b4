"""Recovers from lost messages, workers and responses within seconds: a thread in each Celery parent.

It queues jobs whose worker was lost, sends a message if jobs wait and no message is queued, and ends a worker that is
alive but receives no messages, or whose Redis may delete jobs.
"""

import logging
import os
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from math import ceil

from kombu.exceptions import OperationalError

from worker.jobs.consumer import JobConsumer
from worker.jobs.errors import StoreUnavailable
from worker.jobs.model import RunsOn, taken_by
from worker.jobs.redis_client import UnsafeRedisConfig
from worker.lifecycle.heartbeat import LEAST_SILENT_ROUNDS, START_SECONDS, Pulses
from worker.lifecycle.lease import EXIT_CODE
from worker.observability import metrics
from worker.observability.background_loops import STUCK_SECONDS, Beat, Supervisor
from worker.observability.loop_reports import LoopReporter

logger = logging.getLogger(__name__)

DEAF_ROUNDS = 4  # rounds in a row in which claimable jobs waited and messages were sent, but this worker was idle
UNSEEN_ROUNDS = 4  # rounds after which a worker that was not seen is removed from the list
MISTAKE = 2  # exit code of an error that the user can fix, as in every command


class Reconciler:
    """`notify_workers` notifies the workers that a job waits; `idle` returns whether this worker runs no job.

    `kind` is the kind of this worker, `cpu` or `gpu`. `begin` is called once, after the first round that succeeds, and
    again if it raises StoreUnavailable or OSError. `shut_down` ends this worker with an exit code, after it has handed
    its job back; `end_process` ends it at once.
    """

    def __init__(
        self,
        consumer: JobConsumer,
        notify_workers: Callable[[RunsOn], None],
        idle: Callable[[], bool],
        seconds: float,
        backoff_seconds: float,
        kind: RunsOn = "cpu",
        end_process: Callable[[int], None] = os._exit,
        lease_seconds: float = 30.0,
        children: Callable[[], Sequence[int]] = lambda: (),
        supervisor: Supervisor | None = None,
        begin: Callable[[JobConsumer], None] = lambda _consumer: None,
        shut_down: Callable[[int], None] = lambda _code: None,
    ) -> None:
        self.consumer = consumer
        self.begin = begin
        self.lease_seconds = lease_seconds
        self.pulses = Pulses(
            consumer,
            children,
            rounds=max(LEAST_SILENT_ROUNDS, ceil(lease_seconds / seconds)),
            start_rounds=max(LEAST_SILENT_ROUNDS, ceil(START_SECONDS / seconds)),
        )
        self.supervisor = supervisor or Supervisor()
        self.reporter = LoopReporter(consumer)
        self.notify_workers = notify_workers
        self.idle = idle
        self.seconds = seconds
        self.backoff_seconds = backoff_seconds
        self.kind = kind
        self.end_process = end_process
        self.shut_down = shut_down
        self.deaf_rounds = 0
        self.claims_seen = 0
        self._over = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        self._thread = self.supervisor.start_thread("reconciler", self._keep, STUCK_SECONDS + 2 * self.seconds)
        self.reporter.start(self.supervisor)

    def stop(self) -> None:
        self.reporter.stop()
        self._over.set()

    def join(self, seconds: float | None = None) -> None:
        if self._thread is not None:
            self._thread.join(seconds)

    def _keep(self, beat: Beat) -> None:
        lists_are_whole = has_begun = False
        logged = None
        while not self._over.is_set():
            trouble = None
            try:
                self.consumer.check_eviction()  # in each round: Redis may be another one since the last
                self.once()
                if not lists_are_whole:
                    self.rebuild_indexes()
                    lists_are_whole = True
                if not has_begun:
                    self.begin(self.consumer)
                    has_begun = True
            except UnsafeRedisConfig as error:
                logger.error("the worker ends: %s", error)
                self._over.set()
                self.shut_down(MISTAKE)
            except (StoreUnavailable, OperationalError, OSError) as error:
                self.deaf_rounds = 0
                lists_are_whole = False  # the next Redis may be another one, with data of an older version
                trouble = f"Redis: {error}"
                if trouble != logged:
                    logger.warning("Redis does not answer: %s", error)
            beat(trouble)
            logged = trouble
            self._over.wait(self.seconds)
        with suppress(StoreUnavailable):
            self.consumer.gone(self.kind)

    def once(self) -> None:
        """One round."""
        for job_id, became in self.consumer.reconcile(self.backoff_seconds, self.lease_seconds):
            if became != "due":
                metrics.tell(metrics.WORKERS_LOST)
            match became:
                case "queued":
                    metrics.tell(metrics.JOBS_REQUEUED)
                    logger.warning("job %s: its worker was lost; the job is queued again", job_id)
                case "due":
                    logger.info("job %s: its back-off is over; it is queued again", job_id)
                case _:
                    logger.error("job %s: its worker was lost; the job is %s", job_id, became)
        self.consumer.seen(self.kind, UNSEEN_ROUNDS * self.seconds)
        self.pulses.end_silent_children()
        takes = taken_by(self.kind)
        waiting = {runs_on: self.consumer.waiting(runs_on) for runs_on in takes}
        for runs_on, number in waiting.items():
            for _ in range(number - self.consumer.notifications(runs_on) if number else 0):
                self.notify_workers(runs_on)
        claims = self.consumer.claims()
        heard_nothing = (
            sum(waiting.values()) > 0
            and self.idle()
            and claims == self.claims_seen
            and self.consumer.can_claim(takes)  # a job that only another version understands is left alone
        )
        self.deaf_rounds = self.deaf_rounds + 1 if heard_nothing else 0
        self.claims_seen = claims
        if self.deaf_rounds > DEAF_ROUNDS:
            logger.error(
                "the worker is idle while jobs are queued and receives no Celery messages: "
                "exiting, so that the supervisor restarts it"
            )
            self._over.set()
            self.end_process(EXIT_CODE)

    def rebuild_indexes(self) -> None:
        if self.consumer.rebuild_indexes():
            logger.warning("the lists of jobs by status were incomplete and have been rebuilt")
