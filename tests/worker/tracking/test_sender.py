"""The queue in front of a tracker: what waits, what is dropped, and what is reported at the end."""

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from tests.worker.conftest import until
from worker.observability.background_loops import Supervisor
from worker.tracker_catalog import TRACKERS, TrackerMissing, read_trackers, require_libraries
from worker.tracking import sender as sender_module
from worker.tracking.sender import PICTURES, TrackerSender
from worker.tracking.tracker import Outcome, TrackedEpoch

PICTURE = np.zeros((2, 2), np.uint8)


class Recorded:
    """A tracker in memory: fails `failures` times, refuses pictures on request, and waits at the gate."""

    def __init__(self) -> None:
        self.gate = threading.Event()
        self.gate.set()
        self.is_ending = threading.Event()
        self.is_ending.set()
        self.failures = 0
        self.takes_pictures = True
        self.firsts: list[int] = []
        self.figures: list[int] = []
        self.pictures: list[int] = []
        self.ended: list[Outcome] = []

    def connect(self, first_epoch: int) -> "Recorded":
        self.gate.wait()
        self.firsts.append(first_epoch)
        return self

    def send_figures(self, epoch: TrackedEpoch) -> None:
        if self.failures > 0:
            self.failures -= 1
            try:
                raise ConnectionError("http://me:secret@host is down")
            except ConnectionError as error:
                raise RuntimeError("a request failed") from error
        self.figures.append(epoch.epoch)

    def send_picture(self, epoch: int, picture: np.ndarray) -> None:
        if not self.takes_pictures:
            raise PermissionError("no")
        self.pictures.append(epoch)

    def end(self, outcome: Outcome) -> None:
        self.is_ending.wait()
        self.ended.append(outcome)


@pytest.fixture
def supervisor(monkeypatch: pytest.MonkeyPatch) -> Iterator[Supervisor]:
    monkeypatch.setattr(sender_module, "FIRST_PAUSE_SECONDS", 0.01)
    supervisor = Supervisor()
    yield supervisor
    supervisor.stop()


def put(sender: TrackerSender, first: int, last: int) -> None:
    for epoch in range(first, last + 1):
        sender.put(TrackedEpoch(epoch, {"loss": 1.0}, PICTURE))


def finish(sender: TrackerSender, seconds: float = 30) -> str | None:
    sender.end("succeeded")
    missing = sender.join(time.monotonic() + seconds)
    return missing and ": ".join(missing)


def test_epochs_arrive_in_order_and_the_end_is_recorded(supervisor: Supervisor) -> None:
    tracker = Recorded()
    sender = TrackerSender("mlflow", tracker.connect, 4, supervisor)
    put(sender, 4, 6)
    assert finish(sender) is None
    assert (tracker.firsts, tracker.figures, tracker.pictures) == ([4], [4, 5, 6], [4, 5, 6])
    assert tracker.ended == ["succeeded"]


def test_a_tracker_that_fails_for_a_while_receives_everything_once(
    supervisor: Supervisor, caplog: pytest.LogCaptureFixture
) -> None:
    tracker = Recorded()
    tracker.failures = 3
    sender = TrackerSender("mlflow", tracker.connect, 1, supervisor)
    put(sender, 1, 2)
    until(lambda: tracker.pictures == [1, 2])
    assert finish(sender) is None
    assert (tracker.firsts, tracker.figures) == ([1, 1, 1, 1], [1, 2])
    (line,) = caplog.messages  # one for the same reason
    assert "the tracker mlflow failed, and the run continues" in line
    assert "secret" not in line


def test_a_tracker_that_stays_down_delays_the_end_by_one_attempt(supervisor: Supervisor) -> None:
    tracker = Recorded()
    tracker.failures = 10**9
    sender = TrackerSender("mlflow", tracker.connect, 1, supervisor)
    put(sender, 1, 1)
    until(lambda: len(tracker.firsts) > 1)
    missing = finish(sender)
    assert missing is not None
    assert "did not receive the figures of epoch 1: ConnectionError: http://***@host is down" in missing
    assert tracker.ended == []


def test_the_oldest_pictures_are_dropped_and_no_figures(supervisor: Supervisor) -> None:
    tracker = Recorded()
    tracker.gate.clear()
    sender = TrackerSender("mlflow", tracker.connect, 1, supervisor)
    put(sender, 1, PICTURES + 3)
    tracker.gate.set()
    missing = finish(sender)
    assert tracker.figures == list(range(1, PICTURES + 4))
    assert tracker.pictures == list(range(4, PICTURES + 4))
    assert missing == "the tracker mlflow did not receive the pictures of 3 epochs from 1 to 3: it was too slow"


def test_a_tracker_that_refuses_pictures_receives_the_figures(supervisor: Supervisor) -> None:
    tracker = Recorded()
    tracker.takes_pictures = False
    sender = TrackerSender("mlflow", tracker.connect, 1, supervisor)
    put(sender, 1, 2)
    missing = finish(sender)
    assert (tracker.figures, tracker.ended, tracker.firsts) == ([1, 2], ["succeeded"], [1])
    assert missing == "the tracker mlflow did not receive the pictures of 2 epochs from 1 to 2: PermissionError: no"


def test_a_tracker_that_hangs_is_abandoned(supervisor: Supervisor) -> None:
    tracker = Recorded()
    tracker.gate.clear()
    sender = TrackerSender("mlflow", tracker.connect, 1, supervisor)
    put(sender, 1, 3)
    missing = finish(sender, seconds=0.05)
    assert missing is not None
    assert "the figures of 3 epochs from 1 to 3: it does not respond" in missing
    tracker.gate.set()
    until(lambda: not sender._thread.is_alive())
    assert (tracker.figures, tracker.ended) == ([], [])


@pytest.mark.parametrize(("outcome", "is_reported"), [("stopped", False), ("unknown", False), ("failed", True)])
def test_a_missing_end_is_reported_unless_the_run_may_continue(
    supervisor: Supervisor, caplog: pytest.LogCaptureFixture, outcome: Outcome, is_reported: bool
) -> None:
    caplog.set_level("INFO")
    tracker = Recorded()
    sender = TrackerSender("mlflow", tracker.connect, 1, supervisor)
    put(sender, 1, 1)
    until(lambda: not sender.waiting)
    tracker.is_ending.clear()
    sender.end(outcome)
    missing = sender.join(time.monotonic() + 0.05)
    tracker.is_ending.set()
    sentence = "the tracker mlflow did not record the end of the run"
    assert (missing is not None and missing.what == sentence) == is_reported
    assert (f"{sentence}: it does not respond" in caplog.messages) != is_reported


def test_names_of_trackers_are_checked_before_a_library_is_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    assert read_trackers("mlflow, tensorboard mlflow") == ["mlflow", "tensorboard"]
    with pytest.raises(ValueError, match=r"should be names of trackers \(tensorboard or mlflow\)"):
        read_trackers("wandb")
    monkeypatch.setitem(TRACKERS, "mlflow", TRACKERS["mlflow"]._replace(library="not_installed"))
    with pytest.raises(TrackerMissing, match=r"pip install 'acgan\[tracking\]'"):
        require_libraries(["mlflow"])


def test_each_tracker_of_the_table_is_a_class_of_its_module() -> None:
    root = Path(__file__).parents[3]
    for entry in TRACKERS.values():
        assert f"class {entry.kind}:" in (root / entry.module.replace(".", "/")).with_suffix(".py").read_text()
