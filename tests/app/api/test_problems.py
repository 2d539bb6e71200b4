"""Each code of a problem is that of a real response, and its address describes it."""

import errno
import hashlib
import json
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx2
import pytest
import redis
from pydantic import SecretStr
from starlette.testclient import TestClient

from app.main import create_app
from app.problems.codes import PROBLEMS
from app.problems.problem import ProblemDescription
from app.security.api_keys import Role, make_key
from app.settings import AppSettings
from models.errors import Conflict, NotFound, Unavailable
from models.networks.acgan import Discriminator
from models.networks.weights import to_bytes
from models.registry.store import DISCRIMINATOR, GENERATOR, CheckpointStore
from models.synthesis.order import DatasetFile, DatasetManifest, DatasetOrder
from tests.app.conftest import fresh_weights
from tests.models.registry.test_store import NEW, OLD, manifest
from tests.support.api_clients import let_routes_raise, local_client
from worker.jobs.keys import job_key

ROOT = Path(__file__).parents[3]
NOBODY = "20200101-000000-aaaaaa"
TRAIN_LABELS = "train-labels-idx1-ubyte.gz"
JSON = {"Content-Type": "application/json"}
READER, ANA, BEN = make_key("reader", Role.READ), make_key("ana", Role.TRAIN), make_key("ben", Role.TRAIN)
KEYS = SecretStr(" ".join(str(entry) for _, entry in (READER, ANA, BEN)))

# Codes that need a server, a crowd, the proxy or training data: the tests in these files meet them.
ELSEWHERE = {
    "request-timeout": "app/server/protocol/test_requests.py",
    "headers-too-long": "app/server/protocol/test_requests.py",
    "too-many-connections": "app/server/protocol/test_timeouts.py",
    **dict.fromkeys(("too-many-uploads", "upload-timeout"), "app/api/test_uploads.py"),
    "generator-refused": "app/api/test_import.py",
    "too-many-streams": "app/api/test_event_stream.py",
    "overloaded": "app/api/test_digits.py",
    "style-bank-not-ready": "app/api/test_numbers.py",
    **dict.fromkeys(("class-not-found", "not-digits"), "app/api/test_images.py"),
    "too-many-archives": "app/cli/test_layouts.py",
    **dict.fromkeys(("redis-unsafe", "redis-nearly-full"), "app/api/test_errors.py"),
    **dict.fromkeys(("replica-lost", "no-replica", "response-timeout"), "deploy/test_proxy_problems.py"),
}


class World:
    """An API over a real Redis, with a store that has two checkpoints."""

    def __init__(self, settings: AppSettings, store: CheckpointStore, stack: ExitStack) -> None:
        self.settings, self.store, self.stack = settings, store, stack

    def api(self, **changes: Any) -> TestClient:
        settings = self.settings.model_copy(update=changes)
        return self.stack.enter_context(local_client(create_app(settings), raise_server_exceptions=False))

    def ask(self, method: str, path: str, **options: Any) -> httpx2.Response:
        return self.api().request(method, path, **options)

    def cancelled(self, client: TestClient) -> str:
        job: str = client.post("/train").json()["id"]
        client.post(f"/jobs/{job}/cancel")
        return job

    def write(self, name: str, data: bytes) -> None:
        path = self.settings.store_dir / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)


@pytest.fixture
def world(settings: AppSettings, store: CheckpointStore) -> Iterator[World]:
    with ExitStack() as stack:
        yield World(settings, store, stack)


def key(of: tuple[str, object]) -> dict[str, str]:
    return {"X-API-Key": of[0]}


def of_another_version(world: World) -> httpx2.Response:
    world.write(f"{OLD}/001/manifest.json", b'{"id": 5}')
    return world.ask("GET", f"/checkpoints/{OLD}-e001")


def a_damaged_generator(world: World, **changes: Any) -> httpx2.Response:
    world.write(f"{OLD}/001/{GENERATOR}", b"damaged")
    return world.api(**changes).get(f"/digits/7?checkpoint={OLD}-e001")


