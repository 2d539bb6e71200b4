"""Reports one run to all configured trackers, for as long as it trains."""

import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial

import numpy as np

from models.records import EpochResult
from models.torch_device import describe
from models.training.trainer import Trainer
from models.version import code_version
from worker.observability.background_loops import Supervisor
from worker.tracker_catalog import load_tracker
from worker.tracking.sender import Shortfall, TrackerSender
from worker.tracking.tracker import UNFINISHED, Outcome, TrackedEpoch, TrackedRun, Tracker, TrackingTarget, figures_of

FLUSH_SECONDS = 10.0  # at the end of a run, for all trackers together
STOPPED_FLUSH_SECONDS = 2.0  # if the process is about to end, or another one has the run: `acgan up` kills after 7 s


class TrackingSession:
    """Context manager around the training. Without trackers it does nothing, and no method waits or raises.

    The exit gives the trackers a few seconds to receive what waits, and calls `warn` for each tracker that does
    not have everything.
    """

    def __init__(
        self,
        trackers: Sequence[str],
        run_id: str,
        trainer: Trainer,
        target: TrackingTarget,
        warn: Callable[[Shortfall], None],
        outcomes: Mapping[type[BaseException], Outcome],
    ) -> None:
        """`outcomes` names how a run ended if one of these exceptions ends it; any other one means `failed`."""
        self.trainer = trainer
        self.warn = warn
        self.outcomes = outcomes
        self.supervisor = Supervisor()
        run = describe_run(run_id, trainer)
        self.senders = [
            TrackerSender(name, partial(connect, name, run, target), trainer.epoch, self.supervisor)
            for name in trackers
        ]

    def __enter__(self) -> "TrackingSession":
        return self

    def __exit__(self, _type: object, error: BaseException | None, _traceback: object) -> None:
        outcome: Outcome = "succeeded"
        if error is not None:
            outcome = next((each for kind, each in self.outcomes.items() if isinstance(error, kind)), "failed")
        is_urgent = outcome in UNFINISHED
        deadline = time.monotonic() + (STOPPED_FLUSH_SECONDS if is_urgent else FLUSH_SECONDS)
        for sender in self.senders:
            sender.end(outcome)
        for missing in [sender.join(deadline) for sender in self.senders]:
            if missing is not None:
                self.warn(missing)
        self.supervisor.stop()

    def report(self, result: EpochResult, metrics: Mapping[str, float], picture: np.ndarray) -> None:
        """Send an epoch's figures and its picture, uint8 (height, width), in the background."""
        if self.senders:
            images = self.trainer.batches * self.trainer.config.batch_size
            figures = figures_of(result, metrics, self.trainer.learning_rate(result.epoch), images)
            for sender in self.senders:
                sender.put(TrackedEpoch(result.epoch, figures, picture))


def describe_run(run_id: str, trainer: Trainer) -> TrackedRun:
    """Describe a run for trackers: its configuration, and tags for the job, the version, the device and the data."""
    tags = {
        "job": run_id,
        "version": code_version(),
        "device": describe(trainer.device),
        "dataset_checksum": trainer.dataset.checksum,
    }
    config = trainer.config.model_dump(exclude={"name"}, exclude_none=True)
    name = trainer.config.name
    return TrackedRun(run_id, name or run_id, config, tags | ({"name": name} if name else {}))


def connect(name: str, run: TrackedRun, target: TrackingTarget, first_epoch: int) -> Tracker:
    tracker: Tracker = load_tracker(name)(run, target, first_epoch)
    return tracker
