"""The client against the OpenAPI document of the service: operations, parameters, records and statuses."""

import inspect
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

import httpx2
import pytest
from pydantic import BaseModel

from acgan_client import (
    Client,
    Refused,
    records,
)
from acgan_client._sync.weights import SUFFIXES
from acgan_client.calls import (
    DigitsQuery,
    EvaluationFields,
    EvolutionQuery,
    ImportFields,
    JobLabels,
    JobsQuery,
    MorphQuery,
    Network,
    NumbersQuery,
    Options,
    OrderFields,
    PixelsQuery,
    TrainFields,
    TrainingDataFields,
    WeightsOf,
)
from acgan_client.exploration import NeighboursQuery, TraversalQuery
from acgan_client.records import checkpoints, evaluations, live, training_data
from app.main import create_app
from app.settings import AppSettings
from models.interop.formats import EXPORTS, FORMATS
from tests.support.hostile_server import problem
from worker.jobs import model

OURS = set(Options.__annotations__)
CALLS: dict[str, Callable[[Client], Any]] = {
    "train": lambda client: client.train(),
    "jobs": lambda client: client.jobs(),
    "job": lambda client: client.job("a"),
    "cancel": lambda client: client.cancel("a"),
    "resume": lambda client: client.resume("a"),
    "retry": lambda client: client.retry("a"),
    "move_to_front": lambda client: client.move_to_front("a"),
    "update_job": lambda client: client.update_job("a", name="b"),
    "delete_job": lambda client: client.delete_job("a"),
    "history": lambda client: client.history("a"),
    "history_csv": lambda client: client.history_csv("a"),
    "live": lambda client: client.live("a"),
    "samples": lambda client: client.samples("a", 1),
    "thumbnail": lambda client: client.thumbnail("a", 1),
    "follow": lambda client: list(client.follow("a")),
    "digits": lambda client: client.digits(),
    "pixels": lambda client: client.pixels(7),
    "numbers": lambda client: client.numbers("42"),
    "morph": lambda client: client.morph(3, 8),
    "neighbours": lambda client: client.neighbours(7),
    "traversal": lambda client: client.traversal(7),
    "image_neighbours": lambda client: client.image_neighbours("letters", "a"),
    "image_traversal": lambda client: client.image_traversal("letters", "a"),
    "images": lambda client: client.images("letters", "a"),
    "image_pixels": lambda client: client.image_pixels("letters"),
    "training_data": lambda client: client.training_data(),
    "training_data_set": lambda client: client.training_data_set("letters"),
    "training_data_preview": lambda client: client.training_data_preview("letters"),
    "delete_training_data": lambda client: client.delete_training_data("letters"),
    "evolution": lambda client: client.evolution("a", 7),
    "checkpoints": lambda client: client.checkpoints(),
    "checkpoint": lambda client: client.checkpoint("c"),
    "import_checkpoint": lambda client: client.import_checkpoint(b""),
    "evaluate": lambda client: client.evaluate(),
    "evaluation": lambda client: client.evaluation("a"),
    "evaluations": lambda client: client.evaluations(),
    "evaluation_result": lambda client: client.evaluation_result("a"),
    "evaluation_picture": lambda client: client.evaluation_picture("a"),
    "add_training_data": lambda client: client.add_training_data("letters", b""),
    "delete_checkpoint": lambda client: client.delete_checkpoint("c"),
    "serving": lambda client: client.serving(),
    "serve": lambda client: client.serve("newest"),
    "readiness": lambda client: client.readiness(),
    "order": lambda client: client.order(),
    "dataset": lambda client: client.dataset("d"),
    "datasets": lambda client: client.datasets(),
    "delete_dataset": lambda client: client.delete_dataset("d"),
    "download": lambda client: list(client.download("d", Path())),
    "download_checkpoint": lambda client: list(client.download_checkpoint("c", Path())),
    "download_checkpoint_file": lambda client: client.download_checkpoint_file("c", "a", Path()),
    "export": lambda client: client.export("c", "onnx", Path()),
}
OF_SEVERAL_CALLS = {"iter_jobs", "iter_checkpoints", "iter_datasets", "iter_evaluations", "wait", "close"}
LEFT_OUT = {
    "GET /datasets/{job_id}/archive": "the second request of `download`; tests/app/cli/test_layouts.py sends it",
    "GET /problems/{code}": "the documentation of an error, which the class has too",
    "GET /livez": "for the process manager; `readiness` says more",
    "GET /metrics": "for Prometheus",
}
RECORDS: dict[str, type[BaseModel]] = {
    "CheckpointView": checkpoints.Checkpoint,
    "DatasetView": records.Dataset,
    "Evaluation": evaluations.EvaluationResult,
    "EvaluationView": evaluations.Evaluation,
    "EpochRecord": records.Epoch,
    "EpochView": records.Epoch,
    "JobView": records.Job,
    "LiveView": live.Live,
    "ServingView": checkpoints.Serving,
    "TrainingDataView": checkpoints.TrainingData,
    "UnreadableJobView": records.UnreadableJob,
}
REQUESTS = {"Follow", "FollowDataset", "JobLabels", "Pin", "TrainingOrder", "WantedDataset", "WantedEvaluation"}
ERRORS = {"Mistake", "Problem", "ProblemDescription"}
FILES = {"Manifest"}  # which the client stores without reading it
EVENTS = {"RecordEvent", "ProgressEvent", "EpochEvent", "StatusEvent", "StatusChange", "TroubleEvent", "TroubleChange"}


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    document: dict[str, Any] = create_app(AppSettings()).openapi()
    return document


