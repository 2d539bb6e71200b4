"""Helpers never harm a data set: a helper that is lost, fails or cannot help costs only its help."""

import dataclasses
import time
from pathlib import Path

import pytest

from models.atomic_files import write_durably
from models.synthesis.shards import Contributions
from models.torch_device import describe
from models.version import code_version
from tests.conftest import RunningRedis
from tests.support.s3_endpoint import Endpoint
from tests.worker.sharing.conftest import CPU, ORDER, PARTS, accept, check, helper
from worker.handlers.sharing import Shared, Sharing
from worker.handlers.training import run_next_job
from worker.jobs.consumer import JobConsumer
from worker.jobs.keys import parts_key
from worker.jobs.model import RunsOn
from worker.lifecycle.lease import EXIT_CODE
from worker.settings import WorkerSettings


def take_one(settings: WorkerSettings, seconds: float) -> tuple[Sharing, Shared, str]:
    sharing = Sharing(JobConsumer.connect(settings.redis_url).redis)
    shared = sharing.find()
    assert shared
    name = sharing.take(shared, seconds)
    assert name
    return sharing, shared, name


def test_the_owner_draws_parts_that_lost_helpers_took(settings: WorkerSettings, alone: dict[str, str]) -> None:
    """It does not wait until their time is over."""
    job_id, began = accept(settings), time.monotonic()

    def notify_workers(_: RunsOn) -> None:
        for _turn in range(3):
            take_one(settings, 600)

    run_next_job(settings, notify_workers)
    check(settings, job_id, alone, 0)
    assert time.monotonic() - began < 300


@pytest.mark.parametrize("left_there", [b"", b"\0" * 2000, None])
def test_the_owner_draws_what_helpers_handed_over_damaged(
    settings: WorkerSettings, alone: dict[str, str], left_there: bytes | None
) -> None:
    job_id, parts = accept(settings), {part.name: part for part in ORDER.parts}

    def notify_workers(_: RunsOn) -> None:
        for _turn in range(2):
            sharing, shared, name = take_one(settings, 600)
            if left_there is not None:
                Contributions(settings.open_store(), job_id).leave(parts[name], left_there)
            assert sharing.hand_over(shared, name, describe(CPU))

    run_next_job(settings, notify_workers)
    check(settings, job_id, alone, 2)


def test_a_helper_that_fails_gives_its_part_back(
    settings: WorkerSettings, alone: dict[str, str], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(*_: object) -> None:
        raise OSError("no room")

    job_id = accept(settings)

    def notify_workers(_: RunsOn) -> None:
        with monkeypatch.context() as patch:
            patch.setattr(Contributions, "leave", refuse)
            assert helper(settings).help() is False
        assert Sharing(JobConsumer.connect(settings.redis_url).redis).find()

    run_next_job(settings, notify_workers)
    assert "stops helping with a data set: no room" in caplog.text
    check(settings, job_id, alone, 0)


def test_a_helper_that_is_stuck_ends(settings: WorkerSettings, monkeypatch: pytest.MonkeyPatch) -> None:
    """A supervisor then restarts it; otherwise jobs would wait for it."""
    monkeypatch.setattr("worker.handlers.helping.STALLED_SECONDS", 0.2)
    monkeypatch.setattr(Contributions, "leave", lambda *_: time.sleep(1))
    accept(settings)
    claim, ends = JobConsumer.connect(settings.redis_url).claim(), list[int]()
    assert claim
    settings.open_store().take(claim.job.id, claim.fence)
    shared = Shared.of(claim, code_version())
    Sharing(JobConsumer.connect(settings.redis_url).redis).welcome(shared, [ORDER.parts[0].name])
    assert dataclasses.replace(helper(settings), end_process=ends.append).help() is True
    assert ends == [EXIT_CODE]


@pytest.mark.parametrize("how", ["in another folder", "of another version"])
def test_a_worker_that_cannot_help_does_not(
    settings: WorkerSettings, alone: dict[str, str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, how: str
) -> None:
    job_id, theirs = accept(settings), settings
    if how == "in another folder":
        theirs = settings.model_copy(update={"home": tmp_path / "elsewhere"})
    else:
        monkeypatch.setattr("worker.handlers.helping.code_version", lambda: "0.0.0")

    def notify_workers(_: RunsOn) -> None:
        assert helper(theirs).help() is False

    run_next_job(settings, notify_workers)
    check(settings, job_id, alone, 0)


def test_a_redis_that_lost_the_table_of_parts_costs_only_help(settings: WorkerSettings, alone: dict[str, str]) -> None:
    job_id = accept(settings)

    def notify_workers(_: RunsOn) -> None:
        JobConsumer.connect(settings.redis_url).redis.delete(parts_key(job_id))

    run_next_job(settings, notify_workers)
    check(settings, job_id, alone, 0)


def test_a_redis_that_does_not_answer_costs_only_help(
    mortal_redis: RunningRedis, alone: dict[str, str], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Redis goes away when the first part is drawn, and returns when the third is."""
    settings, written = WorkerSettings(redis_url=mortal_redis.url, device="cpu"), list[Path]()

    def write(path: Path, data: bytes) -> None:
        write_durably(path, data)
        written.append(path)
        if len(written) == 1:
            mortal_redis.kill()
        if len(written) == 3:
            mortal_redis.start()

    monkeypatch.setattr("models.synthesis.builder.write_durably", write)
    job_id = accept(settings)
    run_next_job(settings)
    assert "the assignment of parts is unavailable" in caplog.text
    check(settings, job_id, alone, 0)


def test_a_bucket_that_is_away_costs_only_help(
    settings: WorkerSettings, endpoint: Endpoint, alone: dict[str, str], tmp_path: Path
) -> None:
    settings = settings.model_copy(update={"store": endpoint.address(), "store_seconds": 1.0})
    job_id, fault = accept(settings), endpoint.fault("refuse", "GET", "/part-")

    def notify_workers(_: RunsOn) -> None:
        assert helper(settings.model_copy(update={"home": tmp_path / "helper"})).help() is True

    with fault:
        run_next_job(settings, notify_workers)
    check(settings, job_id, alone, PARTS)
