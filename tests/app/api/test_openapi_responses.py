"""Real responses and events have the headers and bodies that the OpenAPI document declares."""

from collections import defaultdict
from typing import Any

import jsonschema_rs
import pytest
import redis
from pydantic import SecretStr
from starlette.testclient import TestClient

from app.main import create_app
from app.security.api_keys import make_key
from app.settings import AppSettings
from models.registry.store import CheckpointStore
from tests.app.api.test_event_stream import accept, claim, progress
from tests.app.conftest import fresh_weights, publish_own, publish_trained
from tests.models.registry.test_store import NEW, OLD
from tests.support.api_clients import local_client
from tests.support.image_archives import zip_of_pictures
from tests.support.serving import following, serving
from tests.support.training_sets import bring
from tests.worker.jobs.test_client import epoch_record
from worker.jobs.consumer import JobConsumer
from worker.jobs.keys import job_key
from worker.jobs.model import JobStatus
from worker.runner import run_next_job

OF_HTTP = {
    "connection",
    "content-length",
    "content-type",
    "x-accel-buffering",
}  # of HTTP and of proxies
OF_VERSIONS = {"cache-control", "etag", "vary"}  # also in a 304 (RFC 9110, section 15.4.5)
EVALUATED = "20260130-120000-00000a"
EXPLORED = "20260130-120000-00000b"
UNKNOWN = "20260131-120000123-00001c-9f3a61c2d4e58b07"
SMALL = {"epochs": 2, "dataset": "printed", "train_examples": 600, "test_examples": 600}


class Recorder:
    """Sends requests of operations and collects the names of the headers of the responses."""

    def __init__(self, client: TestClient) -> None:
        self.client = client
        self.document: dict[str, Any] = client.get("/openapi.json").json()
        self.sent: defaultdict[tuple[str, str], set[str]] = defaultdict(set)

    def ask(self, operation: str, status: int, query: str = "", **options: Any) -> Any:
        """Send a request. `options` without those of httpx are the parameters of the path."""
        method, _, template = operation.partition(" ")
        known = {name: options.pop(name) for name in ("json", "content", "headers") if name in options}
        answer = self.client.request(method, template.format(**options) + query, **known)
        assert answer.status_code == status, (operation, answer.text)
        names = {name.lower() for name in answer.headers} - OF_HTTP
        self.sent[operation, str(status)] |= names
        if answer.headers.get("content-type") == "application/problem+json":
            schema = self.declared(operation, str(status))["content"]["application/problem+json"]["schema"]
            validator(self.document, schema).validate(answer.json())
        return answer

    def declared(self, operation: str, status: str) -> dict[str, Any]:
        method, _, path = operation.partition(" ")
        response: dict[str, Any] = self.document["paths"][path][method.lower()]["responses"][status]
        return resolve(self.document, response)

    def headers(self, operation: str, status: str) -> set[str]:
        return {name.lower() for name in self.declared(operation, status).get("headers", {})}

    def successes(self) -> set[tuple[str, str]]:
        """Every operation with each of its statuses below 400."""
        return {
            (f"{method.upper()} {path}", status)
            for path, methods in self.document["paths"].items()
            for method, operation in methods.items()
            for status in operation["responses"]
            if status < "4"
        }


def resolve(document: dict[str, Any], node: dict[str, Any]) -> dict[str, Any]:
    reference = node.get("$ref")
    for part in reference.removeprefix("#/").split("/") if reference else ():
        document = document[part]
    return document if reference else node


def validator(document: dict[str, Any], schema: dict[str, Any]) -> jsonschema_rs.Draft202012Validator:
    return jsonschema_rs.Draft202012Validator({**schema, "components": document["components"]})


