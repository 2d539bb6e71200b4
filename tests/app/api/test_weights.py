"""The files of a checkpoint over HTTP, from a folder and from a bucket: whole, in part, and damaged."""

import base64
import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from pydantic import SecretStr
from starlette.testclient import TestClient

from app.main import create_app
from app.security.api_keys import Role, make_key
from app.settings import AppSettings
from models.networks.acgan import Discriminator, Generator
from models.networks.weights import to_bytes
from models.registry import bundled
from models.registry.storage.object_store import ObjectStorage
from models.registry.store import AVERAGE, DISCRIMINATOR, GENERATOR, SAMPLES, CheckpointStore
from tests.conftest import RunningRedis, set_environment
from tests.models.registry.test_store import NEW, OLD, damage_inside, manifest
from tests.support.api_clients import local_client
from tests.support.s3_endpoint import Endpoint

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


@contextmanager
def opened(redis_url: str, home: Path, endpoint: Endpoint | None = None) -> Iterator[World]:
    """An API over a folder, or over a bucket, with two checkpoints and the bundled one."""
    with pytest.MonkeyPatch.context() as patch:
        set_environment(patch, home)
        settings = AppSettings(redis_url=redis_url, pretrained=True)
        if endpoint is not None:
            for name, value in endpoint.environment.items():
                patch.setenv(name, value)
            settings = settings.model_copy(update={"store": endpoint.address()})
        store = settings.open_store()
        store.publish(manifest(OLD).model_copy(update={"draws": AVERAGE}), FILES)
        only = {GENERATOR: FILES[GENERATOR], DISCRIMINATOR: to_bytes(Discriminator(20))}
        store.publish(manifest(NEW), only)
        with local_client(create_app(settings), raise_server_exceptions=False) as client:
            yield World(client, store)


@pytest.fixture(scope="module", params=["folder", "s3"])
def world(
    request: pytest.FixtureRequest, shared_redis: RunningRedis, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[World]:
    endpoint: Endpoint | None = request.getfixturevalue("shared_endpoint") if request.param == "s3" else None
    with opened(shared_redis.url, tmp_path_factory.mktemp("weights") / "home", endpoint) as world:
        yield world


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


@pytest.mark.parametrize("name", [AVERAGE, "secret", "%2e%2e%2fjob.json", "job.json", "x" * 300])
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
    job = f"20260301-000000-{how}{'-part' if asked else ''}"
    data = b"weights of a network" * 100
    world.store.publish(manifest(job), {GENERATOR: data})
    damaged = {"bytes": data[:-1] + b"?", "shorter": data[:-1], "longer": data + b"?", "missing": None}[how]
    damage_inside(world.store, f"{job}/001/{GENERATOR}", damaged)
    answer = world.client.get(f"/checkpoints/{job}-e001/{GENERATOR}", headers={"Range": asked} if asked else {})
    assert answer.status_code == 503
    state = "missing" if how == "missing" else "damaged"
    assert is_problem(answer, "checkpoint-damaged").startswith(f"Generator.safetensors of {job}-e001 is {state}")
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
    from_cache = isinstance(world.store.storage, ObjectStorage)  # the copy that was verified
    assert answer.content == (data if from_cache else data[: len(data) - len(data) % 500])  # the last piece is withheld


@pytest.mark.parametrize("how", ["bytes", "shorter", "missing"])
def test_a_file_that_is_damaged_after_it_was_read_is_sent_as_it_was_verified_or_refused(world: World, how: str) -> None:
    data, job = b"weights" * 300, f"20260304-000000-{how}"
    made = world.store.publish(manifest(job), {GENERATOR: data})
    path = f"/checkpoints/{made.id}/{GENERATOR}"
    assert world.client.get(path).content == data
    damage_inside(world.store, f"{job}/001/{GENERATOR}", {"bytes": b"?" * len(data), "shorter": b"?"}.get(how))
    whole, part = world.client.get(path), world.client.get(path, headers={"Range": "bytes=10-1999"})
    if isinstance(world.store.storage, ObjectStorage):  # the cache has the verified copy
        assert (whole.status_code, whole.content == data) == (200, True)
        assert (part.status_code, part.content == data[10:2000]) == (206, True)
    else:
        assert (whole.status_code, part.status_code) == (503, 503)


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
# Keys.


def test_reading_weights_needs_the_key_that_reading_needs(
    shared_redis: RunningRedis, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key, entry = make_key("reader", Role.READ)
    set_environment(monkeypatch, tmp_path / "home")
    settings = AppSettings(redis_url=shared_redis.url, pretrained=True, api_keys=SecretStr(str(entry)))
    first = bundled.checkpoint()
    with local_client(create_app(settings)) as client:
        for path in (f"/checkpoints/{first}/{GENERATOR}", f"/checkpoints/{first}/exports/generator.hdf5"):
            assert client.get(path).status_code == 401
            answer = client.get(path, headers={"X-API-Key": key})
            assert (answer.status_code, "private" in answer.headers["Cache-Control"]) == (200, True)


def test_links_lead_to_files_and_exports(world: World) -> None:
    client = world.client
    links = client.get(f"/checkpoints/{WHOLE}").json()["links"]
    assert client.head(links["files"].format(file=GENERATOR)).status_code == 200
    assert client.head(links["exports"].format(file="generator.hdf5")).status_code == 200
    assert json.loads(client.get(links["files"].format(file="manifest.json")).content)["id"] == WHOLE
