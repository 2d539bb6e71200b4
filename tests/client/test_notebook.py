"""What results show in a notebook: complete HTML, in which text of the service is text."""

import base64
import re
from datetime import UTC, datetime
from html.parser import HTMLParser
from typing import Any, TypeVar

import pytest

from acgan_client import Change, Checkpoint, Dataset, Drawn, Job, Picture
from acgan_client.notebook import MOST_CHARACTERS, MOST_ROWS
from acgan_client.records import DatasetList, DatasetOrder, JobList, Record, UnreadableJob
from acgan_client.records.checkpoints import CheckpointList, JobHistory
from tests.support import hostile_server
from tests.support.records import losses, manifest

EVIL = "<script>alert(1)</script><img src=x onerror='alert(2)'>\"'&\x1b[31m\u202e"
NEVER_CLOSED = {"img"}

Kind = TypeVar("Kind", bound=Record)


def epoch(number: int, loss: float, **changes: Any) -> dict[str, Any]:
    record = {"epoch": number, "seconds": 1.0, "losses": losses(loss).model_dump(), "checkpoint": "x", "samples": ""}
    return {**record, **changes}


def run(**changes: Any) -> Job:
    return Job.model_validate(hostile_server.job(**changes))


class Reader(HTMLParser):
    """Collects elements, attributes and text, and checks that elements are closed in order."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.elements: list[str] = []
        self.attributes: list[str] = []
        self.text = ""
        self.feed(html)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append(tag)
        self.attributes += [name for name, _ in attrs]
        if tag not in NEVER_CLOSED and not (self.get_starttag_text() or "").endswith("/>"):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append(tag)
        self.attributes += [name for name, _ in attrs]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def evil_records() -> list[Any]:
    """Records with hostile text, also where the client accepts none."""
    config = {**hostile_server.job()["config"], "name": EVIL}
    progress = {"epoch": 1, "epochs": 2, "batch": 3, "batches": 6, "images_per_second": 1.0, "eta_seconds": 5.0}
    fields = {"config": config, "epochs": [epoch(1, 2.0)], "error": EVIL, "trouble": EVIL}
    record = hostile_server.job(**fields, status="running", progress=progress)
    unread = {"id": "a", "status": EVIL, "config": {"epochs": EVIL}, "trouble": EVIL, "links": record["links"]}
    found = {**manifest("a").model_dump(mode="json"), "refused": EVIL, "size": 1, "links": {}}
    order = DatasetOrder(per_class=1, test_per_class=1).model_copy(update={"checkpoint": EVIL})

    job = with_evil_id(Job.model_validate(record))
    job = job.model_copy(update={"config": job.config.model_copy(update={"dataset": EVIL})})
    unreadable = with_evil_id(UnreadableJob.model_validate(unread))
    dataset = with_evil_id(Dataset.model_validate(hostile_server.dataset(error=EVIL, status="failed")))
    dataset = dataset.model_copy(update={"order": order})
    checkpoint = with_evil_id(Checkpoint.model_validate(found))
    return [
        job,
        Change("job", job),
        JobList(jobs=[job, unreadable], next=None),
        dataset,
        DatasetList(datasets=[dataset, unreadable], next=None),
        checkpoint,
        CheckpointList(serving=None, checkpoints=[checkpoint]),
    ]


def with_evil_id(record: Kind) -> Kind:
    return record.model_copy(update={"id": EVIL})


@pytest.mark.parametrize("record", evil_records(), ids=lambda record: type(record).__name__)
def test_text_of_the_service_is_only_text(record: Any) -> None:
    read = Reader(record._repr_html_())
    assert set(read.elements) <= {"p", "b", "svg", "rect", "polyline", "circle", "text"} | {
        *("table", "thead", "tbody", "tr", "th", "td")
    }
    assert not [name for name in read.attributes if name.startswith("on") or name in ("src", "href")]
    assert "<script>alert(1)</script>" in read.text
    assert "\\x1b[31m\\u202e" in read.text


def test_a_run_shows_its_progress_and_the_curve_of_its_losses() -> None:
    progress = {"epoch": 3, "epochs": 4, "batch": 3, "batches": 6, "images_per_second": 1.0, "eta_seconds": 59.6}
    job = run(status="running", progress=progress, epochs=[epoch(1, 4.0), epoch(2, 1.0), epoch(3, 2.0)])
    html = job._repr_html_()
    assert "62%, about 60 s left" in html  # 15 of 24 iterations
    (drawing,) = re.findall(r"<svg[^>]*aria-label='test losses.*?</svg>", html)
    lines = re.findall(r"<polyline points='([^']*)'", drawing)
    points = [tuple(map(float, point.split(","))) for point in lines[0].split()]
    assert len(lines) == 2
    assert [x for x, _ in points] == sorted(x for x, _ in points)
    assert points[0][1] < points[2][1] < points[1][1]  # a higher loss is higher in the picture
    assert "<svg" not in run(status="queued", epochs=[])._repr_html_()
    assert JobHistory(job=job.id, config=job.config, epochs=job.epochs)._repr_html_() == drawing
    one = JobHistory(job=job.id, config=job.config, epochs=job.epochs[:1])._repr_html_()
    assert "nan" not in one
    assert Reader(one).elements[:2] == ["svg", "polyline"]


def test_a_waiting_data_set_shows_the_images_of_each_class_because_their_number_is_unknown() -> None:
    waiting = Dataset.model_validate(hostile_server.dataset(status="queued"))
    assert "queued, 2 images of each class by latest" in Reader(waiting._repr_html_()).text


def test_lists_have_a_bounded_size() -> None:
    config = {**hostile_server.job()["config"], "name": "x" * 5000}
    listing = JobList.model_validate({"jobs": [hostile_server.job(config=config)] * (MOST_ROWS + 5), "next": None})
    html = listing._repr_html_()
    assert html.count("<tr>") == MOST_ROWS + 1
    assert "and 5 more" in html
    assert "x" * (MOST_CHARACTERS + 1) not in html


def test_the_served_checkpoint_is_marked() -> None:
    found = [{**manifest(name).model_dump(mode="json"), "size": 2_500_000, "links": {}} for name in ("a", "b")]
    listing = CheckpointList.model_validate({"serving": found[1]["id"], "checkpoints": found})
    first, second = re.findall(r"<tr><td.*?</tr>", listing._repr_html_())
    assert ("served" in first, "served" in second) == (False, True)
    assert "2.5" in first


def test_animations_are_elements_and_other_files_are_not() -> None:
    film = Picture(b"GIF89a", "image/gif")
    html = film._repr_html_()
    assert html is not None
    assert base64.b64encode(b"GIF89a").decode() in html
    assert film._repr_png_() is None
    for media_type in ("image/png", "application/zip", "image/svg+xml", "text/html"):
        assert Picture(b"x", media_type)._repr_html_() is None
    drawn = Drawn(b"RIFF", "image/webp", "x'><script>", 1, 2)
    assert Reader(drawn._repr_html_() or "").elements == ["img"]


def test_times_of_a_newer_client_are_read() -> None:
    job = run(seconds_running=12.5, running_since=datetime(2026, 1, 31, tzinfo=UTC).isoformat())
    assert (job.seconds_running, job.running_since) == (12.5, datetime(2026, 1, 31, tzinfo=UTC))