def ask_jobs(recorder: Recorder) -> None:
    """Ask the operations of runs for each of their successful responses."""
    job = {"job_id": recorder.ask("POST /train", 202, json=SMALL).json()["id"]}
    recorder.ask("GET /jobs", 200)
    tag = recorder.ask("GET /jobs/{job_id}", 200, **job).headers["ETag"]
    recorder.ask("GET /jobs/{job_id}", 304, headers={"If-None-Match": tag}, **job)
    for form in ("json", "csv"):
        recorder.ask(f"GET /jobs/{{job_id}}/history.{form}", 200, **job)
    recorder.ask("GET /jobs/{job_id}/live", 200, **job)
    recorder.ask("POST /jobs/{job_id}/front", 202, **job)
    recorder.ask("PATCH /jobs/{job_id}", 200, json={"name": "first", "tags": ["a"]}, **job)
    recorder.ask("POST /jobs/{job_id}/cancel", 202, **job)
    follow = "GET /jobs/{job_id}/events"
    (last,) = [line for line in recorder.ask(follow, 200, **job).text.splitlines() if line.startswith("id: ")]
    recorder.ask(follow, 204, headers={"Last-Event-ID": last.removeprefix("id: ")}, **job)
    recorder.ask("POST /jobs/{job_id}/resume", 202, **job)
    recorder.ask("POST /jobs/{job_id}/cancel", 202, **job)
    again = {"job_id": recorder.ask("POST /jobs/{job_id}/retry", 202, **job).json()["id"]}
    recorder.ask("POST /jobs/{job_id}/cancel", 202, **again)
    recorder.ask("DELETE /jobs/{job_id}", 204, **job)


def ask_digits(recorder: Recorder) -> None:
    evolution = "GET /jobs/{job_id}/evolution/{label}"
    for operation, query, options in (
        ("GET /digits/{label}", "?seed=4", {"label": 7}),
        ("GET /digits", "?seed=4", {}),
        ("GET /numbers/{number}", "?seed=4", {"number": 42}),
        ("GET /morph/{first}/{last}", "?seed=4&steps=2&format=png", {"first": 3, "last": 8}),
        ("GET /images/{dataset}/{label}", "?seed=4", {"dataset": "mnist", "label": 7}),
        ("GET /images/{dataset}", "?seed=4", {"dataset": "mnist"}),
        ("GET /digits/{label}/traversal", "?seed=4&rows=1&columns=2", {"label": 7}),
        ("GET /images/{dataset}/{label}/traversal", "?seed=4&rows=1&columns=2", {"dataset": "mnist", "label": 7}),
        (evolution, "?seed=4", {"job_id": NEW, "label": 7}),
    ):
        tag = recorder.ask(operation, 200, query, **options).headers["ETag"]
        recorder.ask(operation, 304, query, headers={"If-None-Match": tag}, **options)
    recorder.ask("GET /digits/{label}", 200, "?n=2", label=7)
    recorder.ask("GET /digits/{label}", 200, "?verify=0&seed=4", label=7)
    recorder.ask("GET /images/{dataset}/{label}", 200, "?verify=0&seed=4", dataset="mnist", label=7)
    recorder.ask("GET /jobs/{job_id}/epochs/{epoch}/samples.png", 200, job_id=NEW, epoch=1)
    recorder.ask("GET /jobs/{job_id}/epochs/{epoch}/thumbnail.png", 200, job_id=NEW, epoch=1)


def ask_datasets(recorder: Recorder, settings: AppSettings) -> None:
    order = {"per_class": 12, "test_per_class": 3, "seed": 4}
    found = {"job_id": recorder.ask("POST /datasets", 202, json=order).json()["id"]}
    run_next_job(settings)
    recorder.ask("GET /datasets", 200)
    recorder.ask("GET /datasets/{job_id}", 200, **found)
    file = "GET /datasets/{job_id}/{file}"
    tag = recorder.ask(file, 200, file="manifest.json", **found).headers["ETag"]
    recorder.ask(file, 304, file="manifest.json", headers={"If-None-Match": tag}, **found)
    recorder.ask(file, 206, file="manifest.json", headers={"Range": "bytes=1-4"}, **found)
    recorder.ask(file, 416, file="manifest.json", headers={"Range": "bytes=99999999-"}, **found)
    recorder.ask(file, 404, file="train-images-idx3-ubyte.gz", job_id=UNKNOWN)
    archive = "GET /datasets/{job_id}/archive"
    tag = recorder.ask(archive, 200, "?layout=keras", **found).headers["ETag"]
    recorder.ask(archive, 304, "?layout=keras", headers={"If-None-Match": tag}, **found)
    recorder.ask(archive, 404, "?layout=keras", job_id=UNKNOWN)
    recorder.ask("DELETE /datasets/{job_id}", 204, **found)


