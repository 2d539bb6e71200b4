"""The OpenAPI document: true examples, and every error of every operation."""

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
from pydantic import SecretStr
from starlette.testclient import TestClient

from app.api.content import MEDIA_TYPES
from app.api.openapi.examples import ANSWERS, CHECKPOINT, ERRORS, JOB
from app.main import create_app
from app.problems import problem as problems
from app.problems.codes import PREFIX, PROBLEMS
from app.problems.problem import Problem
from app.schemas import checkpoints, datasets, evaluations, events, health, jobs, live, training_data
from app.security.api_keys import make_key
from app.server.protocol import ErrorResponses
from app.settings import AppSettings
from models.evaluation import evaluation_records
from models.registry import store as registry
from models.registry.store import CheckpointStore
from models.synthesis import order
from tests.client.test_client import work
from tests.support.api_clients import local_client
from worker.jobs.consumer import JobConsumer

METHODS = ("get", "post", "put")
EXAMPLES = {error.status: error.problems for error in ERRORS}
NOT_IN_DOCUMENT = {405, 500, 502, 504}  # of requests outside of the document, of faults, and of the proxy


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    return create_app(AppSettings()).openapi()


def operations(document: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield f"{method} {path}", operation


def test_every_operation_has_a_short_summary(document: dict[str, Any]) -> None:
    headings = {called: operation["summary"] for called, operation in operations(document)}
    assert headings["post /train"] == "Start a run"
    front = "Move a waiting job to the front of the queue, regardless of priority"
    assert headings["post /jobs/{job_id}/front"] == front
    assert len(set(headings.values())) == len(headings)
    for called, heading in headings.items():
        assert " " in heading, called
        assert len(heading) < 110, called


def test_operations_have_short_names_and_described_tags(document: dict[str, Any]) -> None:
    names = [operation["operationId"] for _, operation in operations(document)]
    assert len(set(names)) == len(names)
    assert [name for name in names if not re.fullmatch(r"[a-z]+(_[a-z]+){1,3}", name)] == []
    described = {tag["name"] for tag in document["tags"] if tag["description"]}
    assert {tag for _, operation in operations(document) for tag in operation["tags"]} == described


def test_the_document_has_no_keywords_of_later_versions(document: dict[str, Any]) -> None:
    assert document["openapi"].startswith("3.1.")
    assert "itemSchema" not in json.dumps(document)


def test_binary_bodies_are_declared_for_generators(document: dict[str, Any]) -> None:
    content = document["paths"]["/digits/{label}"]["get"]["responses"]["200"]["content"]
    assert {media_type: each["schema"] for media_type, each in content.items()} == {
        media_type: {"type": "string", "format": "binary", "contentMediaType": media_type} for media_type in MEDIA_TYPES
    }


def test_every_json_response_has_an_example(document: dict[str, Any]) -> None:
    without = [
        f"{called} {status} {media_type}"
        for called, operation in operations(document)
        for status, response in operation["responses"].items()
        for media_type, content in response.get("content", {}).items()
        if status in ("200", "202") and media_type in ("application/json", "text/csv", "text/event-stream")
        if "example" not in content
    ]
    assert without == ["get /livez 200 application/json"]


@pytest.mark.parametrize("name", list(ANSWERS))
def test_every_example_validates_against_its_schema(name: str) -> None:
    modules = [jobs, checkpoints, health, datasets, events, order, registry, problems, training_data]
    modules += [evaluations, evaluation_records, live]
    model = next(getattr(module, name) for module in modules if hasattr(module, name))
    assert model.model_validate(ANSWERS[name]).model_dump(mode="json") == ANSWERS[name]


def test_every_body_has_examples_that_are_accepted(client: TestClient, document: dict[str, Any]) -> None:
    for called, operation in operations(document):
        for media_type, content in operation.get("requestBody", {}).get("content", {}).items():
            if media_type != "application/json":
                continue  # a file
            method, _, path = called.partition(" ")
            assert content["examples"], called
            for title, example in content["examples"].items():
                answer = client.request(method, path, json=example["value"])
                assert answer.status_code in (200, 202, 404), (called, title)  # its checkpoint does not exist here


def test_every_error_is_described_with_its_own_examples(document: dict[str, Any]) -> None:
    assert {kind.status for kind in PROBLEMS.values()} - NOT_IN_DOCUMENT == set(EXAMPLES)
    components, shown = document["components"], set()
    for called, operation in operations(document):
        for status, response in operation["responses"].items():
            if "$ref" not in response:
                continue
            described = components["responses"][response["$ref"].rpartition("/")[2]]
            content = described["content"]["application/problem+json"]
            _, narrowed = components["schemas"][content["schema"]["$ref"].rpartition("/")[2]]["allOf"]
            for title, example in content.get("examples", {}).items():
                problem = Problem.model_validate(example["value"])
                assert problem == EXAMPLES[int(status)][title]
                assert problem.status == int(status)
                assert problem.type in narrowed["properties"]["type"]["enum"]
                shown.add((int(status), title))
            assert {PROBLEMS[kind.removeprefix(PREFIX)].status for kind in narrowed["properties"]["type"]["enum"]} == {
                int(status)
            }, called
            assert ("Retry-After" in described["headers"]) is (status in ("429", "503"))
    assert shown == {(status, title) for status, examples in EXAMPLES.items() for title in examples}
    for called, operation in operations(document):
        assert {"400", "408", "431", "503"} <= set(operation["responses"]), called
        assert "4XX" not in operation["responses"]
    assert not {"HTTPValidationError", "ValidationError"} & set(document["components"]["schemas"])


def test_the_documented_details_are_those_of_real_responses(
    client: TestClient, settings: AppSettings, redis_url: str
) -> None:
    def real(status: int, method: str, path: str, **options: Any) -> Problem:
        answer = client.request(method, path, **options)
        assert answer.status_code == status, answer.text
        return Problem.model_validate_json(answer.content)

    json = {"Content-Type": "application/json"}
    assert real(400, "POST", "/train", content="[" * 60_000, headers=json) == EXAMPLES[400]["no JSON object"]
    foreign = {"Sec-Fetch-Site": "cross-site"}
    assert real(403, "POST", "/train", headers=foreign) == EXAMPLES[403]["another origin"]
    rebound = {"Host": "rebind.test"}
    assert real(421, "GET", "/jobs", headers=rebound) == EXAMPLES[421]["no such name"]
    assert real(404, "GET", f"/jobs/{JOB}") == EXAMPLES[404]["no job"]
    assert real(404, "GET", f"/checkpoints/{CHECKPOINT}") == EXAMPLES[404]["no checkpoint"]
    assert real(406, "GET", "/digits/7", headers={"Accept": "text/html"}) == EXAMPLES[406]["no format"]
    assert real(413, "POST", "/train", content=b" " * 100_000, headers=json) == EXAMPLES[413]["long"]
    assert real(422, "POST", "/train", json={"epochs": 0}) == EXAMPLES[422]["field"]
    job_id = client.post("/train").json()["id"]
    consumer = JobConsumer.connect(redis_url)
    work(consumer, 1)
    consumer.close()
    ended = Problem.of("invalid-transition", EXAMPLES[409]["ended"].detail.replace(JOB, job_id))
    assert real(409, "POST", f"/jobs/{job_id}/cancel") == ended
    for _ in range(settings.queue_limit):
        client.post("/train")
    assert real(429, "POST", "/train") == EXAMPLES[429]["queue"]
    refusals = ErrorResponses.of(settings.bounds)
    for status, title, wire in (
        (400, "no HTTP", refusals.malformed),
        (408, "late", refusals.late),
        (431, "headers", refusals.long_head),
        (503, "crowded", refusals.crowded),
    ):
        assert EXAMPLES[status][title].model_dump_json(exclude_none=True).encode() in wire


def test_the_documented_detail_of_a_missing_key_is_that_of_a_real_response(
    redis_url: str, store: CheckpointStore
) -> None:
    _, entry = make_key("ana")
    with local_client(create_app(AppSettings(redis_url=redis_url, api_keys=SecretStr(str(entry))))) as client:
        assert Problem.model_validate_json(client.post("/train").content) == EXAMPLES[401]["no key"]