def a_folder_in_place_of_a_manifest(world: World) -> httpx2.Response:
    path = world.settings.store_dir / OLD / "001" / "manifest.json"
    path.unlink()
    path.mkdir()
    return world.ask("GET", f"/checkpoints/{OLD}-e001")


def no_weights(world: World) -> httpx2.Response:
    world.store.publish(manifest(OLD, 2), {GENERATOR: b"no weights"})
    return world.ask("GET", f"/digits/7?checkpoint={OLD}-e002")


def an_export(world: World, file: str) -> httpx2.Response:
    files = {GENERATOR: fresh_weights(1), DISCRIMINATOR: to_bytes(Discriminator(20))}
    world.store.publish(manifest(OLD, 2), files)
    return world.ask("GET", f"/checkpoints/{OLD}-e002/exports/{file}")


def without_onnx(world: World) -> httpx2.Response:
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "onnxscript", None)
        return an_export(world, "generator.onnx")


def a_converter_that_fails(world: World) -> httpx2.Response:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("models.interop.exports.sys.executable", "/bin/false")
        return an_export(world, "generator.onnx")


def a_full_disk(world: World) -> httpx2.Response:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "no space left on the device")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("app.api.uploads.receiving.write_all", full)
        return uploaded(world, fresh_weights(1))


def refused_by_the_gate(world: World) -> httpx2.Response:
    refused = manifest(OLD, 2).model_copy(update={"refused": "its digits are blank"})
    world.store.publish(refused, {GENERATOR: fresh_weights(1)})
    return world.ask("GET", f"/digits/7?checkpoint={OLD}-e002")


def nothing_usable(world: World) -> httpx2.Response:
    for job in (OLD, NEW):
        world.write(f"{job}/001/{GENERATOR}", b"damaged")
    return world.api(pretrained=False).get("/digits/7")


def nothing_published(world: World) -> httpx2.Response:
    return world.api(pretrained=False, home=world.settings.home / "other").get("/digits/7")


def uploaded(world: World, data: bytes, kind: str = "application/octet-stream", **changes: Any) -> httpx2.Response:
    return world.api(**changes).post("/checkpoints", content=data, headers={"Content-Type": kind})


def a_data_set(world: World, data: bytes | None = None) -> None:
    """Write a data set of one file of three bytes, with `data` in place of its manifest if it is given."""
    file = DatasetFile(sha256=hashlib.sha256(b"abc").hexdigest(), size=3, unpacked_sha256="", examples=1, first_index=0)
    made = DatasetManifest(
        order=DatasetOrder(checkpoint=f"{OLD}-e001"),
        created_at=datetime(2026, 1, 31, tzinfo=UTC),
        files={TRAIN_LABELS: file},
        generator_sha256="",
        device="cpu",
        code_version="",
    )
    world.write(f"{NOBODY}/dataset/{TRAIN_LABELS}", b"abc")
    world.write(f"{NOBODY}/dataset/manifest.json", data or made.model_dump_json().encode())


def beyond_the_end(world: World) -> httpx2.Response:
    a_data_set(world)
    return world.ask("GET", f"/datasets/{NOBODY}/{TRAIN_LABELS}", headers={"Range": "bytes=9-"})


def test_a_layout_without_its_library_is_refused_like_a_format(world: World) -> None:
    a_data_set(world)
    patch = world.stack.enter_context(pytest.MonkeyPatch.context())
    for module in ("pyarrow", "pyarrow.parquet"):
        patch.setitem(sys.modules, module, None)
    answer = world.ask("GET", f"/datasets/{NOBODY}/archive?layout=huggingface")
    problem = answer.json()
    assert (problem["type"], answer.status_code) == ("/problems/extra-missing", 501)
    assert all(
        words in problem["detail"] for words in ("pip install 'acgan[parquet]'", "on the machine of the service")
    )
    assert "Retry-After" not in answer.headers


def a_torn_record(world: World) -> httpx2.Response:
    a_data_set(world, b'{"files": ')
    return world.ask("GET", f"/datasets/{NOBODY}/{TRAIN_LABELS}")