def ask_training_data(recorder: Recorder, store: CheckpointStore) -> None:
    bring(store.training_data, "letters")
    for operation, options in (
        ("GET /training-data", {}),
        ("GET /training-data/{name}", {"name": "letters"}),
        ("GET /training-data/{name}/preview.png", {"name": "letters@1"}),
    ):
        tag = recorder.ask(operation, 200, **options).headers["ETag"]
        recorder.ask(operation, 304, headers={"If-None-Match": tag}, **options)
    recorder.ask("DELETE /training-data/{name}", 409, name="mnist")
    recorder.ask("DELETE /training-data/{name}", 422, name="Letters")
    recorder.ask("DELETE /training-data/{name}", 204, name="letters")
    for operation in ("GET /training-data/{name}", "GET /training-data/{name}/preview.png"):
        recorder.ask(operation, 404, name="letters")


def ask_evaluations(recorder: Recorder, settings: AppSettings, store: CheckpointStore) -> None:
    checkpoint = publish_own(store, EVALUATED, str(bring(store.training_data, "bars").reference), ("a", "b", "c"))
    order = {"checkpoint": checkpoint, "effort": "quick"}
    found = {"job_id": recorder.ask("POST /evaluations", 202, json=order).json()["id"]}
    run_next_job(settings)
    recorder.ask("GET /evaluations", 200, f"?checkpoint={checkpoint}")
    assert recorder.ask("GET /evaluations/{job_id}", 200, **found).json()["result"] is not None
    for file in ("result.json", "picture.png"):
        path = f"GET /evaluations/{{job_id}}/{file}"
        tag = recorder.ask(path, 200, **found).headers["ETag"]
        recorder.ask(path, 304, headers={"If-None-Match": tag}, **found)
        recorder.ask(path, 404, job_id=UNKNOWN)


def ask_neighbours(recorder: Recorder, store: CheckpointStore) -> None:
    checkpoint = publish_trained(store, EXPLORED, bring(store.training_data, "ten", tuple("0123456789")))
    for operation, options in (
        ("GET /digits/{label}/neighbours", {"label": 7}),
        ("GET /images/{dataset}/{label}/neighbours", {"dataset": "ten", "label": 7}),
    ):
        query = f"?seed=4&checkpoint={checkpoint}"
        tag = recorder.ask(operation, 200, query, **options).headers["ETag"]
        recorder.ask(operation, 304, query, headers={"If-None-Match": tag}, **options)
        recorder.ask(operation, 422, "?n=11", **options)
    recorder.ask("GET /digits/{label}/neighbours", 404, f"?checkpoint={NEW}-e001", label=7)


def ask_the_rest(recorder: Recorder) -> None:
    recorder.ask("GET /checkpoints", 200)
    recorder.ask("GET /checkpoints/{checkpoint}", 200, checkpoint="latest")
    for operation, name in (
        ("GET /checkpoints/{checkpoint}/{file}", "manifest.json"),
        ("GET /checkpoints/{checkpoint}/exports/{file}", "generator.hdf5"),
    ):
        file = {"checkpoint": "latest", "file": name}
        tag = recorder.ask(operation, 200, **file).headers["ETag"]
        recorder.ask(operation, 304, headers={"If-None-Match": tag}, **file)
        recorder.ask(operation, 206, headers={"Range": "bytes=1-4"}, **file)
    as_file = {"Content-Type": "application/octet-stream"}
    for status in (201, 200):
        recorder.ask("POST /checkpoints", status, content=fresh_weights(9), headers=as_file)
    recorder.ask("PUT /training-data/{name}", 202, name="letters", content=zip_of_pictures(), headers=as_file)
    recorder.ask("DELETE /checkpoints/{checkpoint}", 204, checkpoint=f"{OLD}-e001")
    recorder.ask("GET /serving", 200)
    recorder.ask("PUT /serving", 200, json={"policy": "best"})
    for path in ("/livez", "/readyz", "/metrics"):
        recorder.ask(f"GET {path}", 200)
    recorder.ask("GET /problems/{code}", 200, code="not-found")


