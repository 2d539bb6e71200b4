"""The API's metrics for Prometheus, over a real Redis that answers, is gone, or hangs."""

import re
import signal
import time
from collections.abc import Iterable
from pathlib import Path

import pytest
import redis
from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families
from starlette.testclient import TestClient

from app import metrics
from app.main import create_app
from app.middleware.request_log import UNMATCHED
from app.settings import AppSettings
from models.registry.store import GENERATOR, CheckpointId, CheckpointStore
from models.sampling.sampler import SampleRange
from tests.conftest import RunningRedis
from tests.models.registry.test_store import OLD
from tests.support.api_clients import local_client
from tests.support.serving import until
from worker.jobs.consumer import JobConsumer
from worker.observability import metrics as worker_metrics

OF_REDIS = {
    "acgan_jobs",
    "acgan_queue_depth",
    "acgan_jobs_delayed",
    "acgan_oldest_queued_job_seconds",
    "acgan_jobs_accepted",
}


class Scrape:
    """One scrape, parsed."""

    def __init__(self, client: TestClient) -> None:
        answer = client.get("/metrics")
        assert answer.status_code == 200
        self.families = list(text_string_to_metric_families(answer.text))

    @property
    def names(self) -> set[str]:
        return {family.name for family in self.families}

    def value(self, name: str, **labels: str) -> float:
        return sum(
            sample.value
            for family in self.families
            for sample in family.samples
            if sample.name == name and labels.items() <= sample.labels.items()
        )

    def values_of(self, label: str) -> set[str]:
        return {sample.labels[label] for f in self.families for sample in f.samples if label in sample.labels}


def growth(client: TestClient, before: Scrape, name: str, **labels: str) -> float:
    return Scrape(client).value(name, **labels) - before.value(name, **labels)


def test_requests_are_counted_by_method_route_and_status(client: TestClient) -> None:
    before = Scrape(client)
    for _ in range(3):
        client.get("/digits/7")
    client.get("/digits/12")
    client.head("/digits/7")
    client.post("/digits/7")
    client.post("/train", content=b"{" + b" " * 70000)
    counted = {
        ("GET", "/digits/{label}", "200"): 3,
        ("GET", "/digits/{label}", "422"): 1,
        ("HEAD", "/digits/{label}", "200"): 1,
        ("POST", "/digits/{label}", "405"): 1,
        ("POST", "unmatched", "413"): 1,  # before any route was matched
    }
    for (method, route, status), count in counted.items():
        labels = {"method": method, "route": route, "status": status}
        assert growth(client, before, "acgan_http_requests_total", **labels) == count, labels
    assert growth(client, before, "acgan_http_request_seconds_count", route="/digits/{label}") == 6


def test_invented_paths_and_methods_create_no_series(client: TestClient) -> None:
    before = Scrape(client)
    for place in range(20):
        client.get(f"/nowhere/{place}")
        client.get(f"/page/{place}.js")
        client.get(f"/jobs/20260131-120000-{place:06x}")
        client.request(f"MADEUP{place}", "/livez")
    after = Scrape(client)
    templates = {
        *client.get("/openapi.json").json()["paths"],
        "/",
        "/docs",
        "/openapi.json",
        "/page/schemas",
        "/page/schemas/training-data",
        "/page/{name}",
        "/page/{part}/{name}",
        "/docs/{name}",
        UNMATCHED,
    }
    assert after.values_of("route") <= templates
    assert after.values_of("method") <= metrics.METHODS | {"other"}
    assert growth(client, before, "acgan_http_requests_total", route="unmatched", status="404") == 20
    assert growth(client, before, "acgan_http_requests_total", route="/jobs/{job_id}", status="404") == 20
    assert growth(client, before, "acgan_http_requests_total", method="other") == 20


