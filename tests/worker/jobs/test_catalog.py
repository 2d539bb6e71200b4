"""Lists of jobs that are searched, filtered, sorted and labelled, and places in the queue. In a real Redis."""

import time
from typing import Any

import pytest
from structlog.contextvars import get_contextvars

from models.config import TrainingConfig
from models.records import Progress
from tests.worker.conftest import Ask, accept
from tests.worker.jobs.test_client import epoch_record
from worker.jobs.client import JobClient, JobNotFound, Order
from worker.jobs.consumer import Claim, JobConsumer
from worker.jobs.keys import JOBS, LINES, WORKERS, job_key, order_key
from worker.jobs.lists import catalog
from worker.jobs.lists.catalog import JobCatalog, Labels, Selection
from worker.jobs.lists.estimates import read_known
from worker.jobs.model import Job, JobKind, JobStatus, QueuePlace
from worker.runner import job_log_context


def select(ask: Ask[Any], limit: int = 100, **selection: Any) -> list[str | None]:
    """Return the names of the listed jobs, of all pages."""

    async def every(jobs: JobClient) -> list[str | None]:
        names: list[str | None] = []
        wanted = Selection(limit, **selection)
        while True:
            page = await JobCatalog(jobs).page(wanted)
            assert len(page.jobs) <= limit
            names += [job.name for job in page.jobs if isinstance(job, Job)]
            if page.last is None:
                return names
            wanted = wanted._replace(before=page.last, at=page.at)

    found: list[str | None] = ask(every)
    return found


def label(ask: Ask[Any], job_id: str, **labels: Any) -> Any:
    return ask(lambda jobs: JobCatalog(jobs).label(job_id, Labels(**labels)))


def finish_epochs(consumer: JobConsumer, *distances: float) -> Claim:
    """Run the oldest waiting job for these epochs, and leave it running."""
    claim = consumer.claim()
    assert claim
    for number, distance in enumerate(distances, 1):
        record = epoch_record(number).model_copy(update={"metrics": {"frechet_distance": distance}})
        consumer.add_epoch(claim, record)
    return claim


# ----------------------------------------------------------------------------
# Searches.


def test_a_search_looks_at_name_tags_and_the_beginning_of_the_id(ask: Ask[Any]) -> None:
    first, second, third = (accept(ask, name=name).id for name in ("Sharp digits", "blurred STRASSE", "strokes"))
    label(ask, third, tags=["Nightly", "gpu box"])
    assert select(ask, search="SHARP") == ["Sharp digits"]
    assert select(ask, search="stra\N{LATIN SMALL LETTER SHARP S}e") == ["blurred STRASSE"]
    assert select(ask, search="nightly") == ["strokes"]
    assert select(ask, search="str gpu") == ["strokes"]
    assert select(ask, search="str sharp") == []
    assert select(ask, search=first) == ["Sharp digits"]
    assert select(ask, search=second[:18]) == ["blurred STRASSE"] or second[:18] == first[:18]
    assert select(ask, search=second[-6:]) == []
    assert select(ask, search="%a") == []  # not a pattern
    assert select(ask, tag="GPU box") == ["strokes"]
    assert select(ask, tag="gpu") == []


def test_a_label_changes_the_search_but_not_the_configuration(ask: Ask[Any], redis_url: str) -> None:
    job = accept(ask, name="before")
    assert select(ask, search="before") == ["before"]
    changed = label(ask, job.id, name="after", notes="two\nlines", tags=["a"], archived=True)
    assert (changed.name, changed.notes, changed.tags, changed.archived) == ("after", "two\nlines", ["a"], True)
    assert changed.config == job.config
    assert changed.config.name == "before"
    assert select(ask, search="before") == []
    assert select(ask, search="after a") == ["after"]
    assert select(ask, archived=False) == []
    assert select(ask, archived=True) == ["after"]
    assert label(ask, job.id, name="", tags=[], archived=False).name is None
    assert select(ask, search="after") == []
    assert select(ask, archived=False, sort="name") == [None]
    with pytest.raises(JobNotFound):
        label(ask, "20260101-000000-abcdef", name="x")


