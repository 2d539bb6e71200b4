"""A data set with the help of other workers has the files that one worker makes."""

import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from benchmarks.records import ask_desk
from models.registry.storage.object_store import ObjectShelf
from models.synthesis.order import Part
from models.synthesis.shards import Contributions
from tests.support.s3_endpoint import Endpoint
from tests.worker.sharing.conftest import ORDER, PARTS, accept, check, helper
from worker.handlers.training import run_next_job
from worker.jobs.consumer import JobConsumer
from worker.jobs.model import JobStatus, RunsOn
from worker.lifecycle import shutdown
from worker.settings import WorkerSettings


def test_helpers_draw_the_same_as_one_worker(settings: WorkerSettings, alone: dict[str, str], left: list[str]) -> None:
    job_id, notifications = accept(settings), list[RunsOn]()
    another = helper(settings, notifications.append)

    def notify_workers(_: RunsOn) -> None:
        assert another.help() is True

    run_next_job(settings, notify_workers)
    assert left == [part.name for part in ORDER.parts]
    assert notifications == ["any"], "each helper notifies the next"
    check(settings, job_id, alone, PARTS)
    assert another.help() is False


def test_both_draw_at_once(settings: WorkerSettings, alone: dict[str, str], left: list[str]) -> None:
    """The quicker worker draws more, and no part is drawn twice."""
    settings = settings.model_copy(update={"lease_seconds": 120.0})
    job_id, come = accept(settings), threading.Event()
    another = threading.Thread(target=lambda: helper(settings, lambda _: come.set()).help())

    def notify_workers(_: RunsOn) -> None:
        another.start()
        assert come.wait(60)

    run_next_job(settings, notify_workers)
    another.join()
    assert 0 < len(left) <= PARTS
    check(settings, job_id, alone, len(left))


def test_a_small_order_is_drawn_by_one_worker(settings: WorkerSettings) -> None:
    few, notifications = ORDER.model_copy(update={"per_class": 8}), list[RunsOn]()
    job_id = accept(settings, few)
    run_next_job(settings, notifications.append)
    assert notifications == []
    assert ask_desk(settings.redis_url, lambda jobs: jobs.get(job_id)).status == JobStatus.SUCCEEDED


def test_a_helper_leaves_for_a_job_that_waits(
    settings: WorkerSettings, alone: dict[str, str], left: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    job_id, other = accept(settings), list[str]()
    after_two(left, monkeypatch, lambda: other.append(accept(settings)))

    def notify_workers(_: RunsOn) -> None:
        assert helper(settings).help() is True
        claim = JobConsumer.connect(settings.redis_url).claim()
        assert claim
        assert [claim.job.id] == other

    run_next_job(settings, notify_workers)
    assert len(left) == 2
    check(settings, job_id, alone, 2)


def test_a_worker_that_shuts_down_stops_helping(
    settings: WorkerSettings, alone: dict[str, str], left: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    job_id = accept(settings)
    after_two(left, monkeypatch, shutdown._requested.set)

    def notify_workers(_: RunsOn) -> None:
        assert run_next_job(settings) is None
        shutdown._requested.clear()

    run_next_job(settings, notify_workers)
    assert len(left) == 2
    check(settings, job_id, alone, 2)


@pytest.mark.parametrize("how", ["cancelled", "queued"])
def test_parts_of_helpers_stay_when_the_owner_stops(
    settings: WorkerSettings, alone: dict[str, str], left: list[str], monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    """A helper that is drawing is then notified that its part is no longer needed."""
    job_id = accept(settings)

    def stop() -> None:
        if how == "cancelled":
            ask_desk(settings.redis_url, lambda jobs: jobs.cancel(job_id))
        else:
            shutdown._requested.set()

    after_two(left, monkeypatch, stop)

    def notify_workers(_: RunsOn) -> None:
        try:
            helper(settings).help()
        except shutdown.Interrupted:
            assert how == "queued"
        if how == "cancelled":
            time.sleep(2)  # until the owner reads it

    run_next_job(settings, notify_workers)
    assert ask_desk(settings.redis_url, lambda jobs: jobs.get(job_id)).status == how
    assert len(left) == 2
    shutdown._requested.clear()
    if how == "cancelled":
        ask_desk(settings.redis_url, lambda jobs: jobs.resume(job_id))
    run_next_job(settings)
    check(settings, job_id, alone, 1 if how == "cancelled" else 2)


def after_two(left: list[str], monkeypatch: pytest.MonkeyPatch, happens: Callable[[], object]) -> None:
    """Run an action while a helper delivers its second part."""
    leave = Contributions.leave

    def leave_and_look(self: Contributions, part: Part, data: bytes) -> None:
        leave(self, part, data)
        if len(left) == 2:
            happens()

    monkeypatch.setattr(Contributions, "leave", leave_and_look)


def test_helpers_on_other_hosts_deliver_through_the_bucket(
    settings: WorkerSettings, endpoint: Endpoint, alone: dict[str, str], left: list[str], tmp_path: Path
) -> None:
    """The next owner, on any host, finds their parts; they are deleted after the publication."""
    settings = settings.model_copy(update={"store": endpoint.address()})
    hosts = [settings.model_copy(update={"home": tmp_path / name}) for name in ("first", "helper", "second")]
    job_id = accept(settings)

    def notify_workers(_: RunsOn) -> None:
        assert helper(hosts[1]).help() is True
        shutdown._requested.set()

    run_next_job(hosts[0], notify_workers)
    shutdown._requested.clear()
    assert ask_desk(settings.redis_url, lambda jobs: jobs.get(job_id)).status == JobStatus.QUEUED
    assert len(left) == PARTS
    assert Contributions(settings.open_store(), job_id).names() == set(left)
    run_next_job(hosts[2])
    check(settings, job_id, alone, PARTS)
    shelf = settings.open_store().shelf
    assert isinstance(shelf, ObjectShelf)
    assert shelf.names(job_id) == ["job.json"]
