"""The files of a checkpoint over HTTP, from a folder and from a bucket: whole, in part, damaged, and converted."""

import base64
import hashlib
import io
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numpy as np
import onnxruntime
import pytest
import torch
from pydantic import SecretStr
from starlette.testclient import TestClient

from app.main import create_app
from app.security.api_keys import Role, make_key
from app.settings import AppSettings
from models.interop.exports import convert
from models.interop.keras import load_generator
from models.networks.acgan import Discriminator, Generator
from models.networks.weights import generator_from_bytes, to_bytes
from models.registry import bundled
from models.registry.store import AVERAGE, DISCRIMINATOR, GENERATOR, SAMPLES, CheckpointStore
from tests.conftest import RunningRedis, set_environment
from tests.models.registry.test_store import NEW, OLD, damage_inside, manifest
from tests.support.api_clients import local_client

FILES = {
    GENERATOR: to_bytes(Generator(10)),
    AVERAGE: to_bytes(Generator(10)),
    DISCRIMINATOR: to_bytes(Discriminator()),
    SAMPLES: b"\x89PNG of the epoch",
}
WHOLE, SHARP = f"{OLD}-e001", f"{NEW}-e001"
WEIGHTS = f"/checkpoints/{WHOLE}/{GENERATOR}"


class World(NamedTuple):
    client: TestClient
    store: CheckpointStore


