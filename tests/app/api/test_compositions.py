"""Morphs between digits, and one digit at each epoch."""

import asyncio
import io
import threading

import numpy as np
import pytest
import torch
from starlette.testclient import TestClient

from app.inference.batcher import Busy
from app.inference.bounded_executor import BoundedExecutor
from app.inference.epoch_timeline import thin
from app.main import create_app
from app.settings import AppSettings
from models.networks.acgan import Generator, initialize
from models.networks.weights import generator_from_bytes, to_bytes
from models.registry.store import GENERATOR, CheckpointId, CheckpointStore
from models.sampling.sampler import draw_digits, prepare
from tests.app.api.test_digits import pixels
from tests.app.conftest import publish
from tests.models.registry.test_store import NEW, manifest
from tests.models.sampling.test_interpolation import film
from tests.support.api_clients import local_client


def digits_of(client: TestClient, path: str) -> np.ndarray:
    array: np.ndarray = np.load(io.BytesIO(client.get(f"{path}&format=npy").content))
    return array


# ----------------------------------------------------------------------------
# Morphs.


def test_an_animation_starts_and_turns_at_the_digits_of_its_addresses(client: TestClient) -> None:
    answer = client.get("/morph/3/8?seed=4&steps=5&milliseconds=80")
    assert answer.headers["content-type"] == "image/gif"
    assert [answer.headers[name] for name in ("X-Checkpoint", "X-Seed", "X-Index")] == [f"{NEW}-e001", "4", "0"]
    frames, durations = film(answer.content)
    assert (len(frames), set(durations)) == (8, {80})
    assert np.array_equal(frames[0], digits_of(client, "/digits/3?seed=4")[0])
    assert np.array_equal(frames[4], digits_of(client, "/digits/8?seed=4")[0])
    assert np.array_equal(frames[5:], frames[3:0:-1])


def test_a_morph_can_connect_two_seeds(client: TestClient) -> None:
    answer = client.get("/morph/3/3?seed=4&to_seed=5&index=2&steps=6&format=webp")
    assert answer.headers["content-type"] == "image/webp"
    frames, _ = film(answer.content)
    assert np.array_equal(frames[0], digits_of(client, "/digits/3?seed=4&index=2")[0])
    assert np.array_equal(frames[5], digits_of(client, "/digits/3?seed=5&index=2")[0])


def test_a_morph_can_be_drawn_as_a_strip(client: TestClient) -> None:
    strip = pixels(client.get("/morph/3/8?seed=4&steps=5&format=png&scale=2&padding=1&invert=true").content)
    assert strip.shape == (58, 5 * 57 + 1)
    frames, _ = film(client.get("/morph/3/8?seed=4&steps=5").content)
    assert np.array_equal(255 - strip[1:57, 1 + 2 * 57 :][:, :56], frames[2].repeat(2, 0).repeat(2, 1))


def test_a_morph_of_a_digit_into_itself_does_not_change(client: TestClient) -> None:
    strip = pixels(client.get("/morph/3/3?seed=4&steps=3&format=png").content)
    assert np.array_equal(strip[:, :28], strip[:, 56:])


