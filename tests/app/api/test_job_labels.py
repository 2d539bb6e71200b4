"""Labels of jobs over HTTP, lists that are searched and sorted, and thumbnails."""

import struct
from io import BytesIO
from typing import Any

import numpy as np
import pytest
from PIL import Image
from starlette.testclient import TestClient

from app.api.thumbnails import LARGEST, thumbnail
from app.settings import AppSettings
from models.registry.store import CheckpointDamaged, CheckpointStore
from models.sampling.png import encode_png
from tests.app.api.test_jobs import accept, refusal
from tests.app.conftest import publish
from tests.models.registry.test_store import NEW
from worker.jobs.consumer import JobConsumer
from worker.jobs.model import JobStatus

EMPTY = np.zeros((1120, 588), np.uint8)


@pytest.fixture
def client(shared_client: TestClient, redis_url: str) -> TestClient:
    return shared_client


def label(client: TestClient, job_id: str, **labels: Any) -> dict[str, Any]:
    answer = client.patch(f"/jobs/{job_id}", json=labels)
    assert answer.status_code == 200, answer.text
    job: dict[str, Any] = answer.json()
    assert client.get(f"/jobs/{job_id}").json() == job
    return job


def names(client: TestClient, query: str) -> list[str | None]:
    """Return the names of all pages. Follows `next`."""
    found: list[str | None] = []
    address: str | None = f"/jobs?{query}"
    while address:
        answer = client.get(address)
        assert answer.status_code == 200, answer.text
        found += [job["name"] for job in answer.json()["jobs"]]
        address = answer.json()["next"]
    return found


# ----------------------------------------------------------------------------
# Labels.


def test_labels_change_after_the_start_and_the_configuration_does_not(client: TestClient) -> None:
    job_id = accept(client, name="first", epochs=3)
    job = label(client, job_id, name=" second ", notes="two\r\nlines\n", tags=["a", "B", "b", " "], archived=True)
    assert (job["name"], job["notes"], job["tags"], job["archived"]) == ("second", "two\nlines", ["a", "B"], True)
    assert job["config"]["name"] == "first"
    assert client.get(f"/jobs/{job_id}/history.json").json()["config"]["name"] == "first"
    job = label(client, job_id, archived=False)
    assert (job["name"], job["notes"], job["tags"], job["archived"]) == ("second", "two\nlines", ["a", "B"], False)
    job = label(client, job_id, name=None, notes="", tags=[])
    assert (job["name"], job["notes"], job["tags"]) == (None, "", [])
    assert label(client, job_id) == job  # nothing was sent, nothing changes


@pytest.mark.parametrize(
    ("labels", "mistake"),
    [
        ({"name": "x" * 101}, "body.name"),
        ({"name": "a\nb"}, "body.name: should be one line of text without control characters"),
        ({"notes": "x" * 2001}, "body.notes"),
        ({"notes": "a\x00b"}, "body.notes: should be text without control characters"),
        ({"tags": ["x" * 31]}, "body.tags.0"),
        ({"tags": [str(number) for number in range(11)]}, "body.tags"),
        ({"epochs": 4}, "body.epochs"),
        ({"archived": None}, "body.archived"),
    ],
)
def test_labels_have_limits(client: TestClient, labels: dict[str, Any], mistake: str) -> None:
    job_id = accept(client, name="stays")
    assert mistake in refusal(client.patch(f"/jobs/{job_id}", json=labels), 422)
    assert client.get(f"/jobs/{job_id}").json()["name"] == "stays"


def test_labels_need_a_job_and_a_body(client: TestClient) -> None:
    assert "There is no job" in refusal(client.patch("/jobs/20200101-000000-aaaaaa", json={"name": "x"}), 404)
    job_id = accept(client)
    content = {"content": "null", "headers": {"Content-Type": "application/json"}}
    refusal(client.patch(f"/jobs/{job_id}", **content), 422)  # type: ignore[arg-type]


# ----------------------------------------------------------------------------
# Lists.


