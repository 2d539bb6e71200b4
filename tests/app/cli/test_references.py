"""JOB arguments: an id, the beginning of an id, the name of a run, or `latest`; with a bounded number of requests."""

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import typer

from acgan_client import Client
from app.cli import references
from app.cli.references import BOTH, DATASETS, MOST, PAGE, REQUESTS, RUNS, JobList, candidates, find_job
from app.settings import AppSettings
from models.registry.store import CheckpointStore
from tests.app.cli.test_cli import acgan
from tests.support.hostile_server import as_json, hostile, job
from tests.support.serving import serving


@pytest.fixture
def address(settings: AppSettings, store: CheckpointStore, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    with serving(settings) as address:
        monkeypatch.setenv("ACGAN_URL", address)
        yield address


def test_commands_accept_names_beginnings_and_latest(address: str) -> None:
    with Client(address) as client:
        first, second = client.train(name="mine"), client.train(name="other")
        dataset = client.order(per_class=1, test_per_class=1)
        for text, lists in (("latest", RUNS), ("other", RUNS), (second.id, BOTH), (second.id[:26], RUNS)):
            assert find_job(client, text, lists) == second.id, text
        assert find_job(client, "mine") == first.id
        assert find_job(client, "latest", BOTH) == second.id  # of the first list
        assert find_job(client, "latest", DATASETS) == find_job(client, dataset.id[:26], BOTH) == dataset.id
    assert f"job {first.id} is cancelled" in acgan("cancel", "mine").stdout
    assert f"job {first.id} is queued" in acgan("resume", first.id[:26]).stdout
    assert f"job {second.id} is at the front" in acgan("front", "latest").stdout
    assert json.loads(acgan("history", "other").stdout)["job"] == second.id
    assert json.loads(acgan("jobs", "--before", "other", "--json").stdout)["jobs"][0]["id"] == first.id
    assert json.loads(acgan("retry", "mine", "--json").stdout)["retry_of"] == first.id
    assert acgan("cancel", second.id).returncode == 0
    assert f"deleted job {second.id}" in acgan("delete", "job", "other", "--yes").stdout


def test_what_is_not_unique_lists_the_candidates(address: str) -> None:
    with Client(address) as client:
        jobs = [client.train(name="twin").id for _ in range(2)]
        ended = acgan("cancel", "twin")
        assert (ended.returncode, ended.stdout) == (2, "")
        assert all(job_id in ended.stderr for job_id in jobs)
        assert acgan("cancel", jobs[0][:4]).returncode == 2
        assert {job.status for job in client.jobs().jobs} == {"queued"}  # nothing was cancelled


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["cancel", "absent"], "error: there is no run or data set 'absent': see `acgan jobs`\n"),
        (["history", "absent"], "error: there is no run 'absent': see `acgan jobs`\n"),
        (["follow", "latest"], "error: there is no run yet: see `acgan jobs`\n"),
        (["download", "absent"], "error: there is no data set 'absent': see `acgan datasets`\n"),
        (["delete", "dataset", "latest", "--yes"], "error: there is no data set yet: see `acgan datasets`\n"),
        (["cancel", ""], "error: there is no run or data set '': see `acgan jobs`\n"),
    ],
)
def test_a_job_that_does_not_exist_is_a_sentence(words: list[str], sentence: str, address: str) -> None:
    ended = acgan(*words)
    assert (ended.returncode, ended.stderr) == (2, sentence)


def endless_list() -> Callable[[], bytes]:
    """A service with a full page of jobs before every job."""
    numbers = iter(range(10**9, 0, -1))

    def page() -> bytes:
        records: list[dict[str, Any]] = [job(id=f"20260131-120000123-000001-{next(numbers):016x}") for _ in range(PAGE)]
        return as_json({"jobs": records, "next": f"/jobs?before={records[-1]['id']}"})

    return page


@pytest.mark.parametrize("text", ["absent", "2026013"])
def test_the_number_of_requests_is_bounded(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    with hostile({"/jobs": endless_list()}) as server, Client(server.url) as client:
        with pytest.raises(typer.Exit):
            find_job(client, text, RUNS)
        assert len(server.requests) == REQUESTS
    printed = " ".join(capsys.readouterr().err.split())
    assert (f"among the newest {MOST:,}" in printed) is (text == "absent")
    assert len(printed) < 1000


def test_a_job_that_is_deleted_while_the_list_is_read_does_not_end_the_search(
    address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last job of the first page, after which the second page begins."""
    monkeypatch.setattr(references, "PAGE", 2)
    with Client(address) as client:
        jobs = [client.train(name=f"run {number}").id for number in range(4)]
        seen = candidates(client, JobList.RUNS)
        assert next(seen).id == jobs[3]
        client.cancel(jobs[2])
        client.delete_job(jobs[2])
        assert [each.id for each in seen] == [jobs[2], jobs[1], jobs[0]]


def test_a_complete_id_needs_no_request_and_a_beginning_with_a_time_stops_at_older_jobs() -> None:
    with hostile({"/jobs": endless_list()}) as server, Client(server.url) as client:
        assert find_job(client, "20260131-120000-00001c") == "20260131-120000-00001c"
        assert server.requests == []
        with pytest.raises(typer.Exit):
            find_job(client, "20260131-120000124", (JobList.RUNS,))
        assert len(server.requests) == 1
