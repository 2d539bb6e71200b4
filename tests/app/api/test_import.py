"""Generators that arrive as files: what is published, what is refused, and who sees the new checkpoint."""

from collections.abc import Callable, Iterator

import httpx2
import pytest
import torch
from safetensors.torch import load, save
from starlette.testclient import TestClient

from app.main import create_app
from app.settings import AppSettings
from models.networks.acgan import Discriminator, Generator
from models.networks.weights import to_bytes
from models.registry.store import GENERATOR, CheckpointId, CheckpointStore
from tests.app.conftest import fresh_weights
from tests.conftest import RunningRedis
from tests.models.registry.test_store import NEW, damage_inside
from tests.support.api_clients import local_client
from tests.support.s3_endpoint import Endpoint
from tests.support.training_sets import bring

FILE = {"Content-Type": "application/vnd.safetensors"}


def upload(client: TestClient, data: bytes, **query: str) -> httpx2.Response:
    return client.post("/checkpoints", content=data, headers=FILE, params=query)


def test_an_imported_generator_is_served_and_listed(client: TestClient, store: CheckpointStore) -> None:
    answer = upload(client, fresh_weights(7), name=" mine ", recipe="sharp")
    made = answer.json()
    assert answer.status_code == 201, made
    assert answer.headers["Location"] == made["links"]["self"] == f"/checkpoints/{made['id']}"
    assert (made["config"]["name"], made["config"]["recipe"], made["config"]["dataset"]) == ("mine", "sharp", "mnist")
    assert (made["losses"], made["refused"], "job" in made["links"]) == (None, None, False)
    assert client.get(answer.headers["Location"]).json() == made
    assert client.get("/serving").json()["serving"] == made["id"]
    assert client.get("/digits/7").headers["X-Checkpoint"] == made["id"]
    assert client.get(made["links"]["samples"]).headers["Content-Type"] == "image/png"

    manifest = store.manifest(CheckpointId.parse(made["id"]))
    assert store.latest() == manifest.checkpoint
    assert manifest.number == (store.manifest(CheckpointId(NEW, 1)).number or 0) + 2  # its job has a number too
    assert store.read(manifest, GENERATOR) == fresh_weights(7)


def test_another_process_with_the_store_serves_it(client: TestClient, settings: AppSettings) -> None:
    with local_client(create_app(settings)) as replica:
        made = upload(client, fresh_weights(7)).json()["id"]
        assert replica.get(f"/digits/7?checkpoint={made}").headers["X-Checkpoint"] == made


def test_the_same_weights_again_return_the_same_checkpoint(client: TestClient) -> None:
    first = upload(client, fresh_weights(7))
    tensors = load(fresh_weights(7))
    forms = [fresh_weights(7), save(tensors, {"made by": "others"}), save({k: v.double() for k, v in tensors.items()})]
    for data in (*forms[:2], widened(forms[2])):
        again = upload(client, data, name="another name")
        assert (again.status_code, again.json()) == (200, first.json())
        assert again.headers["Location"] == first.headers["Location"]
    assert len(client.get("/checkpoints").json()["checkpoints"]) == 3


def test_weights_are_imported_again_if_they_are_damaged_or_were_for_other_data(
    client: TestClient, store: CheckpointStore
) -> None:
    made = [upload(client, fresh_weights(7), dataset=dataset) for dataset in ("mnist", "printed", "mnist")]
    assert [answer.status_code for answer in made] == [201, 201, 200]
    first, other, again = (answer.json()["id"] for answer in made)
    assert first == again != other
    damage_inside(store, f"{CheckpointId.parse(first).folder}/{GENERATOR}", b"damaged")
    repaired = upload(client, fresh_weights(7))
    assert repaired.status_code == 201
    assert repaired.json()["id"] != first


def test_a_generator_of_brought_data_needs_a_judge_or_a_service_without_one(
    settings: AppSettings, store: CheckpointStore
) -> None:
    bring(store.training_data, "letters", ("a", "b", "c"))
    with local_client(create_app(settings.model_copy(update={"judge": True}))) as client:
        refused = upload(client, fresh_weights(7, 3), dataset="letters")
        assert (refused.status_code, refused.json()["type"]) == (422, "/problems/invalid-upload")
        assert "no judge for letters@1" in refused.json()["detail"]
        unknown = upload(client, fresh_weights(7, 3), dataset="numbers")
        assert (unknown.status_code, unknown.json()["type"]) == (404, "/problems/training-data-not-found")
        wrong = upload(client, fresh_weights(7), dataset="letters")
        assert "has 10 classes, and the data set letters@1 has 3" in wrong.json()["detail"]
    with local_client(create_app(settings.model_copy(update={"judge": False}))) as client:
        made = upload(client, fresh_weights(7, 3), dataset="letters").json()
        assert (made["config"]["dataset"], made["classes"]) == ("letters@1", ["a", "b", "c"])
        assert upload(client, fresh_weights(7, 3), dataset="letters").status_code == 200
        drawn = client.get("/images/letters/c").raise_for_status()
        assert drawn.headers["X-Checkpoint"] == made["id"]
        assert client.get("/digits/7").headers["X-Checkpoint"] == f"{NEW}-e001"