def test_the_list_is_searched_filtered_and_sorted_in_pages(client: TestClient) -> None:
    for name in ("c night", "A night", "b day"):
        accept(client, name=name)
    done = accept(client, name="done")
    label(client, done, tags=["kept & old"], archived=True)
    assert names(client, "limit=1") == ["done", "b day", "A night", "c night"]
    assert names(client, "limit=1&archived=false&sort=name") == ["A night", "b day", "c night"]
    assert names(client, "limit=1&archived=true") == ["done"]
    assert names(client, "limit=1&search=night&sort=name") == ["A night", "c night"]
    assert names(client, "limit=1&tag=KEPT%20%26%20old") == ["done"]
    assert names(client, "limit=2&sort=active&epochs=last&search=d&archived=false") == ["b day"]
    assert names(client, "limit=1&sort=epochs") == ["done", "b day", "A night", "c night"]
    assert names(client, "search=%20") == ["done", "b day", "A night", "c night"]


def test_mistakes_in_a_selection_are_named(client: TestClient) -> None:
    job_id = accept(client)
    for query, mistake in (
        ("sort=size", "query.sort"),
        ("search=a%0Ab", "query.search"),
        (f"search={'x' * 201}", "query.search"),
    ):
        assert mistake in refusal(client.get(f"/jobs?{query}"), 422)
    for query in ("at=4", f"sort=epochs&before={job_id}&at=four"):
        assert "`at` should be as `next`" in refusal(client.get(f"/jobs?{query}"), 404)
    refusal(client.get("/jobs?sort=epochs&before=20200101-000000-aaaaaa"), 404)


def test_a_waiting_job_has_a_place(client: TestClient, consumer: JobConsumer) -> None:
    first, second = accept(client), accept(client)
    listed = client.get("/jobs").json()["jobs"]
    assert [job["queue"]["position"] for job in listed] == [2, 1]
    claim = consumer.claim()
    assert claim
    assert client.get(f"/jobs/{first}").json()["queue"] is None
    assert client.get(f"/jobs/{second}").json()["queue"]["position"] == 1
    consumer.finish(claim, JobStatus.SUCCEEDED)


@pytest.fixture
def consumer(redis_url: str) -> JobConsumer:
    return JobConsumer.connect(redis_url)


# ----------------------------------------------------------------------------
# Thumbnails.


def test_a_thumbnail_may_be_cached_for_ever(client: TestClient, settings: AppSettings, store: CheckpointStore) -> None:
    publish(store, NEW, 1, 2)
    answer = client.get(f"/jobs/{NEW}/epochs/1/thumbnail.png")
    assert answer.status_code == 200, answer.text
    assert "immutable" in answer.headers["Cache-Control"]
    assert Image.open(BytesIO(answer.content)).size == (140, 56)
    refusal(client.get(f"/jobs/{NEW}/epochs/2/thumbnail.png"), 404)


def test_a_thumbnail_has_the_first_row_of_the_plot() -> None:
    plot = np.random.default_rng(4).integers(0, 256, (1120, 588), np.uint8)
    plot[:28, :280] = np.repeat(np.arange(10, dtype=np.uint8) * 25, 28)[None]
    found = np.asarray(Image.open(BytesIO(thumbnail(encode_png(plot), 10))).convert("L"))
    assert found.shape == (56, 140)
    levels = found[::28, ::28].flatten()
    assert np.abs(levels.astype(int) - np.arange(10) * 25).max() <= 9  # 16 levels of grey
    assert (found.reshape(2, 28, 5, 28).swapaxes(1, 2).reshape(10, -1) == levels[:, None]).all()


@pytest.mark.parametrize("classes", [1, 3, 10, 62])
def test_a_thumbnail_of_noise_is_small(classes: int) -> None:
    plot = np.random.default_rng(classes).integers(0, 256, (1120, 28 * (2 * classes + 1)), np.uint8)
    made = thumbnail(encode_png(plot), classes)
    assert len(made) <= LARGEST
    width, height = struct.unpack(">II", made[16:24])
    assert (width, height) == (28 * ((min(classes, 10) + 1) // 2), 56)


def test_a_plot_of_another_size_is_damaged() -> None:
    with pytest.raises(CheckpointDamaged):
        thumbnail(encode_png(np.zeros((1120, 140), np.uint8)), 10)


@pytest.mark.parametrize(
    "plot", [b"no picture", b"\x89PNG\r\n\x1a\n", encode_png(EMPTY)[:60]], ids=["text", "start", "torn"]
)
def test_a_plot_that_is_no_plot_is_a_damaged_checkpoint(plot: bytes) -> None:
    with pytest.raises(CheckpointDamaged, match="the plot of this epoch"):
        thumbnail(plot, 10)
