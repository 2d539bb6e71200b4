"""A data set drawn by several workers, over a real Redis and a real store: the files are those that one would make.

A helper is called where an idle worker would be knocked: before the owner draws its first part.
"""

import asyncio
import dataclasses
import hashlib
import logging
import threading
import time
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from models import datasets
from models.acceleration import describe
from models.checkpoints import CheckpointStore
from models.config import TrainingConfig
from models.contributions import Contributions
from models.datasets import FILES, MANIFEST, DatasetManifest, DatasetOrder, Origin, Part, make
from models.files import write_durably
from models.storage.objects import ObjectShelf
from models.version import code_version
from tests.conftest import RunningRedis
from tests.endpoint import Endpoint
from worker import interruption
from worker.bench import Claim, JobBench
from worker.drawing import drawing, read_generator
from worker.helping import Helper
from worker.jobs import Job, JobStatus, RunsOn
from worker.keys import HELPING, job_key, parts_key
from worker.lease import EXIT_CODE
from worker.settings import WorkerSettings
from worker.sharing import Shared, Sharing
from worker.store import JobDesk, Order
from worker.training import run_next_job

CPU = torch.device("cpu")
ORDER = DatasetOrder(per_class=20, test_per_class=4, seed=4, checkpoint="pretrained-e012", verify=0.5)
PARTS = 6  # of four digits a class

Knock = Callable[[RunsOn], None]
TAKES: tuple[RunsOn, ...] = ("any", "cpu")


@pytest.fixture(scope="module", autouse=True)
def small_parts() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(datasets, "PART", 4)
        yield


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory, small_parts: None) -> dict[str, str]:
    """The sums of the files that one worker makes."""
    folder = tmp_path_factory.mktemp("alone")
    origin = Origin(generator_sha256="", device="", code_version="")
    with drawing(ORDER, *read_generator(CheckpointStore(folder), ORDER), CPU) as draw:
        assert list(make(folder, ORDER, origin, draw))[-1] == ORDER.digits
    return {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in FILES}


@pytest.fixture
def settings(redis_url: str) -> WorkerSettings:
    return WorkerSettings(redis_url=redis_url, device="cpu")


@pytest.fixture(autouse=True)
def nobody_interrupts() -> Iterator[None]:
    interruption._requested.clear()
    yield
    interruption._requested.clear()