def test_the_etag_of_a_morph_is_known_before_it_is_drawn(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    first = client.get("/morph/3/8?seed=4")
    know = {"If-None-Match": first.headers["ETag"]}
    for other in ("steps=17", "to_seed=9", "format=webp", "milliseconds=70", "index=1"):
        assert client.get(f"/morph/3/8?seed=4&{other}", headers=know).status_code == 200
    assert client.get("/morph/8/3?seed=4", headers=know).status_code == 200
    monkeypatch.setattr("app.inference.batcher.Batcher.draw", None)
    assert client.get("/morph/3/8?seed=4", headers=know).status_code == 304
    assert client.get("/morph/3/8?seed=4").content == first.content
    assert "immutable" in client.get(f"/morph/3/8?seed=4&checkpoint={NEW}-e001").headers["Cache-Control"]


def test_requests_are_refused_while_the_executor_is_full() -> None:
    async def ask() -> list[int | BaseException]:
        studio, done = BoundedExecutor(waiting=4), threading.Event()
        asked = [asyncio.create_task(studio.make(lambda: int(done.wait(10)))) for _ in range(7)]
        await asyncio.sleep(0.05)
        done.set()
        return await asyncio.gather(*asked, return_exceptions=True)

    answers = asyncio.run(ask())
    assert [isinstance(each, Busy) for each in answers] == [False] * 5 + [True] * 2
    assert answers[:5] == [1] * 5


# ----------------------------------------------------------------------------
# The epochs of a digit.


@pytest.fixture
def run(store: CheckpointStore) -> CheckpointStore:
    """Epochs 2 to 4 of a run whose first epoch exists already: the third is refused, the fourth is not finite."""
    publish(store, NEW, 2, seed=3)
    for epoch, seed in ((3, 4), (4, 5)):
        generator = Generator()
        initialize(generator, torch.Generator().manual_seed(seed))
        if epoch == 4:
            generator.dense.weight.data[0, 0] = float("nan")
        made = manifest(NEW, epoch).model_copy(update={"refused": "it has collapsed"})
        store.publish(made, {GENERATOR: to_bytes(generator)})
    return store


def test_an_evolution_shows_what_each_epoch_draws_at_one_address(run: CheckpointStore, client: TestClient) -> None:
    answer = client.get(f"/jobs/{NEW}/evolution/3?seed=4&index=5")
    assert answer.headers["content-type"] == "image/png"
    assert [answer.headers[name] for name in ("X-Epochs", "X-Seed", "X-Index")] == ["1,2,3,4", "4", "5"]
    strip = pixels(answer.content)
    assert strip.shape == (28, 4 * 28)
    for place, epoch in enumerate((1, 2)):
        served = digits_of(client, f"/digits/3?seed=4&index=5&checkpoint={NEW}-e{epoch:03d}")
        assert np.array_equal(strip[:, place * 28 :][:, :28], served[0])
    refused = run.manifest(CheckpointId(NEW, 3))
    generator = prepare(generator_from_bytes(run.read(refused, refused.draws)), torch.device("cpu"))
    assert np.array_equal(strip[:, 56:84], draw_digits(generator, 3, 1, 4, 5)[0])
    assert not strip[:, 84:].any()


def test_an_evolution_can_be_an_animation(run: CheckpointStore, client: TestClient) -> None:
    strip = pixels(client.get(f"/jobs/{NEW}/evolution/3?seed=4&scale=2&columns=1").content)
    for form in ("gif", "webp"):
        answer = client.get(f"/jobs/{NEW}/evolution/3?seed=4&scale=2&format={form}&milliseconds=50")
        assert answer.headers["content-type"] == f"image/{form}"
        frames, durations = film(answer.content)
        assert np.array_equal(frames.reshape(-1, 56), strip)
        assert durations == [50, 50, 50, 1000]


def test_the_etag_of_an_evolution_is_known_before_it_is_drawn(
    run: CheckpointStore, client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = f"/jobs/{NEW}/evolution/3"
    assert client.get(path).headers["Cache-Control"] == "no-store"
    first = client.get(f"{path}?seed=4")
    assert first.headers["Cache-Control"] == "no-cache"
    know = {"If-None-Match": first.headers["ETag"]}
    for other in ("seed=5", "seed=4&index=1", "seed=4&epochs=2", "seed=4&format=gif", "seed=4&invert=true"):
        assert client.get(f"{path}?{other}", headers=know).status_code == 200
    monkeypatch.setattr("app.inference.epoch_timeline.EpochTimeline.draw", None)
    assert client.get(f"{path}?seed=4", headers=know).status_code == 304
    monkeypatch.undo()
    publish(run, NEW, 5, seed=6)
    assert client.get(f"{path}?seed=4", headers=know).headers["X-Epochs"] == "1,2,3,4,5"


def test_a_few_of_many_epochs_are_evenly_spaced() -> None:
    assert thin(range(1, 101), 5) == [1, 26, 51, 75, 100]
    assert thin([1, 2, 7], 3) == [1, 2, 7]
    for most in range(2, 61):
        chosen = thin(range(1, 62), most)
        assert len(set(chosen)) == most
        assert (chosen[0], chosen[-1]) == (1, 61)


def test_a_run_without_epochs_and_damaged_epochs_are_reported(run: CheckpointStore, client: TestClient) -> None:
    none = client.get("/jobs/20260103-000000-aaaaaa/evolution/3")
    assert none.status_code == 404
    assert "its first epoch has not ended" in none.json()["detail"]
    assert client.get("/jobs/../evolution/3").status_code == 404
    path = run.folder(CheckpointId(NEW, 2)) / GENERATOR
    path.write_bytes(path.read_bytes()[:-1])
    damaged = client.get(f"/jobs/{NEW}/evolution/3")
    assert damaged.status_code == 503
    assert "checksum" in damaged.json()["detail"]


def test_an_evolution_needs_no_redis(store: CheckpointStore) -> None:
    with local_client(create_app(AppSettings(redis_url="redis://127.0.0.1:9/0"))) as client:
        assert client.get(f"/jobs/{NEW}/evolution/3").status_code == 200
