"""The traces of requests to the API, as a collector receives them."""

import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from pydantic import SecretStr
from starlette.testclient import TestClient

from app.main import create_app
from app.security.api_keys import make_key
from app.settings import AppSettings
from benchmarks.records import ask_desk
from models.registry.store import CheckpointStore
from tests.app.conftest import publish_two
from tests.integrations.trace_collector import Collector, collecting
from tests.support.api_clients import local_client
from worker.observability import tracing
from worker.observability.log_config import make_formatter

pytestmark = pytest.mark.integrations

TRACE, CALLER = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
CONTINUED = {"traceparent": f"00-{TRACE}-{CALLER}-01"}
RUN = {"dataset": "printed", "epochs": 1}


@pytest.fixture(scope="module")
def shared_collector() -> Iterator[Collector]:
    with collecting() as collector:
        yield collector


@pytest.fixture
def collector(shared_collector: Collector, monkeypatch: pytest.MonkeyPatch) -> Collector:
    shared_collector.spans.clear()
    for name, value in shared_collector.environment.items():
        monkeypatch.setenv(name, value)
    return shared_collector


@contextmanager
def traced_api(redis_url: str, **changes: object) -> Iterator[TestClient]:
    """The spans have arrived when the context ends."""
    settings = AppSettings(redis_url=redis_url).model_copy(update=changes)
    publish_two(CheckpointStore(settings.store_dir))
    with local_client(create_app(settings), raise_server_exceptions=False) as client:
        yield client


def stored_trace(redis_url: str, job_id: str) -> tuple[str, str, bool] | None:
    """Trace, span and whether they are sampled."""
    if (stored := ask_desk(redis_url, lambda jobs: jobs.get(job_id)).traceparent) is None:
        return None
    _, trace, span, flags = stored.split("-")
    return trace, span, bool(int(flags, 16) & 1)


def test_a_request_continues_the_trace_of_its_caller_and_has_the_name_of_its_route(
    collector: Collector, redis_url: str
) -> None:
    with traced_api(redis_url) as client:
        for _ in range(2):  # the second time app/middleware/route_cache.py answers
            client.get("/digits/7?seed=4", headers=CONTINUED).raise_for_status()
        client.get("/livez")
        client.get("/nothing")
    digits = collector.named("GET /digits/{label}")
    assert [(span.trace, span.parent, span.attributes["http.route"]) for span in digits] == [
        (TRACE, CALLER, "/digits/{label}")
    ] * 2
    assert sorted(span.name for span in collector.spans) == ["GET", *[digits[0].name] * 2]
    assert {span.service for span in collector.spans} == {"acgan-api"}


def test_attributes_contain_neither_keys_nor_queries_nor_hosts(collector: Collector, redis_url: str) -> None:
    key, entry = make_key("ana")
    with traced_api(redis_url, api_keys=SecretStr(str(entry))) as client:
        assert client.get(f"/jobs?key={key}", headers={"Authorization": f"Bearer {key}"}).status_code == 422
        assert client.post("/train", json=RUN, headers={"X-API-Key": key}).status_code == 202
    values = str([span.attributes for span in collector.spans])
    assert [span.name for span in collector.spans] == ["GET /jobs", "POST /train"]
    assert "'http.response.status_code': 422" in values
    for hidden in (
        key,
        str(entry),
        entry.digest.decode(),
        "localhost",
        "testclient",
        "redis",
        "server.address",
        "query",
    ):
        assert hidden not in values, hidden


def test_orders_store_their_trace_which_responses_do_not_contain(collector: Collector, redis_url: str) -> None:
    with traced_api(redis_url) as client:
        again = [client.post("/train", json=RUN, headers={"Idempotency-Key": "once"}).json() for _ in range(2)]
        dataset = client.post("/datasets", json={"per_class": 10}, headers=CONTINUED).json()
        retried = client.post(f"/jobs/{dataset['id']}/retry").json()
        assert client.post(f"/jobs/{dataset['id']}/cancel").json()["status"] == "cancelled"
        resumed = client.post(f"/jobs/{dataset['id']}/resume").json()
    assert again[0] == again[1], "the trace is no part of the order"
    assert "traceparent" not in json.dumps([*again, dataset, retried, resumed])
    stored = [stored_trace(redis_url, job["id"]) for job in (dataset, retried)]
    (ordered,), (retry,), (resume,) = (
        collector.named(name) for name in ("POST /datasets", "POST /jobs/{job_id}/retry", "POST /jobs/{job_id}/resume")
    )
    assert stored == [(TRACE, ordered.id, True), (retry.trace, retry.id, True)], "a resumed job keeps its trace"
    assert retry.links == resume.links == [TRACE]
    assert ordered.attributes["acgan.job"] == dataset["id"]


def test_a_log_line_has_the_id_of_the_trace(
    collector: Collector, redis_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    lines = list[dict[str, object]]()
    formatter = make_formatter(json=True)

    class Lines(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            lines.append(json.loads(formatter.format(record)))

    caplog.set_level(logging.INFO, "app.requests")
    requests, handler = logging.getLogger("app.requests"), Lines()
    requests.addHandler(handler)
    try:
        with traced_api(redis_url) as client:
            client.post("/jobs/none/cancel", headers=CONTINUED)
    finally:
        requests.removeHandler(handler)
    assert [line["trace_id"] for line in lines] == [TRACE]


def test_the_sampler_and_the_name_of_the_service_come_from_the_environment(
    collector: Collector, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", "parentbased_always_off")
    monkeypatch.setenv("OTEL_SERVICE_NAME", "mine")
    with traced_api(redis_url) as client:
        job = client.post("/train", json=RUN).json()
        client.get("/jobs", headers=CONTINUED)
    assert [(span.service, span.name) for span in collector.spans] == [("mine", "GET /jobs")]
    stored = stored_trace(redis_url, job["id"])
    assert stored is not None
    assert not stored[2], "the worker does not export the spans of this job either"


def test_the_api_without_tracing_stores_and_exports_nothing(collector: Collector, redis_url: str) -> None:
    with traced_api(redis_url, tracing=False) as client:
        job = client.post("/train", json=RUN, headers=CONTINUED).json()
    assert tracing.trace_id() == ""
    assert stored_trace(redis_url, job["id"]) is None
    assert collector.spans == []
