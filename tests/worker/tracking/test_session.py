"""The end of a tracked run: which outcome trackers record, and for how long they may delay it."""

import threading
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import torch

from models.config import TrainingConfig
from models.data.dataset import Dataset
from models.training.trainer import Trainer
from worker.handlers.training import OUTCOMES
from worker.jobs.consumer import LeaseLost
from worker.lifecycle import shutdown
from worker.lifecycle.lease import Cancelled
from worker.tracker_catalog import TRACKERS, TrackerEntry
from worker.tracking import session
from worker.tracking.sender import Shortfall
from worker.tracking.session import TrackingSession
from worker.tracking.tracker import Outcome, TrackedEpoch, TrackedRun, TrackingTarget


class Recorder:
    """A tracker whose connection waits for the gate, and that keeps runs and outcomes."""

    gate: ClassVar = threading.Event()
    runs: ClassVar[list[TrackedRun]] = []
    outcomes: ClassVar[list[Outcome]] = []

    def __init__(self, run: TrackedRun, target: TrackingTarget, first_epoch: int) -> None:
        self.gate.wait()
        self.runs.append(run)

    def send_figures(self, epoch: TrackedEpoch) -> None:
        raise AssertionError("no epoch has ended")

    def send_picture(self, epoch: int, picture: np.ndarray) -> None:
        raise AssertionError("no epoch has ended")

    def end(self, outcome: Outcome) -> None:
        self.outcomes.append(outcome)


@pytest.fixture(scope="module")
def trainer(config: TrainingConfig, dataset: Dataset) -> Trainer:
    return Trainer(config, dataset, torch.device("cpu"))


@pytest.fixture
def recorder(monkeypatch: pytest.MonkeyPatch) -> type[Recorder]:
    monkeypatch.setitem(TRACKERS, "recorder", TrackerEntry("json", __name__, "Recorder"))
    Recorder.gate.set()
    Recorder.runs.clear()
    Recorder.outcomes.clear()
    return Recorder


def end_with(error: BaseException | None, trainer: Trainer) -> list[Shortfall]:
    missing: list[Shortfall] = []
    target = TrackingTarget(Path(), "")
    tracking = TrackingSession(["recorder"], "job", trainer, target, missing.append, OUTCOMES)
    if error is None:
        with tracking:
            pass
    else:
        with pytest.raises(type(error)), tracking:
            raise error
    return missing


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (None, "succeeded"),
        (shutdown.Interrupted(), "stopped"),
        (Cancelled(), "cancelled"),
        (LeaseLost("job"), "unknown"),
        (OSError("disk"), "failed"),
    ],
    ids=repr,
)
def test_trackers_record_how_the_run_ended(
    error: BaseException | None,
    outcome: Outcome,
    trainer: Trainer,
    recorder: type[Recorder],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for limit in ("FLUSH_SECONDS", "STOPPED_FLUSH_SECONDS"):
        monkeypatch.setattr(session, limit, 60.0)  # a busy machine may need longer than the limit of a service
    assert end_with(error, trainer) == []
    assert recorder.outcomes == [outcome]
    (run,) = recorder.runs
    assert (run.id, run.name, run.tags["job"]) == ("job", "job", "job")
    assert run.parameters == trainer.config.model_dump(exclude_none=True)
    assert run.parameters["precision"] != "auto"


@pytest.mark.parametrize("error", [shutdown.Interrupted(), LeaseLost("job")], ids=repr)
def test_a_tracker_that_hangs_does_not_delay_a_process_that_ends(
    error: BaseException,
    trainer: Trainer,
    recorder: type[Recorder],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A wait of FLUSH_SECONDS would exceed the time limit of the test."""
    monkeypatch.setattr(session, "FLUSH_SECONDS", 10_000.0)
    monkeypatch.setattr(session, "STOPPED_FLUSH_SECONDS", 0.05)
    recorder.gate.clear()
    caplog.set_level("INFO")
    assert end_with(error, trainer) == []
    recorder.gate.set()
    assert "the tracker recorder did not record the end of the run: it does not respond" in caplog.messages