@pytest.fixture(scope="module", params=["folder", "s3"])
def world(
    request: pytest.FixtureRequest, shared_redis: RunningRedis, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[World]:
    home = tmp_path_factory.mktemp("weights") / "home"
    with pytest.MonkeyPatch.context() as patch:
        set_environment(patch, home)
        settings = AppSettings(redis_url=shared_redis.url)
        if request.param == "s3":
            settings = settings.model_copy(update={"store": request.getfixturevalue("endpoint").address()})
        store = settings.open_store()
        store.publish(manifest(OLD).model_copy(update={"draws": AVERAGE}), FILES)
        only = {GENERATOR: FILES[GENERATOR], DISCRIMINATOR: to_bytes(Discriminator(20))}
        store.publish(manifest(NEW), only)
        with local_client(create_app(settings), raise_server_exceptions=False) as client:
            yield World(client, store)


def is_problem(answer: Any, code: str) -> str:
    assert answer.json()["type"] == f"/problems/{code}", answer.text
    return str(answer.json()["detail"])


def test_every_file_of_the_manifest_is_served_unchanged(world: World) -> None:
    stored = world.client.get(f"/checkpoints/{WHOLE}/manifest.json")
    assert stored.headers["content-type"] == "application/json"
    listed = stored.json()["files"]
    assert set(listed) == set(FILES)
    for name, data in FILES.items():
        answer = world.client.get(f"/checkpoints/{WHOLE}/{name}")
        assert (answer.status_code, answer.content == data) == (200, True)
        digest = hashlib.sha256(data)
        assert answer.headers["ETag"] == f'"{digest.hexdigest()}"' == f'"{listed[name]["sha256"]}"'
        assert answer.headers["Repr-Digest"] == f"sha-256=:{base64.b64encode(digest.digest()).decode()}:"
        assert answer.headers["Content-Length"] == str(len(data)) == str(listed[name]["size"])
        assert answer.headers["Content-Disposition"] == f'attachment; filename="{WHOLE}-{name}"'
        assert "immutable" in answer.headers["Cache-Control"]
    assert world.client.get(f"/checkpoints/{WHOLE}/{SAMPLES}").headers["content-type"] == "image/png"


def test_a_download_is_resumed_checked_and_not_repeated(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.api.downloads.PIECE", 1_000_000)
    data = FILES[GENERATOR]
    tag = f'"{hashlib.sha256(data).hexdigest()}"'
    head = world.client.head(WEIGHTS)
    assert (head.status_code, head.headers["Content-Length"], head.content) == (200, str(len(data)), b"")
    rest = world.client.get(WEIGHTS, headers={"Range": "bytes=100-", "If-Range": tag})
    assert (rest.status_code, rest.content == data[100:]) == (206, True)
    assert rest.headers["Content-Range"] == f"bytes 100-{len(data) - 1}/{len(data)}"
    assert world.client.get(WEIGHTS, headers={"Range": "bytes=-7"}).content == data[-7:]
    assert world.client.get(WEIGHTS, headers={"Range": "bytes=5-", "If-Range": '"other"'}).status_code == 200
    beyond = world.client.get(WEIGHTS, headers={"Range": f"bytes={len(data)}-"})
    assert (beyond.status_code, beyond.headers["Content-Range"]) == (416, f"bytes */{len(data)}")
    same = world.client.get(WEIGHTS, headers={"If-None-Match": tag})
    assert (same.status_code, same.content) == (304, b"")


def test_latest_names_its_checkpoint_and_is_not_immutable(world: World) -> None:
    answer = world.client.get(f"/checkpoints/latest/{GENERATOR}")
    assert (answer.headers["X-Checkpoint"], answer.headers["Cache-Control"]) == (SHARP, "no-cache")


def test_the_bundled_generator_is_served_too(world: World) -> None:
    first = bundled.checkpoint()
    assert first
    answer = world.client.get(f"/checkpoints/{first}/{GENERATOR}")
    assert hashlib.sha256(answer.content).hexdigest() == bundled.STORE.manifest(first).files[GENERATOR].sha256


@pytest.mark.parametrize("name", [AVERAGE, "secret", "..", "%2e%2e%2fjob.json", "job.json", "x" * 300])
def test_only_files_of_the_manifest_are_served(world: World, name: str) -> None:
    answer = world.client.get(f"/checkpoints/{SHARP}/{name}")
    assert answer.status_code == 404
    if name == AVERAGE:
        detail = is_problem(answer, "checkpoint-file-not-found")
        assert detail == f"Checkpoint {SHARP} has no file '{AVERAGE}': see GET /checkpoints/{SHARP}."
    assert is_problem(world.client.get(f"/checkpoints/{OLD}-e002/{GENERATOR}"), "checkpoint-not-found")


@pytest.mark.parametrize("how", ["bytes", "shorter", "longer", "missing"])
@pytest.mark.parametrize("asked", ["", "bytes=0-9"])
def test_a_damaged_file_is_never_delivered(world: World, how: str, asked: str) -> None:
    job = f"20260301-000000-{abs(hash((how, asked, id(world)))):x}"[:30]
    data = b"weights of a network" * 100
    world.store.publish(manifest(job), {GENERATOR: data})
    damaged = {"bytes": data[:-1] + b"?", "shorter": data[:-1], "longer": data + b"?", "missing": None}[how]
    damage_inside(world.store, f"{job}/001/{GENERATOR}", damaged)
    answer = world.client.get(f"/checkpoints/{job}-e001/{GENERATOR}", headers={"Range": asked} if asked else {})
    assert answer.status_code == 503
    assert f"{GENERATOR} of {job}-e001 is {'missing' if how == 'missing' else 'damaged'}" in is_problem(
        answer, "checkpoint-damaged"
    )
    assert f"{job}-e001" in world.client.get("/readyz").json()["trouble"]


def test_a_file_that_is_damaged_while_it_is_sent_does_not_arrive_completely(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.api.downloads.PIECE", 500)
    data, job = b"weights" * 300, "20260302-000000-aaaaaa"
    made = world.store.publish(manifest(job), {GENERATOR: data})
    read = CheckpointStore.read

    def damage_after_the_check(store: CheckpointStore, *of: Any) -> bytes:
        whole = read(store, *of)
        damage_inside(world.store, f"{job}/001/{GENERATOR}", data[:-1] + b"?")
        return whole

    monkeypatch.setattr(CheckpointStore, "read", damage_after_the_check)
    answer = world.client.get(f"/checkpoints/{made.id}/{GENERATOR}")
    assert int(answer.headers["Content-Length"]) == len(data)
    assert answer.content == data[: len(data) - len(data) % 500]  # the last piece is withheld


def test_a_checkpoint_is_not_deleted_while_it_is_downloaded(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.api.downloads.PIECE", 1_000_000)
    read, refused = CheckpointStore.read_part, list[int]()

    def delete_meanwhile(store: CheckpointStore, *of: Any) -> bytes:
        if of[2] == 2_000_000:  # after the first piece, which is read before the response begins
            refused.append(world.client.delete(f"/checkpoints/{WHOLE}").status_code)
        return read(store, *of)

    monkeypatch.setattr(CheckpointStore, "read_part", delete_meanwhile)
    assert world.client.get(WEIGHTS).content == FILES[GENERATOR]
    assert refused == [409]
    assert world.client.get(WEIGHTS).status_code == 200


# ----------------------------------------------------------------------------
# Conversions.


@pytest.fixture(scope="module")
def client(world: World) -> TestClient:
    return world.client


def test_a_generator_is_converted_for_keras(client: TestClient, tmp_path: Path) -> None:
    served = generator_from_bytes(FILES[AVERAGE]).state_dict()
    for name, group in (("generator.hdf5", "embedding_1"), ("generator.weights.h5", "layers/embedding/vars/0")):
        answer = client.get(f"/checkpoints/{WHOLE}/exports/{name}")
        assert (answer.status_code, answer.headers["content-type"]) == (200, "application/x-hdf5")
        assert answer.headers["Content-Disposition"] == f'attachment; filename="{WHOLE}-{name}"'
        (tmp_path / name).write_bytes(answer.content)
        with h5py.File(tmp_path / name) as file:
            assert group in file
        loaded = load_generator(tmp_path / name).state_dict()
        assert all(torch.equal(tensor, loaded[key]) for key, tensor in served.items())
        tag = answer.headers["ETag"]
        assert client.get(f"/checkpoints/{WHOLE}/exports/{name}", headers={"If-None-Match": tag}).status_code == 304
        rest = client.get(f"/checkpoints/{WHOLE}/exports/{name}", headers={"Range": "bytes=1000-", "If-Range": tag})
        assert (rest.status_code, rest.content) == (206, answer.content[1000:])


def test_the_trained_and_the_averaged_weights_can_be_chosen(client: TestClient) -> None:
    path = f"/checkpoints/{WHOLE}/exports/generator.hdf5"
    trained, average, served = (
        client.get(path + query).content for query in ("?weights=trained", "?weights=average", "")
    )
    assert trained != average == served
    assert trained == convert(FILES[GENERATOR], "generator", "keras", "any name")
    missing = client.get(f"/checkpoints/{SHARP}/exports/generator.hdf5?weights=average")
    assert AVERAGE in is_problem(missing, "checkpoint-file-not-found")
    assert client.get(f"{path}?weights=both").status_code == 422


def test_a_discriminator_is_converted_if_the_original_script_has_it(client: TestClient) -> None:
    answer = client.get(f"/checkpoints/{WHOLE}/exports/discriminator.weights.h5")
    with h5py.File(io.BytesIO(answer.content)) as file:
        assert file["layers/dense_1/vars/0"].shape == (12544, 10)
    other = client.get(f"/checkpoints/{SHARP}/exports/discriminator.hdf5")
    assert "has 20 classes" in is_problem(other, "not-convertible")
    assert "generator.onnx" in is_problem(
        client.get(f"/checkpoints/{WHOLE}/exports/discriminator.onnx"), "checkpoint-file-not-found"
    )


def test_damaged_weights_are_not_converted(world: World) -> None:
    job = "20260303-000000-aaaaaa"
    world.store.publish(manifest(job), {GENERATOR: FILES[GENERATOR]})
    damage_inside(world.store, f"{job}/001/{GENERATOR}", FILES[AVERAGE])
    is_problem(world.client.get(f"/checkpoints/{job}-e001/exports/generator.hdf5"), "checkpoint-damaged")


def test_a_missing_library_is_named(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "onnxscript", None)
    answer = client.get(f"/checkpoints/{WHOLE}/exports/generator.onnx")
    assert answer.status_code == 501
    assert "pip install 'acgan[onnx]'" in is_problem(answer, "extra-missing")
    assert "Retry-After" not in answer.headers


def test_conversions_run_one_at_a_time_and_few_wait(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    running, release, most, done = threading.Semaphore(0), threading.Event(), list[int](), list[int]()
    active = 0

    def slow(*_: Any) -> bytes:
        nonlocal active
        active += 1
        most.append(active)
        running.release()
        release.wait(30)
        active -= 1
        return b"converted"

    monkeypatch.setattr("app.inference.checkpoint_files.convert", slow)
    first = bundled.checkpoint()
    paths = [f"/checkpoints/{each}/exports/generator.weights.h5" for each in (SHARP, first)]
    paths += [f"/checkpoints/{SHARP}/exports/{name}" for name in ("generator.hdf5", "discriminator.weights.h5")]
    threads = [threading.Thread(target=lambda path=path: done.append(client.get(path).status_code)) for path in paths]
    for thread in threads:
        thread.start()
    assert running.acquire(timeout=30)
    files = client.app.state.services.inference.files  # type: ignore[attr-defined]
    while files._asked < len(paths):
        threading.Event().wait(0.01)
    crowded = client.get(f"/checkpoints/{first}/exports/generator.hdf5")
    assert (crowded.status_code, crowded.headers["Retry-After"]) == (503, "6")
    is_problem(crowded, "overloaded")
    release.set()
    for thread in threads:
        thread.join()
    assert (done, max(most)) == ([200] * 4, 1)
    files._converted.clear()


def test_onnx_draws_the_same_digits_and_has_the_same_bytes_again(
    shared_client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = f"/checkpoints/{NEW}-e001/exports/generator.onnx"
    answer = shared_client.get(path)
    session = onnxruntime.InferenceSession(answer.content)
    assert session.get_modelmeta().custom_metadata_map["checkpoint"] == f"{NEW}-e001"
    generator = generator_from_bytes(shared_client.get(f"/checkpoints/{NEW}-e001/{GENERATOR}").content)
    noise, labels = torch.rand(5, 100) * 2 - 1, torch.arange(5)
    drawn, _ = session.run(None, {"noise": noise.numpy(), "labels": labels.numpy()})
    with torch.no_grad():
        assert np.abs(drawn - generator(noise, labels).numpy()).max() < 1e-4
    again = shared_client.get(path)  # from memory
    assert (again.content, again.headers["ETag"]) == (answer.content, answer.headers["ETag"])
    shared_client.app.state.services.inference.files._converted.clear()  # type: ignore[attr-defined]
    assert shared_client.get(path).content == answer.content  # in another process


# ----------------------------------------------------------------------------
# Keys.


def test_reading_weights_needs_the_key_that_reading_needs(
    shared_redis: RunningRedis, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key, entry = make_key("reader", Role.READ)
    settings = AppSettings(redis_url=shared_redis.url, api_keys=SecretStr(str(entry)))
    first = bundled.checkpoint()
    with local_client(create_app(settings)) as client:
        for path in (f"/checkpoints/{first}/{GENERATOR}", f"/checkpoints/{first}/exports/generator.hdf5"):
            assert client.get(path).status_code == 401
            answer = client.get(path, headers={"X-API-Key": key})
            assert (answer.status_code, "private" in answer.headers["Cache-Control"]) == (200, True)


def test_links_lead_to_files_and_exports(client: TestClient) -> None:
    links = client.get(f"/checkpoints/{WHOLE}").json()["links"]
    assert client.head(links["files"].format(file=GENERATOR)).status_code == 200
    assert client.head(links["exports"].format(file="generator.hdf5")).status_code == 200
    assert json.loads(client.get(links["files"].format(file="manifest.json")).content)["id"] == WHOLE
