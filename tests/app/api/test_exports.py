"""The networks of a checkpoint over HTTP, converted to formats of other programs."""

import io
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import onnxruntime
import pytest
import torch
from starlette.testclient import TestClient

from models.interop.exports import convert
from models.interop.keras import load_generator
from models.networks.weights import generator_from_bytes
from models.registry import bundled
from models.registry.store import AVERAGE, GENERATOR
from tests.app.api.test_weights import FILES, SHARP, WHOLE, World, is_problem, opened
from tests.conftest import RunningRedis
from tests.models.registry.test_store import damage_inside, manifest


@pytest.fixture(scope="module")
def world(shared_redis: RunningRedis, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with opened(shared_redis.url, tmp_path_factory.mktemp("exports") / "home") as world:
        yield world


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
    monkeypatch.setitem(sys.modules, "onnxscript", None)
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


def test_onnx_draws_the_same_digits(client: TestClient) -> None:
    path = f"/checkpoints/{SHARP}/exports/generator.onnx"
    answer = client.get(path)
    session = onnxruntime.InferenceSession(answer.content)
    assert session.get_modelmeta().custom_metadata_map["checkpoint"] == SHARP
    noise, labels = torch.rand(5, 10) * 2 - 1, torch.arange(5)
    drawn, _ = session.run(None, {"noise": noise.numpy(), "labels": labels.numpy()})
    with torch.no_grad():
        generator = generator_from_bytes(FILES[GENERATOR])
        assert np.abs(drawn - generator(noise, labels).numpy()).max() < 1e-4
    rest = client.get(path, headers={"Range": "bytes=-9", "If-Range": answer.headers["ETag"]})  # from memory
    assert (rest.status_code, rest.content) == (206, answer.content[-9:])


@pytest.mark.long
def test_onnx_has_the_same_bytes_in_every_process() -> None:
    first, again = (convert(FILES[GENERATOR], "generator", "onnx", WHOLE) for _ in range(2))
    assert first == again