def operations(document: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {
        f"{method.upper()} {path}": operation
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    }


def requested(call: Callable[[Client], Any]) -> str:
    """The method and path of the first request of a call."""
    requests: list[httpx2.Request] = []

    def answer(request: httpx2.Request) -> httpx2.Response:
        requests.append(request)
        return httpx2.Response(404, content=problem(404, "no").partition(b"\r\n\r\n")[2])

    with Client("http://service", transport=httpx2.MockTransport(answer)) as client, pytest.raises(Refused):
        call(client)
    return f"{requests[0].method} {requests[0].url.path}"


def operation_of(request: str, names: list[str]) -> str:
    """The operation of a request: the one with the fewest parameters, if several match."""
    patterns = {name: re.sub(r"\{[^}]+\}", "[^/]+", name) for name in sorted(names, key=lambda name: name.count("{"))}
    return next(name for name, pattern in patterns.items() if re.fullmatch(pattern, request))


def test_every_operation_has_a_method_or_is_left_out(document: dict[str, Any]) -> None:
    names = list(operations(document))
    assert {operation_of(requested(call), names) for call in CALLS.values()} | set(LEFT_OUT) == set(names)


def test_every_method_is_compared() -> None:
    methods = {name for name, _ in inspect.getmembers(Client, inspect.isfunction) if not name.startswith("_")}
    assert methods | {"close"} == set(CALLS) | OF_SEVERAL_CALLS


def parameters(operation: dict[str, Any]) -> dict[str, Any]:
    return {each["name"]: each["schema"] for each in operation.get("parameters", ()) if each["in"] == "query"}


def body(document: dict[str, Any], operation: dict[str, Any]) -> dict[str, Any]:
    reference = operation["requestBody"]["content"]["application/json"]["schema"]["$ref"]
    fields: dict[str, Any] = document["components"]["schemas"][reference.rpartition("/")[2]]["properties"]
    return fields


def choices(schema: Any) -> set[str]:
    """The names that a field of the document may have; empty if they are not listed."""
    if isinstance(schema, dict):
        listed = {*schema.get("enum", ()), *([schema["const"]] if "const" in schema else [])}
        return listed.union(*(choices(each) for each in schema.get("anyOf", ())))
    return set()


def literals(annotation: Any) -> set[str]:
    if get_origin(annotation) is Literal:
        return set(get_args(annotation))
    return set().union(*(literals(each) for each in get_args(annotation)))


FIELDS = {
    "PATCH /jobs/{job_id}": JobLabels,
    "POST /train": TrainFields,
    "POST /datasets": OrderFields,
    "POST /evaluations": EvaluationFields,
    "POST /checkpoints": ImportFields,
    "PUT /training-data/{name}": TrainingDataFields,
    "GET /digits/{label}": DigitsQuery,
    "GET /images/{dataset}/{label}": DigitsQuery,
    "GET /numbers/{number}": NumbersQuery,
    "GET /morph/{first}/{last}": MorphQuery,
    "GET /jobs/{job_id}/evolution/{label}": EvolutionQuery,
    "GET /digits/{label}/neighbours": NeighboursQuery,
    "GET /digits/{label}/traversal": TraversalQuery,
    "GET /images/{dataset}/{label}/neighbours": NeighboursQuery,
    "GET /images/{dataset}/{label}/traversal": TraversalQuery,
}


@pytest.mark.parametrize("name", FIELDS)
def test_fields_are_those_of_the_operation(document: dict[str, Any], name: str) -> None:
    operation = operations(document)[name]
    has_fields = "application/json" in operation.get("requestBody", {}).get("content", {})
    described = body(document, operation) if has_fields else parameters(operation)
    typed = {field: kind for field, kind in get_type_hints(FIELDS[name]).items() if field not in OURS}
    assert set(typed) == set(described)
    assert {field: literals(kind) for field, kind in typed.items()} == {
        field: choices(schema) for field, schema in described.items()
    }


def test_the_parameters_of_lists_and_arrays_exist(document: dict[str, Any]) -> None:
    found = operations(document)
    keyword = {*inspect.signature(Client.jobs).parameters, *get_type_hints(JobsQuery)} - OURS
    assert keyword - {"self", "selection"} == set(parameters(found["GET /jobs"]))
    assert literals(get_type_hints(JobsQuery)["sort"]) == choices(parameters(found["GET /jobs"])["sort"])
    keyword = set(inspect.signature(Client.datasets).parameters)
    assert keyword - {"self", "options"} == set(parameters(found["GET /datasets"])) - {"epochs"}
    keyword = set(inspect.signature(Client.evaluations).parameters)
    assert keyword - {"self", "options"} == set(parameters(found["GET /evaluations"])) - {"epochs"}
    export = found["GET /checkpoints/{checkpoint}/exports/{file}"]
    assert choices(parameters(export)["weights"]) == set(get_args(WeightsOf))
    assert set(SUFFIXES) == set(FORMATS)
    assert {f"{network}{suffix}" for network in get_args(Network) for suffix in SUFFIXES.values()} >= set(EXPORTS)
    assert set(get_type_hints(PixelsQuery)) - OURS < set(parameters(found["GET /digits/{label}"]))


def test_every_field_of_a_response_exists_in_the_records(document: dict[str, Any]) -> None:
    schemas = {name: each for name, each in document["components"]["schemas"].items() if "properties" in each}
    for name in set(schemas) - REQUESTS - ERRORS - EVENTS - FILES:  # `follow` returns events as `Change`
        modules = records, evaluations, checkpoints, live, training_data
        record = RECORDS.get(name) or next(found for each in modules if (found := getattr(each, name, None)))
        assert set(schemas[name]["properties"]) <= set(record.model_fields), name
        needed = {field for field, info in record.model_fields.items() if info.is_required()}
        assert needed <= set(schemas[name].get("required", ())), name


def test_the_client_knows_every_status() -> None:
    assert {status.value for status in records.JobStatus} == {status.value for status in model.JobStatus}
    assert {str(status) for status in records.ENDED} == {str(status) for status in model.ENDED}