def test_a_job_that_is_labelled_while_it_is_indexed_keeps_the_new_name(
    ask: Ask[Any], consumer: JobConsumer, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = accept(ask, name="old")
    first_name = catalog.first_name

    def overtaken(config: str | None) -> str | None:
        consumer.redis.hset(job_key(job.id), "name", "new")  # after the record was read, before the index is written
        return first_name(config)

    monkeypatch.setattr(catalog, "first_name", overtaken)
    assert select(ask, search="old") == []
    assert select(ask, search="new") == ["new"]


def test_a_long_search_takes_several_steps(ask: Ask[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(12):
        accept(ask, name=f"run {number % 4}")
    monkeypatch.setattr(catalog, "LOOKED_AT", 1)
    for sort in ("newest", "active", "name", "epochs", "frechet"):
        assert select(ask, search="3", sort=sort, limit=2) == ["run 3"] * 3, sort


# ----------------------------------------------------------------------------
# The index.


def test_jobs_of_an_earlier_version_enter_the_index_when_it_is_needed(
    ask: Ask[Any], consumer: JobConsumer, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("one", "two", "three"):
        accept(ask, name=name)
    finish_epochs(consumer, 8.0, 4.5)
    assert not consumer.redis.exists(LINES)
    monkeypatch.setattr(catalog, "CHECKED_AT_ONCE", 2)
    monkeypatch.setattr(catalog, "INDEXED_AT_ONCE", 1)
    assert select(ask, sort="epochs", limit=1)[0] == "one"
    assert consumer.redis.hlen(LINES) == 3
    for order in ("name", "epochs", "frechet"):
        assert consumer.redis.zcard(order_key(JobKind.TRAINING, order)) == 3
    accept(ask, name="four")
    assert select(ask, search="four") == ["four"]


def test_an_interrupted_indexing_keeps_its_steps(
    ask: Ask[Any], consumer: JobConsumer, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(5):
        accept(ask, name=str(number))
    monkeypatch.setattr(catalog, "INDEXED_AT_ONCE", 1)
    calls = iter(range(3))
    index = JobCatalog._index

    async def until_cut(self: JobCatalog, ids: list[str]) -> None:
        if next(calls, None) is None:
            raise TimeoutError
        await index(self, ids)

    with monkeypatch.context() as cut:
        cut.setattr(JobCatalog, "_index", until_cut)
        with pytest.raises(TimeoutError):
            select(ask, sort="name")
    assert consumer.redis.hlen(LINES) == 3
    assert select(ask, sort="name") == list("01234")


def test_a_deleted_job_leaves_the_index(ask: Ask[Any], consumer: JobConsumer) -> None:
    job = accept(ask, name="gone")
    accept(ask, name="stays")
    assert select(ask, sort="name") == ["gone", "stays"]
    ask(lambda jobs: jobs.cancel(job.id))
    ask(lambda jobs: jobs.end_deletion(job.id))
    assert consumer.redis.hkeys(LINES) != []
    assert job.id not in consumer.redis.hkeys(LINES)
    for sort in ("name", "epochs", "frechet"):
        assert consumer.redis.zcard(order_key(JobKind.TRAINING, sort)) == 1
        assert select(ask, sort=sort) == ["stays"]


def test_a_job_that_an_earlier_version_deleted_is_not_listed(ask: Ask[Any], consumer: JobConsumer) -> None:
    job = accept(ask, name="gone")
    accept(ask, name="stays")
    assert select(ask, sort="frechet") == ["stays", "gone"]
    consumer.redis.delete(job_key(job.id))
    consumer.redis.zrem(JOBS, job.id)
    assert select(ask, sort="frechet") == ["stays"]
    assert consumer.redis.hlen(LINES) == 1


# ----------------------------------------------------------------------------
# Orders.


def test_orders(ask: Ask[Any], consumer: JobConsumer) -> None:
    for name in ("b", "C", "a", None, "d"):
        accept(ask, name=name)
    assert select(ask, sort="name") == ["a", "b", "C", "d", None]
    consumer.finish(finish_epochs(consumer, 9.0, 3.5, 5.0), JobStatus.SUCCEEDED)  # b
    finish_epochs(consumer, 1.25)  # C runs
    assert select(ask, sort="newest") == ["d", None, "a", "C", "b"]
    assert select(ask, sort="active") == ["C", "d", None, "a", "b"]
    assert select(ask, sort="epochs") == ["b", "C", "d", None, "a"]
    assert select(ask, sort="frechet") == ["C", "b", "d", None, "a"]
    assert select(ask, sort="frechet", status=JobStatus.SUCCEEDED) == ["b"]
    assert select(ask, sort="active", status=JobStatus.QUEUED) == ["d", None, "a"]


@pytest.mark.parametrize("sort", ["newest", "active", "name", "epochs", "frechet"])
@pytest.mark.parametrize("is_positioned", [True, False])
def test_pages_have_every_job_once(ask: Ask[Any], consumer: JobConsumer, sort: Any, is_positioned: bool) -> None:
    for number in range(11):
        accept(ask, name=f"run {number % 3}")
    finish_epochs(consumer, 2.0)
    finish_epochs(consumer, 2.0, 1.0)
    every = [job.id for job in page(ask, Selection(100, sort=sort)).jobs]
    found: list[str] = []
    wanted = Selection(2, sort=sort)
    while True:
        answer = page(ask, wanted)
        found += [job.id for job in answer.jobs]
        if answer.last is None:
            break
        wanted = wanted._replace(before=answer.last, at=answer.at if is_positioned else None)
    assert found == every
    assert len(set(every)) == 11


def page(ask: Ask[Any], selection: Selection) -> catalog.Listed:
    found: catalog.Listed = ask(lambda jobs: JobCatalog(jobs).page(selection))
    return found


def test_the_next_page_begins_where_the_last_one_ended(ask: Ask[Any], consumer: JobConsumer) -> None:
    """Also if the last job of the page has finished another epoch since, was renamed, or was deleted."""
    ids = {name: accept(ask, name=name).id for name in ("a", "b", "c")}
    running = finish_epochs(consumer, 1.0)  # a
    first = page(ask, Selection(1, sort="epochs"))
    assert first.last == ids["a"]
    consumer.add_epoch(running, epoch_record(2))
    rest = page(ask, Selection(5, sort="epochs", before=first.last, at=first.at))
    assert [job.id for job in rest.jobs] == [ids["c"], ids["b"]]
    first = page(ask, Selection(2, sort="name"))
    label(ask, ids["b"], name="z")
    ask(lambda jobs: jobs.cancel(ids["b"]))
    ask(lambda jobs: jobs.end_deletion(ids["b"]))
    rest = page(ask, Selection(5, sort="name", before=first.last, at=first.at))
    assert [job.id for job in rest.jobs] == [ids["c"]]
    with pytest.raises(JobNotFound):
        page(ask, Selection(5, sort="name", before=first.last))


def test_a_list_may_have_only_the_last_epoch_of_each_job(ask: Ask[Any], consumer: JobConsumer) -> None:
    accept(ask, name="long")
    accept(ask, name="without epochs")
    claim = finish_epochs(consumer, *range(1, 13))
    short, whole = page(ask, Selection(9, only_last_epoch=True)), page(ask, Selection(9))
    assert [len(job.epochs) for job in whole.jobs] == [0, 12]
    assert [job.epochs for job in short.jobs] == [job.epochs[-1:] for job in whole.jobs]
    without: dict[str, list[Any]] = {"epochs": []}
    assert [job.model_copy(update=without) for job in short.jobs] == [
        job.model_copy(update=without) for job in whole.jobs
    ]
    assert short.jobs[1].epochs[0].epoch == 12
    consumer.finish(claim, JobStatus.SUCCEEDED)


def test_a_record_that_lacks_an_epoch_is_listed_and_ranked_by_its_last_one(
    ask: Ask[Any], consumer: JobConsumer
) -> None:
    """A restarted Redis may have lost epochs whose checkpoints cannot be read. The run resumes without them."""
    for name in ("1 and 3", "1 and 2"):
        accept(ask, name=name)
    gap, whole = finish_epochs(consumer, 1.0), finish_epochs(consumer, 1.0, 1.0)
    consumer.add_epoch(gap, epoch_record(3))
    short = page(ask, Selection(9, only_last_epoch=True)).jobs
    assert [[epoch.epoch for epoch in job.epochs] for job in short] == [[2], [3]]
    assert select(ask, sort="epochs") == ["1 and 3", "1 and 2"]
    consumer.finish(whole, JobStatus.SUCCEEDED)
    (known,) = ask(lambda jobs: read_known(jobs.redis, [gap.job.id]))
    assert (known.epochs, known.first_epoch is not None) == (3, True)
    with job_log_context(Claim(ask(lambda jobs: jobs.get(gap.job.id)), gap.fence, {})):
        assert get_contextvars()["epoch"] == 4


# ----------------------------------------------------------------------------
# The queue.


def places(ask: Ask[Any]) -> dict[str, QueuePlace | None]:
    async def read(jobs: JobClient) -> list[Job]:
        jobs_of_page = (await JobCatalog(jobs).page(Selection(100))).jobs
        return [job for job in await JobCatalog(jobs).with_places(jobs_of_page) if isinstance(job, Job)]

    return {str(job.name): job.queue for job in ask(read)}


def see_worker(consumer: JobConsumer, kind: str = "cpu") -> None:
    consumer.redis.zadd(WORKERS, {f"{kind} host:{kind}": time.time() - 1})


def test_a_job_without_a_worker_has_a_position_and_no_estimate(ask: Ask[Any]) -> None:
    accept(ask, name="first")
    accept(ask, name="second")
    assert places(ask) == {
        "first": QueuePlace(position=1, starts_in_seconds=None),
        "second": QueuePlace(position=2, starts_in_seconds=None),
    }


def test_positions_follow_the_queue(ask: Ask[Any], consumer: JobConsumer) -> None:
    ids = {name: accept(ask, name=name).id for name in ("running", "a", "b")}
    for name, runs_on in (("cpu", "cpu"), ("gpu", "gpu")):
        config = TrainingConfig(name=name)
        ask(lambda jobs, config=config, runs_on=runs_on: jobs.create(Order(config, runs_on=runs_on)))  # type: ignore[misc]
    consumer.claim()
    ask(lambda jobs: jobs.move_to_front(ids["b"]))
    found = places(ask)
    assert found["running"] is None
    assert {name: place.position for name, place in found.items() if place} == {"b": 1, "a": 2, "cpu": 3, "gpu": 3}


def test_the_estimate_adds_what_runs_and_what_waits_before(ask: Ask[Any], consumer: JobConsumer) -> None:
    """Epochs of similar runs took 90 seconds. The running job needs 60 more, and the first waiting one 4 epochs."""
    accept(ask, name="done", epochs=1)
    accept(ask, name="running", epochs=5)
    accept(ask, name="next", epochs=4)
    accept(ask, name="after", epochs=5)
    accept(ask, name="other", epochs=5, recipe="sharp")
    accept(ask, name="last", epochs=5)
    claim = consumer.claim()
    assert claim
    consumer.record_runtime(claim, claim.job.config, "cpu")
    consumer.add_epoch(claim, epoch_record(1).model_copy(update={"seconds": 90.0}))
    consumer.finish(claim, JobStatus.SUCCEEDED)
    see_worker(consumer)
    found = places(ask)
    assert found["running"] == QueuePlace(position=1, starts_in_seconds=0.0)
    claim = consumer.claim()
    assert claim
    assert claim.job.name == "running"
    consumer.record_runtime(claim, claim.job.config, "cpu")
    at = {"epoch": 3, "epochs": 5, "batch": 1, "batches": 2}
    consumer.report(claim, Progress(**at, images_per_second=1.0, eta_seconds=60.0))
    found = places(ask)
    assert found["next"] == QueuePlace(position=1, starts_in_seconds=60.0)
    assert found["after"] == QueuePlace(position=2, starts_in_seconds=60.0 + 4 * 90.0)
    assert found["other"] == QueuePlace(position=3, starts_in_seconds=60.0 + 9 * 90.0)
    assert found["last"] == QueuePlace(position=4, starts_in_seconds=None)  # no run with this recipe has ended