@pytest.fixture
def left(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The parts that helpers left for the owner, in order."""
    names, leave = list[str](), Contributions.leave

    def note(self: Contributions, part: Part, data: bytes) -> None:
        leave(self, part, data)
        names.append(part.name)

    monkeypatch.setattr(Contributions, "leave", note)
    return names


def ask(settings: WorkerSettings, question: Callable[[JobDesk], Coroutine[Any, Any, Job]]) -> Job:
    async def answer() -> Job:
        desk = JobDesk.connect(settings.redis_url)
        try:
            return await question(desk)
        finally:
            await desk.close()

    return asyncio.run(answer())


def accept(settings: WorkerSettings, order: DatasetOrder = ORDER) -> str:
    return ask(settings, lambda desk: desk.create(Order(TrainingConfig(), dataset=order))).id


def helper(settings: WorkerSettings, knock: Knock = lambda _: None) -> Helper:
    return Helper(JobBench.connect(settings.redis_url), settings.open_store(), settings, TAKES, knock)


def check(settings: WorkerSettings, job_id: str, alone: dict[str, str], helped: int) -> None:
    """The files are what they should be, the record tells of all digits, and nothing lies about."""
    job, store = ask(settings, lambda desk: desk.get(job_id)), settings.open_store()
    assert (job.status, job.error) == (JobStatus.SUCCEEDED, None)
    assert {name: hashlib.sha256(store.read_dataset(job_id, name)).hexdigest() for name in FILES} == alone
    assert job.progress
    assert (job.progress.batch, job.progress.batches) == (ORDER.digits, ORDER.digits)
    manifest = DatasetManifest.model_validate_json(store.read_dataset(job_id, MANIFEST))
    assert manifest.helpers == ({describe(CPU): helped} if helped else {})
    assert Contributions(store, job_id).names() == set()
    with JobBench.connect(settings.redis_url).redis as client:
        assert client.exists(HELPING, parts_key(job_id)) == 0


# ----------------------------------------------------------------------------
# What comes of it.


def test_what_helpers_draw_is_what_one_worker_draws(
    settings: WorkerSettings, alone: dict[str, str], left: list[str]
) -> None:
    job_id, knocks = accept(settings), list[RunsOn]()
    another = helper(settings, knocks.append)

    def knock(_: RunsOn) -> None:
        assert another.help() is True

    run_next_job(settings, knock)
    assert left == [part.name for part in ORDER.parts]
    assert knocks == ["any"], "whoever comes tells the next"
    check(settings, job_id, alone, PARTS)
    assert another.help() is False


def test_both_draw_at_once(settings: WorkerSettings, alone: dict[str, str], left: list[str]) -> None:
    """Whoever is quicker draws more, and nobody draws what the other does."""
    settings = settings.model_copy(update={"lease_seconds": 120.0})
    job_id, come = accept(settings), threading.Event()
    another = threading.Thread(target=lambda: helper(settings, lambda _: come.set()).help())

    def knock(_: RunsOn) -> None:
        another.start()
        assert come.wait(60)

    run_next_job(settings, knock)
    another.join()
    assert 0 < len(left) <= PARTS
    check(settings, job_id, alone, len(left))


def test_a_small_order_is_drawn_by_one(settings: WorkerSettings) -> None:
    few, knocks = ORDER.model_copy(update={"per_class": 8}), list[RunsOn]()
    job_id = accept(settings, few)
    run_next_job(settings, knocks.append)
    assert knocks == []
    assert ask(settings, lambda desk: desk.get(job_id)).status == JobStatus.SUCCEEDED


def test_a_helper_leaves_for_a_job_that_waits(
    settings: WorkerSettings, alone: dict[str, str], left: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    job_id, other = accept(settings), list[str]()
    after_two(left, monkeypatch, lambda: other.append(accept(settings)))

    def knock(_: RunsOn) -> None:
        assert helper(settings).help() is True
        claim = JobBench.connect(settings.redis_url).claim()
        assert claim
        assert [claim.job.id] == other

    run_next_job(settings, knock)
    assert len(left) == 2
    check(settings, job_id, alone, 2)


def test_a_worker_that_is_to_end_helps_no_more(
    settings: WorkerSettings, alone: dict[str, str], left: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    job_id = accept(settings)
    after_two(left, monkeypatch, interruption._requested.set)

    def knock(_: RunsOn) -> None:
        assert run_next_job(settings) is None
        interruption._requested.clear()

    run_next_job(settings, knock)
    assert len(left) == 2
    check(settings, job_id, alone, 2)


@pytest.mark.parametrize("how", ["cancelled", "queued"])
def test_what_helpers_drew_stays_when_the_owner_stops(
    settings: WorkerSettings, alone: dict[str, str], left: list[str], monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    """A helper that is drawing then hears that nobody waits for its part."""
    job_id = accept(settings)

    def stop() -> None:
        if how == "cancelled":
            ask(settings, lambda desk: desk.cancel(job_id))
        else:
            interruption._requested.set()

    after_two(left, monkeypatch, stop)

    def knock(_: RunsOn) -> None:
        try:
            helper(settings).help()
        except interruption.Interrupted:
            assert how == "queued"
        if how == "cancelled":
            time.sleep(2)  # for the owner to hear of it

    run_next_job(settings, knock)
    assert ask(settings, lambda desk: desk.get(job_id)).status == how
    assert len(left) == 2
    interruption._requested.clear()
    if how == "cancelled":
        ask(settings, lambda desk: desk.resume(job_id))
    run_next_job(settings)
    check(settings, job_id, alone, 1 if how == "cancelled" else 2)


def after_two(left: list[str], monkeypatch: pytest.MonkeyPatch, happens: Callable[[], object]) -> None:
    """Let something happen while a helper hands its second part over."""
    leave = Contributions.leave

    def leave_and_look(self: Contributions, part: Part, data: bytes) -> None:
        leave(self, part, data)
        if len(left) == 2:
            happens()

    monkeypatch.setattr(Contributions, "leave", leave_and_look)


# ----------------------------------------------------------------------------
# No data set is worse off for being helped.


def test_the_owner_draws_what_lost_helpers_took(settings: WorkerSettings, alone: dict[str, str]) -> None:
    """It does not wait for their time to be over."""
    job_id, began = accept(settings), time.monotonic()

    def knock(_: RunsOn) -> None:
        for _turn in range(3):
            take_one(settings, 600)

    run_next_job(settings, knock)
    check(settings, job_id, alone, 0)
    assert time.monotonic() - began < 300


@pytest.mark.parametrize("left_there", [b"", b"\0" * 2000, None])
def test_the_owner_draws_what_helpers_handed_over_damaged(
    settings: WorkerSettings, alone: dict[str, str], left_there: bytes | None
) -> None:
    job_id, parts = accept(settings), {part.name: part for part in ORDER.parts}

    def knock(_: RunsOn) -> None:
        for _turn in range(2):
            sharing, shared, name = take_one(settings, 600)
            if left_there is not None:
                Contributions(settings.open_store(), job_id).leave(parts[name], left_there)
            assert sharing.hand_over(shared, name, describe(CPU))

    run_next_job(settings, knock)
    check(settings, job_id, alone, 2)


def test_a_helper_that_fails_gives_its_part_back(
    settings: WorkerSettings, alone: dict[str, str], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(*_: object) -> None:
        raise OSError("no room")

    job_id = accept(settings)

    def knock(_: RunsOn) -> None:
        with monkeypatch.context() as patch:
            patch.setattr(Contributions, "leave", refuse)
            assert helper(settings).help() is False
        assert Sharing(JobBench.connect(settings.redis_url).redis).find()

    run_next_job(settings, knock)
    assert "no more help with a data set: no room" in caplog.text
    check(settings, job_id, alone, 0)


def test_a_helper_that_comes_to_a_halt_ends(settings: WorkerSettings, monkeypatch: pytest.MonkeyPatch) -> None:
    """To be started again: else jobs would wait for it."""
    monkeypatch.setattr("worker.helping.STALLED_SECONDS", 0.2)
    monkeypatch.setattr(Contributions, "leave", lambda *_: time.sleep(1))
    accept(settings)
    claim, ends = JobBench.connect(settings.redis_url).claim(), list[int]()
    assert claim
    settings.open_store().take(claim.job.id, claim.fence)
    shared = Shared.of(claim, code_version())
    Sharing(JobBench.connect(settings.redis_url).redis).welcome(shared, [ORDER.parts[0].name])
    assert dataclasses.replace(helper(settings), end_process=ends.append).help() is True
    assert ends == [EXIT_CODE]


@pytest.mark.parametrize("how", ["in another folder", "of another version"])
def test_whoever_cannot_help_does_not(
    settings: WorkerSettings, alone: dict[str, str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, how: str
) -> None:
    job_id, theirs = accept(settings), settings
    if how == "in another folder":
        theirs = settings.model_copy(update={"home": tmp_path / "elsewhere"})
    else:
        monkeypatch.setattr("worker.helping.code_version", lambda: "0.0.0")

    def knock(_: RunsOn) -> None:
        assert helper(theirs).help() is False

    run_next_job(settings, knock)
    check(settings, job_id, alone, 0)


def test_a_redis_that_forgot_who_draws_what_costs_help_alone(settings: WorkerSettings, alone: dict[str, str]) -> None:
    job_id = accept(settings)

    def knock(_: RunsOn) -> None:
        JobBench.connect(settings.redis_url).redis.delete(parts_key(job_id))

    run_next_job(settings, knock)
    check(settings, job_id, alone, 0)


def test_a_redis_that_does_not_answer_costs_help_alone(
    mortal_redis: RunningRedis, alone: dict[str, str], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It goes away when the first part is drawn, and comes back when the third is."""
    settings, written = WorkerSettings(redis_url=mortal_redis.url, device="cpu"), list[Path]()

    def write(path: Path, data: bytes) -> None:
        write_durably(path, data)
        written.append(path)
        if len(written) == 1:
            mortal_redis.kill()
        if len(written) == 3:
            mortal_redis.start()

    monkeypatch.setattr("models.datasets.write_durably", write)
    job_id = accept(settings)
    run_next_job(settings)
    assert "nobody knows who draws what" in caplog.text
    check(settings, job_id, alone, 0)


# ----------------------------------------------------------------------------
# Object storage: hosts share Redis and the bucket alone.


def test_helpers_on_other_hosts_hand_over_through_the_bucket(
    settings: WorkerSettings, endpoint: Endpoint, alone: dict[str, str], left: list[str], tmp_path: Path
) -> None:
    """What they drew is there for the next owner, wherever that is, and gone when all is published."""
    settings = settings.model_copy(update={"store": endpoint.address()})
    hosts = [settings.model_copy(update={"home": tmp_path / name}) for name in ("first", "helper", "second")]
    job_id = accept(settings)

    def knock(_: RunsOn) -> None:
        assert helper(hosts[1]).help() is True
        interruption._requested.set()

    run_next_job(hosts[0], knock)
    interruption._requested.clear()
    assert ask(settings, lambda desk: desk.get(job_id)).status == JobStatus.QUEUED
    assert len(left) == PARTS
    assert Contributions(settings.open_store(), job_id).names() == set(left)
    run_next_job(hosts[2])
    check(settings, job_id, alone, PARTS)
    shelf = settings.open_store().shelf
    assert isinstance(shelf, ObjectShelf)
    assert shelf.names(job_id) == []


def test_a_bucket_that_is_away_costs_help_alone(
    settings: WorkerSettings, endpoint: Endpoint, alone: dict[str, str], tmp_path: Path
) -> None:
    settings = settings.model_copy(update={"store": endpoint.address(), "store_seconds": 1.0})
    job_id, fault = accept(settings), endpoint.fault("refuse", "GET", "/part-")

    def knock(_: RunsOn) -> None:
        assert helper(settings.model_copy(update={"home": tmp_path / "helper"})).help() is True

    with fault:
        run_next_job(settings, knock)
    check(settings, job_id, alone, PARTS)


# ----------------------------------------------------------------------------
# Who draws what.


@pytest.fixture
def claim(settings: WorkerSettings, bench: JobBench) -> Claim:
    accept(settings)
    claim = bench.claim()
    assert claim
    return claim


def take_one(settings: WorkerSettings, seconds: float) -> tuple[Sharing, Shared, str]:
    sharing = Sharing(JobBench.connect(settings.redis_url).redis)
    shared = sharing.find()
    assert shared
    name = sharing.take(shared, seconds)
    assert name
    return sharing, shared, name


def test_parts_are_taken_in_order_and_again_when_their_time_is_over(claim: Claim, bench: JobBench) -> None:
    sharing, shared = Sharing(bench.redis), Shared.of(claim, code_version())
    assert sharing.find() is None
    assert sharing.welcome(shared, ["b", "a", "c"])
    assert sharing.find() == shared
    assert shared.read_order() == ORDER
    assert [sharing.take(shared, seconds) for seconds in (60, 0.05, 60)] == ["b", "a", "c"]
    time.sleep(0.1)
    assert [sharing.take(shared, 60), sharing.take(shared, 60)] == ["a", None]
    assert sharing.find() is None
    assert sharing.hand_over(shared, "a", "cpu")
    assert sharing.hand_over(shared, "a", "cpu"), "late: by whoever took it first"
    sharing.give_back(shared, "a")
    sharing.give_back(shared, "c")
    assert sharing.missing(shared) == ["c", "b"]
    sharing.done(shared, "c")
    assert sharing.missing(shared) == ["b"]
    assert sharing.helpers(claim.job.id) == {"cpu": 1}


def test_only_workers_help_that_might_have_taken_the_job(settings: WorkerSettings, bench: JobBench) -> None:
    ask(settings, lambda desk: desk.create(Order(TrainingConfig(), runs_on="gpu", dataset=ORDER)))
    claim = bench.claim(takes=("any", "gpu"))
    assert claim
    sharing, shared = Sharing(bench.redis), Shared.of(claim, code_version())
    assert sharing.welcome(shared, ["a", "b"])
    assert sharing.find(TAKES) is None
    assert helper(settings).help() is False
    assert sharing.find(("any", "gpu")) == shared


@pytest.mark.parametrize("fate", ["lost", "cancelled", "ended"])
def test_nobody_helps_who_does_not_run_the_job(claim: Claim, bench: JobBench, fate: str) -> None:
    sharing, shared = Sharing(bench.redis), Shared.of(claim, code_version())
    assert sharing.welcome(shared, ["a", "b"])
    assert sharing.take(shared, 60) == "a"
    match fate:
        case "lost":
            bench.redis.hset(job_key(claim.job.id), "fence", claim.fence + 1)
        case "cancelled":
            bench.redis.hset(job_key(claim.job.id), "status", JobStatus.CANCELLING)
        case "ended":
            bench.finish(claim, JobStatus.FAILED, "trouble")
    assert not sharing.hand_over(shared, "a", "cpu")
    assert sharing.take(shared, 60) is None
    assert sharing.find() is None
    assert bench.redis.exists(HELPING, parts_key(claim.job.id)) == 0, "it is forgotten"
    assert not sharing.welcome(shared, ["a", "b"])


def test_an_owner_that_comes_late_declines_no_help_for_the_next(claim: Claim, bench: JobBench) -> None:
    sharing, first = Sharing(bench.redis), Shared.of(claim, code_version())
    assert sharing.welcome(first, ["a", "b", "c"])
    bench.redis.hset(job_key(claim.job.id), "fence", claim.fence + 1)
    second = first._replace(fence=claim.fence + 1)
    assert sharing.welcome(second, ["b", "c"])
    sharing.decline(first)
    assert sharing.find() == second
    assert sharing.missing(second) == ["b", "c"]
    sharing.decline(second)
    assert sharing.find() is None


def test_what_cannot_be_helped_is_logged_as_a_sentence(
    settings: WorkerSettings, claim: Claim, bench: JobBench, caplog: pytest.LogCaptureFixture
) -> None:
    """An order of tomorrow wants what we do not know."""
    sharing, shared = Sharing(bench.redis), Shared.of(claim, code_version())
    bench.redis.hset(job_key(claim.job.id), "order", '{"colour": "red"}')
    assert sharing.welcome(shared, ["a"])
    with caplog.at_level(logging.WARNING):
        assert helper(settings).help() is False
    assert "no more help with a data set" in caplog.text
    assert "Traceback" not in caplog.text
