"""The training images nearest to an address, and the points around it."""

import io
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from starlette.testclient import TestClient

from app.api.exploration import training_images
from app.api.exploration.training_images import TrainingImagesCache
from app.main import create_app
from app.settings import AppSettings
from models.config import TrainingConfig
from models.data.dataset import load_dataset
from models.registry.store import CheckpointId, CheckpointStore
from models.registry.training_data import TrainingDataNotFound
from tests.app.api.test_compositions import digits_of
from tests.app.api.test_digits import pixels
from tests.app.conftest import publish_trained, publish_two
from tests.conftest import DATA_DIR, RunningRedis, set_environment
from tests.models.registry.test_store import NEW, OLD, manifest
from tests.support.api_clients import local_client
from tests.support.training_sets import bring

DIGITS = tuple("0123456789")
CLASSES = ("a", "Zo\u00eb", "c")
TEN, THREE, OTHER = (f"2036010{day}-000000-aaaaaa" for day in (1, 2, 3))


@pytest.fixture(scope="module")
def client(shared_redis: RunningRedis, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    """One API. Two checkpoints have their training images in the store; the images of another have other checksums."""
    with pytest.MonkeyPatch.context() as patch:
        set_environment(patch, tmp_path_factory.mktemp("exploration") / "home")
        settings = AppSettings(redis_url=shared_redis.url)
        store = publish_two(CheckpointStore(settings.store_dir))
        publish_trained(store, TEN, bring(store.training_data, "ten", DIGITS, train=2500))
        publish_trained(store, THREE, bring(store.training_data, "three", CLASSES))
        other = bring(store.training_data, "other", CLASSES, seed=5)
        publish_trained(store, OTHER, other.model_copy(update={"dataset_checksum": "sha256:1"}))
        with local_client(create_app(settings), raise_server_exceptions=False) as client:
            yield client


def named(headers: object) -> list[tuple[int, int, float]]:
    """The label, the index and the distance of each training image."""
    parts = [each.split(":") for each in headers["X-Neighbours"].split(",")]  # type: ignore[index]
    return [(int(label), int(index), float(distance)) for label, index, distance in parts]


# ----------------------------------------------------------------------------
# The nearest training images.


def test_the_nearest_training_images_are_those_of_brute_force(client: TestClient) -> None:
    query = f"seed=4&index=2&checkpoint={TEN}-e001"
    answer = client.get(f"/digits/7/neighbours?{query}&n=10&format=npy")
    assert answer.status_code == 200, answer.text
    shown = np.load(io.BytesIO(answer.content))
    store: CheckpointStore = client.app.state.services.store  # type: ignore[attr-defined]
    splits, _ = store.training_data.read_stored("ten@1")
    digit = digits_of(client, f"/digits/7?{query}")[0]
    distances = np.sqrt(((splits.train_images.astype(float) - digit) ** 2).sum((1, 2)))
    order = distances.argsort(kind="stable")[:10]
    assert np.array_equal(shown, np.stack([digit, *splits.train_images[order]]))
    found = named(answer.headers)
    assert [index for _, index, _ in found] == order.tolist()
    assert [label for label, _, _ in found] == splits.train_labels[order].tolist()
    assert [distance for *_, distance in found] == pytest.approx(distances[order], abs=0.06)
    assert [answer.headers[name] for name in ("X-Checkpoint", "X-Dataset", "X-Seed", "X-Index")] == [
        f"{TEN}-e001",
        "ten@1",
        "4",
        "2",
    ]


def test_the_sheet_begins_with_the_digit(client: TestClient) -> None:
    query = f"seed=4&checkpoint={TEN}-e001"
    answer = client.get(f"/digits/7/neighbours?{query}&scale=2&padding=1&invert=true")
    assert answer.headers["content-type"] == "image/png"
    sheet, array = pixels(answer.content), digits_of(client, f"/digits/7/neighbours?{query}")
    assert (sheet.shape, array.shape) == ((58, 4 * 57 + 1), (4, 28, 28))
    for place, image in enumerate(array):
        cell = 255 - sheet[1:57, 1 + place * 57 :][:, :56]
        assert np.array_equal(cell, image.repeat(2, 0).repeat(2, 1))
    assert np.array_equal(array[0], digits_of(client, f"/digits/7?{query}")[0])


def test_images_of_any_class_have_neighbours(client: TestClient) -> None:
    answer = client.get("/images/three/zo%C3%AB/neighbours?seed=4&n=2")
    assert answer.headers["X-Class"] == "Zo%C3%AB"
    assert len(named(answer.headers)) == 2
    drawn = digits_of(client, "/images/three/1?seed=4")[0]
    assert np.array_equal(digits_of(client, "/images/three/1/neighbours?seed=4")[0], drawn)
    assert client.get("/images/three/d/neighbours").status_code == 404


def test_the_etag_of_neighbours_is_known_before_they_are_searched(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    address = f"/digits/7/neighbours?seed=4&checkpoint={TEN}-e001"
    first = client.get(address)
    know = {"If-None-Match": first.headers["ETag"]}
    for other in ("n=4", "index=1", "format=npy", "scale=2"):
        assert client.get(f"{address}&{other}", headers=know).status_code == 200
    assert client.get(address.replace("7", "8", 1), headers=know).status_code == 200
    assert client.get("/digits/7/neighbours").headers.get("ETag") is None
    assert client.get(address).content == first.content
    monkeypatch.setattr("app.inference.batcher.Batcher.draw", None)
    assert client.get(address, headers=know).status_code == 304
    assert "immutable" in first.headers["Cache-Control"]


def test_training_images_that_are_not_at_hand_are_404_with_a_sentence(client: TestClient) -> None:
    gone = "20360104-000000-aaaaaa"
    store: CheckpointStore = client.app.state.services.store  # type: ignore[attr-defined]
    removed = bring(store.training_data, "removed", DIGITS)
    publish_trained(store, gone, removed)
    store.training_data.remove(removed.reference)
    for checkpoint, dataset, message in (
        (OTHER, "other", f"{OTHER}-e001 was trained on other images than those of other@1"),
        (gone, "removed", "there is no training data removed@1"),
    ):
        for _ in range(2):  # the second answer is remembered
            answer = client.get(f"/images/{dataset}/0/neighbours?checkpoint={checkpoint}-e001")
            assert answer.status_code == 404, answer.text
            problem = answer.json()
            assert problem["type"] == "/problems/training-data-not-found"
            assert message.lower() in problem["detail"].lower()


def test_nothing_is_downloaded(tmp_path: Path, store: CheckpointStore, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a download began")

    monkeypatch.setattr("models.data.idx_source.download", refuse)
    cache = TrainingImagesCache(None, tmp_path, store.training_data)
    for dataset in ("mnist", "emnist_letters", "fashion_mnist"):
        made = manifest(NEW).model_copy(update={"config": TrainingConfig(dataset=dataset)})
        message = f"the training images of {dataset} are not on the machine .* ACGAN_DATA_DIR of the API names"
        with pytest.raises(TrainingDataNotFound, match=message):
            cache.load(made)


def test_the_cache_keeps_one_set_and_only_the_images_that_a_run_used(tmp_path: Path, store: CheckpointStore) -> None:
    config = TrainingConfig(dataset="printed", train_examples=120, test_examples=30)
    checksum = load_dataset(config, None, tmp_path).checksum
    made = manifest(NEW).model_copy(update={"config": config, "dataset_checksum": checksum})
    cache = TrainingImagesCache(None, tmp_path, store.training_data)
    first = cache.load(made)
    assert first.images.shape == (120, 784)
    assert first.images.untyped_storage().nbytes() == 120 * 784
    assert cache.load(made) is first
    other = bring(store.training_data, "three", CLASSES)
    publish_trained(store, THREE, other)
    assert cache.load(store.manifest(CheckpointId(THREE, 1))).images.shape == (60, 784)
    assert cache.load(made) is not first


def test_too_many_training_images_are_409(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training_images, "MOST_SEARCHED", 59)
    services = client.app.state.services  # type: ignore[attr-defined]
    monkeypatch.setattr(services.training_images, "_kept", None)
    answer = client.get("/images/three/0/neighbours")
    assert answer.status_code == 409
    assert "There are 60 training images of three@1" in answer.json()["detail"]


def test_searches_are_refused_while_too_many_wait(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    services = client.app.state.services  # type: ignore[attr-defined]
    begun, done = threading.Event(), threading.Event()
    load = services.training_images.load

    def wait(*given: object) -> object:
        begun.set()
        done.wait(30)
        return load(*given)

    monkeypatch.setattr(services.training_images, "load", wait)
    executor = services.inference._searches
    statuses: list[int] = []
    ask = lambda: statuses.append(client.get(f"/digits/7/neighbours?checkpoint={TEN}-e001").status_code)  # noqa: E731
    first = threading.Thread(target=ask)
    first.start()
    assert begun.wait(30)
    monkeypatch.setattr(executor, "limit", 1)
    refused = client.get(f"/digits/7/neighbours?checkpoint={TEN}-e001")
    assert (refused.status_code, refused.headers["Retry-After"]) == (503, "1")
    assert "requests for nearest training images" in refused.json()["detail"]
    assert client.get("/digits/7?seed=1").status_code == 200  # a search does not delay what is drawn
    done.set()
    first.join(30)
    assert statuses == [200]


@pytest.mark.skipif(DATA_DIR is None, reason="ACGAN_DATA_DIR names no folder with MNIST")
def test_the_bundled_generator_is_compared_with_mnist(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ACGAN_PRETRAINED", "true")
    with local_client(create_app(AppSettings(redis_url="redis://127.0.0.1:9/0", stock=0))) as client:
        labels = []
        for seed in range(10):
            answer = client.get(f"/digits/7/neighbours?seed={seed}").raise_for_status()
            found = named(answer.headers)
            assert answer.headers["X-Checkpoint"].startswith("pretrained")
            assert 0 < found[0][2] <= found[1][2] <= found[2][2] < 2500
            labels += [label for label, *_ in found]
        assert len(labels) == 30
        assert labels.count(7) >= 27  # one seven in ten may look like a real digit of another class


# ----------------------------------------------------------------------------
# Points around an address.


def points_of(headers: object) -> list[str]:
    return list(headers["X-Points"].split(","))  # type: ignore[index]


def test_a_traversal_has_its_address_in_the_middle(client: TestClient) -> None:
    answer = client.get(f"/digits/3/traversal?seed=4&index=9&checkpoint={NEW}-e001&scale=2&padding=1")
    assert answer.status_code == 200, answer.text
    sheet = pixels(answer.content)
    assert sheet.shape == (5 * 57 + 1, 5 * 57 + 1)
    points = points_of(answer.headers)
    assert (len(points), points[0], points[12], points[24]) == (25, "-0.6:-0.6", "0:0", "0.6:0.6")
    digit = digits_of(client, f"/digits/3?seed=4&index=9&checkpoint={NEW}-e001")[0]
    assert np.array_equal(sheet[1 + 2 * 57 :, 1 + 2 * 57 :][:56, :56], digit.repeat(2, 0).repeat(2, 1))
    assert [answer.headers[name] for name in ("X-Checkpoint", "X-Seed", "X-Index")] == [f"{NEW}-e001", "4", "9"]


@pytest.mark.parametrize("path", [f"/digits/3/traversal?checkpoint={OLD}-e001", "/images/three/c/traversal?step=0.15"])
def test_each_point_is_an_address(client: TestClient, path: str) -> None:
    address = f"{path}&seed=4&index=9&directions=2"
    grid = client.get(f"{address}&x=0.45&y=-0.15&rows=3&columns=4&format=npy")
    digits = np.load(io.BytesIO(grid.content))
    assert digits.shape == (12, 28, 28)
    assert len({digit.tobytes() for digit in digits}) == 12
    for digit, point in zip(digits, points_of(grid.headers), strict=True):
        x, y = point.split(":")
        one = client.get(f"{address}&x={x}&y={y}&rows=1&columns=1&format=npy")
        assert points_of(one.headers) == [point]
        assert np.array_equal(np.load(io.BytesIO(one.content))[0], digit)


def test_the_etag_of_a_traversal_is_known_before_it_is_drawn(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    address = f"/digits/3/traversal?seed=4&checkpoint={NEW}-e001"
    first = client.get(address)
    know = {"If-None-Match": first.headers["ETag"]}
    for other in ("x=0.3", "y=0.3", "step=0.2", "rows=4", "columns=4", "directions=1", "format=npy", "index=1"):
        assert client.get(f"{address}&{other}", headers=know).status_code == 200, other
    monkeypatch.setattr("app.inference.batcher.Batcher.draw", None)
    assert client.get(address, headers=know).status_code == 304
    assert client.get(address).content == first.content


def test_every_point_has_coordinates_that_a_request_may_have(client: TestClient) -> None:
    answer = client.get("/digits/3/traversal?x=99.5&y=-100&step=1&rows=3&columns=3")
    assert answer.headers["X-Points"].split(",")[:3] == ["98.5:-100", "99.5:-100", "100:-100"]
    assert client.get("/digits/3/traversal?x=100&y=-100&rows=1&columns=1").status_code == 200
    assert client.get("/digits/3/traversal?x=101").status_code == 422