def test_an_import_without_a_storage_limit_needs_no_redis(settings: AppSettings, store: CheckpointStore) -> None:
    away = settings.model_copy(update={"redis_url": "redis://127.0.0.1:9/0", "work_rate": "off", "store_limit": None})
    with local_client(create_app(away)) as client:
        made = upload(client, fresh_weights(7))
    assert made.status_code == 201, made.json()
    assert store.manifest(CheckpointId.parse(made.json()["id"]))


def widened(data: bytes) -> bytes:
    """The same weights in double precision, with counters as they were."""
    integers = {name: tensor for name, tensor in load(fresh_weights(7)).items() if not tensor.is_floating_point()}
    return save({**load(data), **integers})


def changed(**tensors: torch.Tensor | None) -> bytes:
    """A generator's file with other tensors; None removes one."""
    state = {**load(fresh_weights(7)), **{name.replace("__", "."): tensor for name, tensor in tensors.items()}}
    return save({name: tensor for name, tensor in state.items() if tensor is not None})


INVALID: dict[str, tuple[Callable[[], bytes], str]] = {
    "nothing": (lambda: b"", "an empty file"),
    "a pickle": (lambda: b"\x80\x02}q\x00.", "a pickle can run code"),
    "PyTorch's file": (lambda: b"PK\x03\x04" + 26 * b"\0" + b"archive/data.pkl", "a pickle can run code"),
    "HDF5": (lambda: b"\x89HDF\r\n\x1a\n" + bytes(100), "`acgan import-keras`"),
    "ONNX": (lambda: b"\x08\x08\x12\x07pytorch" + bytes(100), "an ONNX model"),
    "a web page": (lambda: b"<!DOCTYPE html>", "a web page"),
    "no format": (lambda: b"weights", "not a safetensors file"),
    "cut off": (lambda: fresh_weights(7)[:-1], "ends early"),
    "trailing bytes": (lambda: fresh_weights(7) + b"more", "4 bytes follow its last tensor"),
    "a discriminator": (lambda: to_bytes(Discriminator()), "holds no generator"),
    "other classes": (lambda: to_bytes(Generator(100, 7)), "has 7 classes"),
    "a missing tensor": (lambda: changed(dense__bias=None), "weights are missing: dense.bias"),
    "another name": (lambda: changed(extra=torch.zeros(1)), "unexpected weights: extra"),
    "another shape": (lambda: changed(dense__bias=torch.zeros(3)), "dense.bias has shape (3,)"),
    "a NaN": (lambda: changed(embedding__weight=torch.full((10, 100), torch.nan)), "not finite"),
}


def test_other_files_are_refused_with_the_reason(client: TestClient) -> None:
    before = client.get("/checkpoints").json()
    for name, (make, reason) in INVALID.items():
        answer = upload(client, make())
        assert (answer.status_code, answer.json()["type"]) == (422, "/problems/invalid-upload"), name
        assert reason in answer.json()["detail"], name
    assert client.get("/checkpoints").json() == before


@pytest.mark.usefixtures("store")
def test_a_missing_store_is_not_replaced_by_a_new_one(settings: AppSettings) -> None:
    for is_there in (True, False):
        with local_client(create_app(settings)) as client:
            if not is_there:
                answer = upload(client, fresh_weights(7))
                assert (answer.status_code, answer.json()["type"]) == (503, "/problems/store-unavailable")
                assert not settings.store_dir.exists()
        if is_there:
            settings.store_dir.rename(settings.home / "elsewhere")


@pytest.fixture
def judging(settings: AppSettings, store: CheckpointStore) -> Iterator[TestClient]:
    with local_client(create_app(settings.model_copy(update={"judge": True})), raise_server_exceptions=False) as client:
        yield client


def test_the_quality_gate_judges_an_import(judging: TestClient, good: Generator, store: CheckpointStore) -> None:
    answer = upload(judging, to_bytes(good))
    assert answer.status_code == 201
    assert answer.json()["metrics"]["label_accuracy"] > 0.99
    before = store.manifests()
    answer = upload(judging, fresh_weights(7))
    assert (answer.status_code, answer.json()["type"]) == (422, "/problems/generator-refused")
    assert "are recognised, below the 50% that serving requires" in answer.json()["detail"]
    assert "Its figures: label accuracy 0." in answer.json()["detail"]
    assert store.manifests() == before


def test_a_bucket_receives_it_through_a_local_file(
    endpoint: Endpoint, shared_redis: RunningRedis, redis_url: str
) -> None:
    settings = AppSettings(redis_url=redis_url, store=endpoint.address())
    with local_client(create_app(settings)) as client:
        answer = upload(client, fresh_weights(7))
        assert answer.status_code == 201, answer.json()
        assert client.get("/digits/7").headers["X-Checkpoint"] == answer.json()["id"]
    assert list((settings.home / "cache" / "uploads").iterdir()) == []
    other = AppSettings(redis_url=redis_url, store=settings.store, home=settings.home / "other").open_store()
    assert str(other.latest()) == answer.json()["id"]