def to_the_front(world: World) -> httpx2.Response:
    client = world.api()
    return client.post(f"/jobs/{world.cancelled(client)}/front")


def a_record_of_another_version(world: World) -> httpx2.Response:
    client = world.api()
    job = client.post("/train").json()["id"]
    with redis.Redis.from_url(world.settings.redis_url) as connection:
        connection.hset(job_key(job), "config", '{"epochs": "many"}')
    return client.get(f"/jobs/{job}/history.json")


def resumed(world: World, state: bytes) -> httpx2.Response:
    client = world.api()
    job = world.cancelled(client)
    world.write(f"{job}/resume.json", state)
    return client.post(f"/jobs/{job}/resume")


def the_same_key_again(world: World) -> httpx2.Response:
    client, headers = world.api(), {"Idempotency-Key": "one"}
    client.post("/train", headers=headers)
    return client.post("/train", json={"epochs": 5}, headers=headers)


def twice(client: TestClient, **options: Any) -> httpx2.Response:
    assert client.post("/train", **options).status_code == 202
    return client.post("/train", **options)


def delete_a_waiting_job(world: World) -> httpx2.Response:
    client = world.api()
    return client.delete(f"/jobs/{client.post('/train').json()['id']}")


def raised(error: Exception) -> Callable[[World], httpx2.Response]:
    """A request whose route raises an error."""

    def ask(world: World) -> httpx2.Response:
        app = create_app(world.settings)
        let_routes_raise(app, error)
        return world.stack.enter_context(local_client(app, raise_server_exceptions=False)).get("/jobs")

    return ask


class NoSuchThing(NotFound, code="no-such-thing"):
    pass


class NoSuchState(Conflict, code="no-such-state"):
    pass


class NoSuchPart(Unavailable, code="no-such-part"):
    pass


