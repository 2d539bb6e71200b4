"""Reports the background loops of a worker process to Redis, for the API (worker/jobs/loop_states.py)."""

import logging
import threading
from collections.abc import Callable

from worker.jobs.consumer import JobConsumer
from worker.jobs.errors import StoreUnavailable
from worker.jobs.loop_states import REPORTER, RUNNING, encode
from worker.observability.background_loops import Beat, Supervisor, report_process

logger = logging.getLogger(__name__)

REPORT_SECONDS = 5.0


class LoopReporter:
    """Reports the loops of this process to Redis, and logs once when one of them is stuck."""

    def __init__(
        self,
        consumer: JobConsumer,
        seconds: float = REPORT_SECONDS,
        report: Callable[[], dict[str, str]] = report_process,
    ) -> None:
        self.consumer = consumer
        self.seconds = seconds
        self.report = report
        self.troubled: set[str] = set()
        self._over = threading.Event()

    def start(self, supervisor: Supervisor) -> None:
        supervisor.start_thread(REPORTER, self._keep)

    def stop(self) -> None:
        self._over.set()

    def _keep(self, beat: Beat) -> None:
        while not self._over.wait(self.seconds):
            beat()
            try:
                self.once()
            except StoreUnavailable as error:
                beat(f"Redis: {error}")

    def once(self) -> None:
        """Report once. Raises StoreUnavailable."""
        self.consumer.report_loops(encode(self.states()))

    def states(self) -> dict[str, str]:
        states = self.report()
        troubled = {name for name, state in states.items() if state != RUNNING}
        for name in troubled - self.troubled:
            logger.error("background loop %r: %s", name, states[name])
        self.troubled = troubled
        return states