def test_a_response_is_counted_in_the_bucket_of_its_duration(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only the request passes time on the clock of the middleware."""
    now = [100.0]

    async def slow(*_: object) -> tuple[SampleRange, bytes]:
        now[0] += 0.12
        return SampleRange(7, 1, seed=0), b""

    monkeypatch.setattr("app.middleware.request_log.perf_counter", lambda: now[0])
    monkeypatch.setattr("app.inference.service.InferenceService.draw_any", slow)
    before = Scrape(client)
    client.get("/digits/7")
    for bound, count in (("0.1", 0), ("1.0", 1)):
        labels = {"route": "/digits/{label}", "le": bound}
        assert growth(client, before, "acgan_http_request_seconds_bucket", **labels) == count
    took = growth(client, before, "acgan_http_request_seconds_sum", route="/digits/{label}")
    assert took == pytest.approx(0.12)


def test_an_unexpected_error_is_counted_as_500_and_names_the_request(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(*_: object) -> bytes:
        raise ZeroDivisionError

    monkeypatch.setattr("app.inference.service.InferenceService.draw_any", broken)
    before = Scrape(client)
    answer = client.get("/digits/7", headers={"X-Request-ID": "mine-1"})
    assert answer.status_code == 500
    assert answer.headers["X-Request-ID"] == "mine-1"
    assert "mine-1" in answer.json()["detail"]
    assert growth(client, before, "acgan_http_requests_total", status="500") == 1
    assert Scrape(client).value("acgan_http_requests_in_flight") == 1  # the scrape itself


def test_waiting_and_running_jobs_are_exported(client: TestClient, settings: AppSettings) -> None:
    for _ in range(3):
        client.post("/train")
    time.sleep(1.1)
    consumer = JobConsumer.connect(settings.redis_url)
    assert consumer.claim() is not None
    result = Scrape(client)
    consumer.close()
    assert result.value("acgan_redis_up") == 1
    assert result.value("acgan_jobs", status="queued") == result.value("acgan_queue_depth") == 2
    assert result.value("acgan_jobs", status="running") == 1
    assert result.value("acgan_jobs_accepted_total") == 3
    assert 1 <= result.value("acgan_oldest_queued_job_seconds") < 60


def test_the_number_of_accepted_jobs_never_falls(client: TestClient, redis_url: str) -> None:
    """Prometheus would take a smaller number for a restart, and count all jobs again."""
    jobs = [client.post("/train").json()["id"] for _ in range(3)]
    client.post(f"/jobs/{jobs[0]}/cancel")
    client.delete(f"/jobs/{jobs[0]}").raise_for_status()
    assert Scrape(client).value("acgan_jobs_accepted_total") == 3
    with redis.Redis.from_url(redis_url) as records:
        records.delete("acgan:accepted")  # as earlier versions leave it
    assert Scrape(client).value("acgan_jobs_accepted_total") == 2
    client.post("/train")
    assert Scrape(client).value("acgan_jobs_accepted_total") == 3


@pytest.mark.usefixtures("busy_machine_allowed")
def test_the_served_checkpoint_and_its_buffer_are_exported(client: TestClient) -> None:
    serving = client.get("/checkpoints").json()["serving"]
    assert serving
    assert Scrape(client).value("acgan_serving_info", checkpoint=serving) == 1
    assert Scrape(client).values_of("label") == set("0123456789")
    until("the buffer has digits", lambda: Scrape(client).value("acgan_stock_digits", label="7") > 0)
    assert Scrape(client).value("acgan_drawing_queue_digits") == 0


@pytest.mark.usefixtures("busy_machine_allowed")
def test_drawn_and_buffered_digits_are_counted(client: TestClient, store: CheckpointStore) -> None:
    before = Scrape(client)
    client.get("/digits/3?n=9&seed=1")
    small = "acgan_drawing_batch_digits_bucket"
    until("the batch is counted", lambda: growth(client, before, small, le="16.0") == 1)
    assert growth(client, before, "acgan_digits_drawn_total") >= 9
    # Meanwhile full batches are drawn for the buffer.
    assert growth(client, before, "acgan_drawing_batch_digits_sum") % 64 == 9
    until("the buffer has digits", lambda: Scrape(client).value("acgan_stock_digits", label="7") >= 64, seconds=60)
    client.get("/digits/7?n=64")
    assert growth(client, before, "acgan_stock_hits_total") == 1
    answer = client.get("/digits/7?n=1000&format=npy")
    assert growth(client, before, "acgan_stock_misses_total") == 1
    assert growth(client, before, "acgan_drawing_bytes_total", format="npy") == len(answer.content)
    (store.folder(CheckpointId(OLD, 1)) / GENERATOR).write_bytes(b"rubbish")
    assert client.get(f"/digits/7?checkpoint={OLD}-e001").status_code == 503
    assert client.get(f"/digits/7?checkpoint={OLD}-e099").status_code == 404
    for outcome in ("damaged", "missing"):
        assert growth(client, before, "acgan_generator_loads_total", outcome=outcome) == 1


@pytest.mark.parametrize("accept", ["*/*", "application/openmetrics-text; version=1.0.0", "text/plain; version=x.y"])
def test_the_format_is_prometheus_text_for_every_accept_header(client: TestClient, accept: str) -> None:
    answer = client.get("/metrics", headers={"Accept": accept})
    assert answer.status_code == 200
    assert answer.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"


@pytest.mark.parametrize("sign", [signal.SIGKILL, signal.SIGSTOP])
def test_without_redis_the_other_metrics_are_exported_at_once(
    mortal_redis: RunningRedis, store: CheckpointStore, sign: signal.Signals
) -> None:
    with local_client(create_app(AppSettings(redis_url=mortal_redis.url))) as client:
        assert Scrape(client).names >= OF_REDIS
        mortal_redis.process.send_signal(sign)
        took = list[float]()
        while not took or (took[-1] >= 1.5 and len(took) < 5):  # a stall of the machine does not last for five scrapes
            began = time.monotonic()
            result = Scrape(client)
            took.append(time.monotonic() - began)
            assert result.value("acgan_redis_up") == 0
            assert not result.names & OF_REDIS
            assert result.value("acgan_serving_info") == 1
        assert took[-1] < 1.5
        mortal_redis.process.send_signal(signal.SIGCONT)
        if sign == signal.SIGSTOP:
            until("Redis answers again", lambda: Scrape(client).value("acgan_redis_up") == 1)


def documented(families: Iterable[Metric]) -> set[str]:
    suffixes = {"counter": "_total", "info": "_info"}
    return {f"{family.name}{suffixes.get(family.type, '')}" for family in families if family.name.startswith("acgan_")}


def test_the_documentation_lists_exactly_the_exported_metrics(client: TestClient) -> None:
    text = (Path(__file__).parents[2] / "docs" / "operations.md").read_text()
    listed = re.findall(r"^\| `(acgan_\w+)`", text, re.MULTILINE)
    assert sorted(listed) == sorted(documented(Scrape(client).families) | documented(worker_metrics.REGISTRY.collect()))


def test_the_documentation_lists_every_outcome_of_a_load() -> None:
    text = (Path(__file__).parents[2] / "docs" / "operations.md").read_text()
    (row,) = re.findall(r"^\| `acgan_generator_loads_total` \|.*", text, re.MULTILINE)
    assert set(re.findall(r"`(\w+)`", row)) == {"acgan_generator_loads_total", "outcome", *metrics.LOADS}