CAUSES: dict[str, Callable[[World], httpx2.Response]] = {
    # An error without a code in the table has that of its family.
    "not-found": raised(NoSuchThing("there is no such thing")),
    "conflict": raised(NoSuchState("there is no such state")),
    "unavailable": raised(NoSuchPart("there is no such part")),
    "internal-error": raised(ValueError("a fault")),
    "invalid-input": lambda world: world.ask("GET", "/digits/10"),
    "malformed-request": lambda world: world.ask("GET", "/jobs", headers={"Host": "two words"}),
    "unreadable-body": lambda world: world.ask("POST", "/train", content="[" * 60_000, headers=JSON),
    "path-not-found": lambda world: world.ask("GET", "/nowhere"),
    "method-not-allowed": lambda world: world.ask("DELETE", "/train"),
    "body-too-long": lambda world: world.ask("POST", "/train", content=b" " * 1_000_000, headers=JSON),
    "unsupported-media-type": lambda world: world.ask(
        "POST", "/train", content="{}", headers={"Content-Type": "text/plain"}
    ),
    "unsupported-file-type": lambda world: uploaded(world, b"{}", "application/json"),
    "upload-too-large": lambda world: uploaded(world, bytes(2000), upload_limit=1024),
    "invalid-upload": lambda world: uploaded(world, b"no weights"),
    "precondition-failed": lambda world: world.ask(
        "PUT", "/serving", json={"policy": "newest"}, headers={"If-Match": '"another"'}
    ),
    "key-required": lambda world: world.api(api_keys=KEYS).post("/train"),
    "key-unknown": lambda world: world.api(api_keys=KEYS).post("/train", headers={"X-API-Key": "wrong"}),
    "not-allowed": lambda world: world.api(api_keys=KEYS).post("/train", headers=key(READER)),
    "foreign-origin": lambda world: world.ask("POST", "/train", headers={"Sec-Fetch-Site": "cross-site"}),
    "host-not-allowed": lambda world: world.ask("GET", "/jobs", headers={"Host": "rebind.test"}),
    "rate-limited": lambda world: twice(world.api(work_rate="1/minute")),
    "job-not-found": lambda world: world.ask("GET", f"/jobs/{NOBODY}"),
    "invalid-transition": to_the_front,
    "record-not-understood": a_record_of_another_version,
    "state-deleted": lambda world: resumed(world, b'{"deleted": true}'),
    "state-not-understood": lambda world: resumed(world, b'{"deleted": "perhaps"}'),
    "idempotency-conflict": the_same_key_again,
    "webhook-not-allowed": lambda world: world.ask("POST", "/train", json={"webhook": "https://hooks.example.com/"}),
    "queue-full": lambda world: twice(world.api(queue_limit=1)),
    "queue-share-used": lambda world: twice(world.api(queue_limit=2, api_keys=KEYS), headers=key(ANA)),
    "checkpoint-not-found": lambda world: world.ask("GET", f"/checkpoints/{NOBODY}-e001"),
    "checkpoint-file-not-found": lambda world: world.ask("GET", f"/checkpoints/{OLD}-e001/{DISCRIMINATOR}"),
    "not-convertible": lambda world: an_export(world, "discriminator.hdf5"),
    "extra-missing": without_onnx,
    "conversion-failed": a_converter_that_fails,
    "disk-full": a_full_disk,
    "checkpoint-refused": refused_by_the_gate,
    "checkpoint-not-understood": of_another_version,
    "checkpoint-damaged": a_damaged_generator,
    "invalid-weights": no_weights,
    "nothing-published": nothing_published,
    "nothing-usable": nothing_usable,
    "dataset-not-found": lambda world: world.ask("GET", f"/datasets/{NOBODY}"),
    "dataset-file-not-found": lambda world: world.ask("GET", f"/datasets/{NOBODY}/{TRAIN_LABELS}"),
    "evaluation-not-found": lambda world: world.ask("GET", f"/evaluations/{NOBODY}"),
    "range-not-satisfiable": beyond_the_end,
    "not-acceptable": lambda world: world.ask("GET", "/digits/7", headers={"Accept": "text/html"}),
    "not-verified": lambda world: world.ask("GET", "/digits/7?n=40&verify=1"),
    "training-data-not-found": lambda world: world.ask("GET", "/training-data/letters"),
    "training-data-reserved": lambda world: world.ask("DELETE", "/training-data/mnist"),
    "training-data-name-invalid": lambda world: world.ask("DELETE", "/training-data/Letters"),
    "in-use": delete_a_waiting_job,
    "store-full": lambda world: world.api(store_limit=1).post("/train"),
    "store-unavailable": a_folder_in_place_of_a_manifest,
    "file-invalid": a_torn_record,
    "redis-unavailable": lambda world: world.api(redis_url="redis://127.0.0.1:9/0").get("/jobs"),
}


@pytest.mark.parametrize("code", CAUSES)
def test_a_response_has_the_code_of_its_error(world: World, code: str) -> None:
    answer = CAUSES[code](world)
    problem = answer.json()
    assert problem["type"] == f"/problems/{code}", problem
    assert answer.status_code == problem["status"] == PROBLEMS[code].status
    assert answer.headers["content-type"] == "application/problem+json"
    assert ("Retry-After" in answer.headers) is (answer.status_code in (429, 503))
    assert "{" not in problem.get("hint", "").replace('{"epochs": 5}', "")
    assert problem["detail"].endswith(problem.get("hint", "."))


def test_every_code_has_a_cause() -> None:
    assert {*CAUSES, *ELSEWHERE} == set(PROBLEMS)
    for code, file in ELSEWHERE.items():
        assert f'"/problems/{code}"' in (ROOT / "tests" / file).read_text()


def test_the_type_of_a_problem_resolves_to_its_description_without_a_key(world: World) -> None:
    client = world.api(api_keys=KEYS, read_needs_key=True)
    assert client.get("/jobs").status_code == 401
    for code, kind in PROBLEMS.items():
        answer = client.get(f"/problems/{code}")
        assert answer.status_code == 200
        described = ProblemDescription.model_validate(json.loads(answer.content))
        assert (described.code, described.status, described.description) == (code, kind.status, kind.meaning)
    assert client.get("/problems/nonsense").json()["type"] == "/problems/path-not-found"
