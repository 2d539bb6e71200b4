"""Heartbeats of training processes: a thread in each reports to Redis, and its parent process checks the reports.

A process that was stopped (SIGSTOP), or hangs as a whole, occupies the worker's only slot for a job and renews no
lease. By the time its parent ends it, its lease has expired and another process can take the job.
"""

import logging
import os
import signal
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

from worker.jobs.consumer import JobConsumer, process_name
from worker.jobs.errors import StoreUnavailable
from worker.jobs.loop_states import encode
from worker.observability.background_loops import Beat, Supervisor
from worker.observability.loop_reports import LoopReporter

logger = logging.getLogger(__name__)

PULSE_SECONDS = 1.0
START_SECONDS = 300.0  # until the first report of a process
LEAST_SILENT_ROUNDS = 3  # if the parent itself was stopped, the child's old heartbeat is no reason to end it


def start_pulse(consumer: JobConsumer, seconds: float = PULSE_SECONDS) -> Supervisor:
    """In the training process: send a heartbeat and the states of its background loops to Redis every second.

    The heartbeats end when the supervisor that is returned is stopped.
    """
    reporter = LoopReporter(consumer)
    supervisor = Supervisor()

    def run(beat: Beat) -> None:
        while not supervisor.wait(seconds):
            beat()
            with suppress(StoreUnavailable):
                consumer.pulse(encode(reporter.states()))

    supervisor.start_thread("pulse", run)
    return supervisor


def is_alive(pid: int) -> bool:
    """Whether a process of this machine is alive. One of another user counts as alive, a zombie does not."""
    with suppress(OSError, IndexError):
        if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] in "ZX":
            return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def kill(pid: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


class Seen(NamedTuple):
    """What the checks have found of one process."""

    pulse: float | None  # last heartbeat, in seconds by Redis' clock
    silent: int = 0  # number of checks in a row that found it unchanged
    has_reported: bool = False  # whether it has changed since the first check


class Pulses:
    """Ends training processes of this worker that have sent no heartbeat to Redis for `rounds` checks in a row.

    A process that has not sent one yet has more time: `start_rounds`. A heartbeat that the first check finds may be of
    an earlier process of the same name, as after the restart of a container, and does not count. A process that still
    renews the lease of a job is not ended, because then only its heartbeats fail. If Redis has lost a heartbeat, the
    heartbeat counts as unchanged. Checks during which Redis is unavailable do not count.
    """

    def __init__(
        self,
        consumer: JobConsumer,
        children: Callable[[], Sequence[int]],
        rounds: int,
        start_rounds: int = 1000,
        end: Callable[[int], None] = kill,
    ) -> None:
        self.consumer = consumer
        self.children = children
        self.rounds = rounds
        self.start_rounds = start_rounds
        self.end = end
        self._last: dict[int, Seen] = {}  # by process id

    def end_silent_children(self) -> None:
        """Check once. Raises StoreUnavailable."""
        pulses = {pid: self.consumer.last_pulse(process_name(pid)) for pid in self.children()}
        seen: dict[int, Seen] = {}
        for pid, pulse in pulses.items():
            before = self._last.get(pid)
            if before is None:
                seen[pid] = Seen(pulse)
            elif pulse in (before.pulse, None):
                seen[pid] = before._replace(silent=before.silent + 1)
            else:
                seen[pid] = Seen(pulse, has_reported=True)
            rounds = self.rounds if seen[pid].has_reported else self.start_rounds
            if seen[pid].silent >= rounds and process_name(pid) not in self.consumer.held_by(os.getpid()).values():
                logger.error("training process %d does not respond: ending it; a new one replaces it", pid)
                self.end(pid)
                del seen[pid]
        self._last = seen
