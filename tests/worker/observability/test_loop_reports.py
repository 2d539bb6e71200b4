"""Each background loop of a worker survives an exception, a stuck one is reported, and `/readyz` shows both."""

import json
import os
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from app.api.routes.health import without_addresses
from models.training.background_writer import BackgroundWriter
from tests.worker.conftest import Ask, accept, until
from worker.jobs.consumer import JobConsumer, clock, ourselves
from worker.jobs.keys import LOOPS, PULSES
from worker.jobs.loop_states import REPORTER, RUNNING, SILENT_SECONDS, encode, summarize
from worker.jobs.model import Job, JobStatus
from worker.lifecycle.heartbeat import Pulses, start_pulse
from worker.lifecycle.lease import Lease
from worker.observability import background_loops, loop_reports
from worker.observability.background_loops import Supervisor, report_process
from worker.observability.loop_reports import LoopReporter
from worker.reconciler import Reconciler

Fail = Callable[..., Any]


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(background_loops, "RESTART_SECONDS", 0.05)
    monkeypatch.setattr(loop_reports, "REPORT_SECONDS", 0.05)
    background_loops._supervisors.clear()


@pytest.fixture
def reconciler(consumer: JobConsumer) -> Iterator[Reconciler]:
    made = Reconciler(consumer, lambda _: None, lambda: False, 0.05, 10.0, supervisor=Supervisor())
    made.reporter.seconds = 0.05
    yield made
    made.stop()


def fail_once(call: Fail) -> Fail:
    """The first call raises an exception that no loop expects."""
    errors = [KeyError("not expected")]

    def fails(*args: Any, **kwargs: Any) -> Any:
        if errors:
            raise errors.pop()
        return call(*args, **kwargs)

    return fails


def shown(ask: Ask[dict[str, str]], name: str) -> str:
    return ask(lambda jobs: jobs.worker_loops()).get(name, "absent")


@pytest.mark.parametrize("method", ["reconcile", "report_loops"])
def test_a_loop_of_the_parent_process_survives_an_exception(
    consumer: JobConsumer,
    ask: Ask[Any],
    reconciler: Reconciler,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    method: str,
) -> None:
    name = {"reconcile": "reconciler", "report_loops": REPORTER}[method]
    monkeypatch.setattr(consumer, method, fail_once(getattr(consumer, method)))
    reconciler.start()
    until(lambda: f"background loop {name!r} failed and is restarted: KeyError" in caplog.text)
    until(lambda: shown(ask, name) == RUNNING)
    assert reconciler.supervisor.loops[name].trouble is None


def test_a_loop_that_hangs_is_reported_and_logged_once(
    consumer: JobConsumer, ask: Ask[Any], reconciler: Reconciler, caplog: pytest.LogCaptureFixture
) -> None:
    now, hangs = [time.monotonic()], threading.Event()
    reconciler.supervisor.clock = lambda: now[0]
    reconciler.once = hangs.wait  # type: ignore[method-assign, assignment]
    reconciler.start()
    until(lambda: shown(ask, "reconciler") == RUNNING)
    now[0] += 1000
    until(lambda: "stuck: no completed round for 1000 s" in shown(ask, "reconciler"))
    time.sleep(0.2)
    assert caplog.text.count("stuck: no completed round") == 1
    hangs.set()
    until(lambda: shown(ask, "reconciler") == RUNNING)


def test_a_redis_that_refuses_reports_is_shown_as_soon_as_it_accepts_them(
    consumer: JobConsumer, ask: Ask[Any], reconciler: Reconciler
) -> None:
    consumer.redis.set("acgan:leases", "not a sorted set")
    reconciler.start()
    until(lambda: "WRONGTYPE" in shown(ask, "reconciler"))
    consumer.redis.delete("acgan:leases")
    until(lambda: shown(ask, "reconciler") == RUNNING)


