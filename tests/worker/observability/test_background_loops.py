"""Background loops that fail, end or hang are restarted and reported."""

import asyncio
import logging
import threading
from collections.abc import Callable

import pytest

from tests.worker.conftest import until
from worker.observability import background_loops
from worker.observability.background_loops import Supervisor


@pytest.fixture(autouse=True)
def quick_restarts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(background_loops, "RESTART_SECONDS", 0.01)


def test_a_task_that_raises_or_ends_is_logged_reported_and_restarted(caplog: pytest.LogCaptureFixture) -> None:
    runs: list[int] = []
    reports: list[str] = []

    async def main() -> None:
        supervisor = Supervisor()

        async def loop(beat: Callable[[], None]) -> None:
            runs.append(len(runs))
            if len(runs) == 1:
                raise KeyError("an entry")
            if len(runs) == 2:
                return
            beat()
            await asyncio.Event().wait()

        supervisor.start_task("events", loop)
        while len(runs) < 3:
            await asyncio.sleep(0.001)
            reports.append(supervisor.report()["events"])
        assert supervisor.report() == {"events": "running"}
        await supervisor.cancel_tasks(0.1)

    asyncio.run(main())
    assert any("KeyError" in report for report in reports)
    assert "an entry" in caplog.text
    assert "Traceback" in caplog.text
    assert "it ended" in caplog.text


def test_a_thread_that_raises_is_restarted_and_one_that_returns_has_ended(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.ERROR)
    runs: list[int] = []

    def loop(beat: Callable[[], None]) -> None:
        runs.append(len(runs))
        if len(runs) < 3:
            raise OSError("no room")

    supervisor = Supervisor()
    supervisor.start_thread("reconciler", loop).join(60)
    assert len(runs) == 3
    assert caplog.text.count("Traceback") == 1  # the same error again is one line


def test_a_loop_without_a_completed_round_is_reported_as_stuck() -> None:
    now, over = [0.0], threading.Event()
    supervisor = Supervisor(clock=lambda: now[0])

    def loop(beat: Callable[[], None]) -> None:
        beat()
        over.wait()

    supervisor.start_thread("loader", loop, stuck_seconds=60)
    now[0] = 59.0
    assert supervisor.report() == {"loader": "running"}
    now[0] = 75.0
    until(lambda: "75 s" in supervisor.report()["loader"])
    over.set()