def ask_for_errors(recorder: Recorder) -> None:
    recorder.ask("GET /problems/{code}", 404, code="nothing")
    recorder.ask("GET /jobs/{job_id}", 404, job_id=UNKNOWN)
    recorder.ask("GET /jobs", 404, "?before=nothing")
    recorder.ask("GET /datasets", 404, "?before=nothing")
    recorder.ask("GET /datasets/{job_id}", 404, job_id=UNKNOWN)
    recorder.ask("POST /datasets", 404, json={"checkpoint": f"{UNKNOWN}-e001"})
    recorder.ask("POST /jobs/{job_id}/retry", 404, job_id=UNKNOWN)
    recorder.ask("GET /jobs/{job_id}/evolution/{label}", 404, job_id=UNKNOWN, label=7)
    recorder.ask("GET /jobs/{job_id}/epochs/{epoch}/samples.png", 404, job_id=UNKNOWN, epoch=1)
    recorder.ask("GET /jobs/{job_id}/epochs/{epoch}/thumbnail.png", 404, job_id=UNKNOWN, epoch=1)
    recorder.ask("GET /digits/{label}", 404, "?checkpoint=nothing", label=7)
    recorder.ask("GET /images/{dataset}", 404, dataset="letters")
    recorder.ask("GET /images/{dataset}/{label}", 404, dataset="mnist", label="a")
    recorder.ask("GET /images/{dataset}/{label}", 406, dataset="mnist", label=7, headers={"Accept": "text/html"})
    recorder.ask("GET /images/{dataset}/{label}", 422, "?n=0", dataset="mnist", label=7)
    recorder.ask("GET /images/{dataset}/{label}", 409, "?verify=1&n=40&seed=4", dataset="mnist", label=7)
    recorder.ask("GET /digits/{label}", 406, label=7, headers={"Accept": "text/html"})
    recorder.ask("GET /digits/{label}", 422, "?n=0", label=7)
    recorder.ask("GET /digits/{label}", 409, "?verify=1&n=40&seed=4", label=7)
    recorder.ask("PUT /serving", 412, json={"policy": "best"}, headers={"If-Match": '"another"'})
    recorder.ask("PUT /serving", 404, json={"policy": "pinned", "checkpoint": f"{UNKNOWN}-e001"})
    recorder.ask("GET /checkpoints/{checkpoint}", 404, checkpoint="nothing")
    recorder.ask("GET /checkpoints/{checkpoint}/{file}", 404, checkpoint="latest", file="nothing")
    recorder.ask("GET /checkpoints/{checkpoint}/exports/{file}", 404, checkpoint="nothing", file="generator.hdf5")
    recorder.ask("POST /train", 415, headers={"Content-Type": "text/plain"}, json=SMALL)
    recorder.ask("POST /train", 403, headers={"Sec-Fetch-Site": "cross-site"})
    recorder.ask("GET /jobs", 421, headers={"Host": "rebind.test"})


def test_real_responses_have_the_declared_headers(settings: AppSettings, store: CheckpointStore) -> None:
    limited = settings.model_copy(update={"read_rate": "1000/minute", "work_rate": "1000/minute"})
    with local_client(create_app(limited)) as client:
        recorder = Recorder(client)
        ask_jobs(recorder)
        ask_digits(recorder)
        ask_datasets(recorder, limited)
        ask_training_data(recorder, store)
        ask_evaluations(recorder, settings, store)
        ask_neighbours(recorder, store)
        ask_the_rest(recorder)
        ask_for_errors(recorder)
    successes = {key: names for key, names in recorder.sent.items() if key[1] < "4"}
    assert successes == {key: recorder.headers(*key) for key in recorder.successes()}
    for key, names in recorder.sent.items():
        assert names <= recorder.headers(*key), key
    for operation, status in successes:
        if status == "304":
            assert OF_VERSIONS & successes[operation, "200"] <= successes[operation, "304"], operation