def test_the_lease_is_renewed_after_an_exception_in_its_loop(
    consumer: JobConsumer, ask: Ask[Job], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    accept(ask)
    claim = consumer.claim(30)
    assert claim is not None
    lease = Lease(consumer, claim, 30)
    with lease:
        monkeypatch.setattr(lease, "_renew", fail_once(lease._renew))
        until(lambda: "background loop 'lease' failed" in caplog.text)
        failed = clock()
        until(lambda: lease.renewed > failed)
        lease.check()
    assert "lease" not in report_process()


def test_the_pulse_continues_after_an_exception_and_carries_the_loops(
    consumer: JobConsumer, ask: Ask[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(consumer, "pulse", fail_once(consumer.pulse))
    pulse = start_pulse(consumer, 0.05)
    try:
        until(lambda: consumer.last_pulse(ourselves()) is not None)
        until(lambda: shown(ask, "pulse") == RUNNING)
    finally:
        pulse.stop()
    until(lambda: "pulse" not in {thread.name for thread in threading.enumerate()})


def test_a_process_without_pulse_that_renews_its_lease_is_not_ended(
    consumer: JobConsumer, ask: Ask[Job], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "getppid", os.getpid)  # this process is its own parent
    accept(ask)
    claim = consumer.claim()
    assert claim is not None
    ended: list[int] = []
    own = os.getpid()
    pulses = Pulses(consumer, lambda: [own], rounds=2, end=ended.append)
    for _ in range(2):
        consumer.pulse()
        pulses.end_silent_children()
    for _ in range(5):
        pulses.end_silent_children()
    assert ended == []
    consumer.finish(claim, JobStatus.FAILED)
    pulses.end_silent_children()
    assert ended == [own]


def test_an_epoch_writer_that_hangs_is_reported_and_an_idle_one_is_not() -> None:
    now, hangs = [0.0], threading.Event()
    supervisor = Supervisor(clock=lambda: now[0])
    writing = supervisor.watch("epoch writer", 120)

    def write() -> None:
        with writing.working():
            hangs.wait()

    now[0] = 1000.0
    assert report_process() == {"epoch writer": RUNNING}
    with BackgroundWriter() as writer:
        writer.start(write)
        until(lambda: not writing.is_idle)
        now[0] = 1130.0
        assert "stuck: no completed round for 130 s" in report_process()["epoch writer"]
        hangs.set()
    assert report_process() == {"epoch writer": RUNNING}


def test_an_exception_of_the_epoch_writer_reaches_the_trainer() -> None:
    writing = Supervisor().watch("epoch writer", 120)

    def write() -> None:
        with writing.working():
            raise KeyError("not expected")

    writer = BackgroundWriter()
    writer.start(write)
    with pytest.raises(KeyError):
        writer.wait()
    assert writing.is_idle


def test_a_stopped_process_is_ended_even_if_redis_lost_its_report(consumer: JobConsumer) -> None:
    """As when a clock that was behind is corrected: keys with a time limit expire at once."""
    ended: list[int] = []
    pulses = Pulses(consumer, lambda: [os.getpid()], rounds=3, start_rounds=100, end=ended.append)
    for _ in range(2):
        consumer.pulse()
        pulses.end_silent_children()
    consumer.redis.delete(PULSES)
    for _ in range(3):
        assert ended == []
        pulses.end_silent_children()
    assert ended == [os.getpid()]


def test_a_process_that_never_reports_has_a_longer_limit(consumer: JobConsumer) -> None:
    ended: list[int] = []
    pid = 2**22 + 1  # beyond the highest id of a process
    pulses = Pulses(consumer, lambda: [pid], rounds=2, start_rounds=5, end=ended.append)
    for _ in range(5):
        pulses.end_silent_children()
        assert ended == []
    pulses.end_silent_children()
    assert ended == [pid]


def test_a_report_of_an_earlier_process_with_the_same_id_does_not_count(consumer: JobConsumer) -> None:
    """As after the restart of a container: its name and the ids of its processes are the same as before."""
    ended: list[int] = []
    consumer.pulse()
    pulses = Pulses(consumer, lambda: [os.getpid()], rounds=2, start_rounds=5, end=ended.append)
    for _ in range(5):
        pulses.end_silent_children()
        assert ended == []
    consumer.pulse()
    for _ in range(2):
        pulses.end_silent_children()
        assert ended == []
    pulses.end_silent_children()
    assert ended == [os.getpid()]


# ----------------------------------------------------------------------------
# The summary.


def report(at: float, **states: str) -> str:
    return f"{at} {encode(states)}"


def test_the_summary_names_each_loop_once_and_no_process() -> None:
    reports = {
        "host-a:1": report(100, reconciler=RUNNING, lease="stuck: no completed round for 70 s"),
        "host-b:2": report(99, reconciler="failed and is restarted: KeyError: 'x'"),
        "host-b:3": report(99, reconciler="failed and is restarted: KeyError: 'x'"),
    }
    summary = summarize(reports, ["cpu host-a:1"], 101)
    assert summary == {
        "lease": "stuck: no completed round for 70 s",
        "reconciler": "failed and is restarted: KeyError: 'x' (and in 1 more processes)",
    }
    assert "host" not in json.dumps(summary)


def test_old_reports_count_only_while_their_worker_is_registered() -> None:
    reports = {"h:1": report(0, reconciler=RUNNING)}
    late = SILENT_SECONDS + 1
    assert summarize(reports, [], late) == {}
    assert summarize(reports, ["cpu h:1"], late) == {REPORTER: "stuck: no report for 61 s"}


@pytest.mark.parametrize("text", ["", "x", "5", "5 [", "5 []", "nan {", "1000000 {}", '1e9 {"a": "b"}'])
def test_invalid_reports_are_ignored(text: str) -> None:
    assert summarize({"h:1": text}, ["cpu h:1"], 10) == {}


def test_reports_from_a_clock_that_was_ahead_are_dropped(consumer: JobConsumer) -> None:
    consumer.redis.hset(LOOPS, mapping={"ghost:1": report(time.time() + 10**8, a="b"), "old:1": report(5, a="b")})
    LoopReporter(consumer, report=lambda: {"a": RUNNING}).once()
    assert consumer.redis.hkeys(LOOPS) == [ourselves()]


@pytest.mark.parametrize(
    ("text", "public"),
    [
        (
            "Redis: Error 111 connecting to 10.0.0.7:6379. Connection refused.",
            "Redis: Error 111 connecting to (address). Connection refused.",
        ),
        ("[Errno 13] Permission denied: '/srv/team/fence'", "[Errno 13] Permission denied: '(address)'"),
        (
            "the store /home/my files/store is missing: delete home/stores/4f",
            "the store (address) is missing: delete (address)/stores/4f",
        ),
        ("choose another with PUT /serving; 5/10 done", "choose another with PUT /serving; 5/10 done"),
        ("20260101-000000-aaaaaa-e001 is damaged", "20260101-000000-aaaaaa-e001 is damaged"),
    ],
)
def test_addresses_are_removed_from_public_responses(text: str, public: str) -> None:
    assert without_addresses(text, ("/home/my files/store", "home")) == public