def test_what_another_version_wrote_gets_a_declared_error(
    settings: AppSettings, store: CheckpointStore, redis_url: str
) -> None:
    bring(store.training_data, "letters")
    for path in settings.store_dir.rglob("manifest.json"):
        if OLD in path.parts or "letters@1" in path.parts:
            path.write_text('{"id": 5}')
    with local_client(create_app(settings)) as client, redis.Redis.from_url(redis_url) as records:
        recorder = Recorder(client)
        jobs = [client.post(f"/{kind}").json()["id"] for kind in ("train", "datasets", "evaluations")]
        for job in jobs:
            records.hset(job_key(job), "config", '{"epochs": "many"}')
        fixed = {"checkpoint": f"{OLD}-e001", "dataset": "letters", "name": "letters", "code": "conflict", "epoch": 1}
        met = set()
        for path, operations in recorder.document["paths"].items():
            if "get" not in operations or path.endswith("/events"):
                continue
            file = "generator.hdf5" if "exports" in path else "manifest.json"
            parameters = {parameter["name"] for parameter in operations["get"].get("parameters", ())}
            query = f"?checkpoint={OLD}-e001" if "checkpoint" in parameters and "{checkpoint}" not in path else ""
            for job in [*jobs, OLD] if "{job_id}" in path else [""]:
                known = {**fixed, "file": file, "job_id": job, "label": 1, "first": 1, "last": 2, "number": 3}
                answer = client.get(path.format(**known) + query)
                assert str(answer.status_code) in operations["get"]["responses"], (path, answer.text)
                met |= {path} if answer.status_code == 409 else set()
    assert {"/checkpoints/{checkpoint}", "/evaluations/{job_id}", "/jobs/{job_id}/epochs/{epoch}/samples.png"} <= met


def test_the_error_of_a_rate_limit_has_the_declared_headers(settings: AppSettings, store: CheckpointStore) -> None:
    limited = settings.model_copy(update={"read_rate": "2/hour", "work_rate": "1/hour"})
    with local_client(create_app(limited)) as client:
        recorder = Recorder(client)
        recorder.ask("GET /jobs", 200)
        recorder.ask("GET /jobs", 429)
        recorder.ask("POST /train", 202, json=SMALL)
        recorder.ask("POST /train", 429, json=SMALL)
    for operation in ("GET /jobs", "POST /train"):
        assert recorder.sent[operation, "429"] == recorder.headers(operation, "429")


def test_responses_that_need_a_key_have_the_declared_headers(settings: AppSettings, store: CheckpointStore) -> None:
    key, entry = make_key("ana")
    private = settings.model_copy(update={"api_keys": SecretStr(str(entry)), "read_rate": "1000/minute"})
    with local_client(create_app(private), headers={"X-API-Key": key}) as client:
        recorder = Recorder(client)
        recorder.ask("GET /jobs", 200)
        recorder.ask("GET /problems/{code}", 200, code="not-found")
        recorder.ask("GET /jobs", 401, headers={"X-API-Key": "another"})
    for (operation, status), names in recorder.sent.items():
        assert names == recorder.headers(operation, status), operation


def test_every_event_of_a_stream_conforms_to_the_schema(settings: AppSettings, consumer: JobConsumer) -> None:
    with serving(settings) as address, following(address, accept(address)) as stream:
        first = next(stream)
        held = claim(consumer)
        consumer.report(held, progress(3))
        consumer.add_epoch(held, epoch_record(1))
        consumer.set_trouble(held, "the disk is full")
        consumer.finish(held, JobStatus.SUCCEEDED)
        events = [first, *stream]
    schemas = validator(create_app(settings).openapi(), {"$ref": "#/components/schemas/JobEvent"})
    assert {event.kind for event in events} == {"job", "status", "progress", "epoch", "trouble"}
    for id_, kind, data in events:
        schemas.validate({"id": id_, "event": kind, "data": data})
        with pytest.raises(jsonschema_rs.ValidationError):
            schemas.validate({"id": id_, "event": kind, "data": {}})
