"""The list of training data, its previews, and its removal."""

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from starlette.testclient import TestClient

from app.main import create_app
from app.settings import AppSettings
from models.data.catalog import DATASETS
from models.data.idx import idx_header
from models.registry.store import CheckpointStore
from tests.app.api.test_digits import pixels
from tests.app.conftest import publish
from tests.support.api_clients import local_client
from tests.support.training_sets import bring, splits


def listed(client: TestClient) -> dict[str, dict[str, Any]]:
    found = client.get("/training-data").raise_for_status().json()["training_data"]
    return {each["name"]: each for each in found}


@pytest.fixture
def letters(store: CheckpointStore) -> CheckpointStore:
    """A store with two versions of `letters`."""
    bring(store.training_data, "letters", ("a", "b"))
    bring(store.training_data, "letters", ("a", "b", "c"))
    return store


def test_the_list_has_the_built_in_sets_and_the_newest_version_of_others(
    letters: CheckpointStore, client: TestClient
) -> None:
    found = listed(client)
    assert list(found) == [*DATASETS, "letters"]
    mnist, own = found["mnist"], found["letters"]
    assert (mnist["built_in"], mnist["version"], mnist["title"]) == (True, None, "MNIST")
    assert (mnist["train_images"], mnist["test_images"], mnist["classes"]) == (60_000, 10_000, list("0123456789"))
    assert (own["built_in"], own["version"], own["versions"]) == (False, 2, [1, 2])
    assert (own["classes"], own["train_counts"], own["test_counts"]) == (["a", "b", "c"], [20] * 3, [10] * 3)
    assert own["source"] == "a test"
    assert own["size"] > 60 * 784


def test_the_list_counts_the_checkpoints_of_all_versions(letters: CheckpointStore, client: TestClient) -> None:
    assert (listed(client)["letters"]["checkpoints"], listed(client)["letters"]["links"]["images"]) == (0, None)
    for job, version in enumerate((1, 1, 2), start=1):
        last = publish(letters, f"20260103-00000{job}-aaaaaa", 1, seed=job, dataset=f"letters@{version}")
    own = listed(client)["letters"]
    assert (own["checkpoints"], own["newest_checkpoint"]) == (3, last)
    assert own["links"]["images"] == "/images/letters/{label}?n=40"
    assert listed(client)["mnist"]["checkpoints"] == 2


def test_a_version_is_described_by_its_address(letters: CheckpointStore, client: TestClient) -> None:
    first = client.get("/training-data/letters@1").json()
    assert (first["version"], first["versions"], first["classes"]) == (1, [1, 2], ["a", "b"])
    assert first["links"]["self"] == "/training-data/letters@1"
    assert client.get("/training-data/letters").json() == listed(client)["letters"]
    assert client.get("/training-data/mnist").json() == listed(client)["mnist"]


@pytest.mark.parametrize("path", ["/training-data", "/training-data/letters", "/training-data/letters/preview.png"])
def test_a_client_that_has_the_version_gets_304(letters: CheckpointStore, client: TestClient, path: str) -> None:
    first = client.get(path).raise_for_status()
    again = client.get(path, headers={"If-None-Match": first.headers["ETag"]})
    assert (again.status_code, again.content) == (304, b"")
    bring(letters.training_data, "letters", ("x", "y"), seed=9)
    assert client.get(path, headers={"If-None-Match": first.headers["ETag"]}).status_code == 200


@pytest.mark.parametrize("method", ["GET", "DELETE"])
@pytest.mark.parametrize("name", ["numbers", "letters@3"])
def test_an_unknown_name_or_version_is_404_with_the_names(
    letters: CheckpointStore, client: TestClient, method: str, name: str
) -> None:
    answer = client.request(method, f"/training-data/{name}")
    assert (answer.status_code, answer.json()["type"]) == (404, "/problems/training-data-not-found")
    assert f"there is no training data {name}; there are" in answer.json()["detail"].replace("There", "there", 1)
    assert "letters@1, letters@2, mnist" in answer.json()["detail"]


# ----------------------------------------------------------------------------
# Previews.


def test_the_preview_of_brought_data_is_the_stored_one(letters: CheckpointStore, client: TestClient) -> None:
    picture = client.get("/training-data/letters@2/preview.png").raise_for_status()
    assert picture.headers["Content-Type"] == "image/png"
    assert "immutable" in picture.headers["Cache-Control"]
    assert client.get("/training-data/letters/preview.png").headers["Cache-Control"] == "no-cache"
    np.testing.assert_array_equal(pixels(picture.content), np.concatenate(splits(3).test_images[:3]))


def test_the_preview_of_printed_digits_has_a_column_for_each_class(client: TestClient) -> None:
    picture = pixels(client.get("/training-data/printed/preview.png").raise_for_status().content)
    assert picture.shape == (6 * 28, 10 * 28)
    assert all(picture[row : row + 28, column : column + 28].max() > 99 for row in (0, 140) for column in (0, 252))


def test_nothing_is_downloaded_for_a_preview(settings: AppSettings, store: CheckpointStore, tmp_path: Path) -> None:
    bare = settings.model_copy(update={"data_dir": tmp_path / "nothing", "mnist_mirrors": "http://127.0.0.1:9/"})
    with local_client(create_app(bare)) as client:
        for _ in range(2):
            answer = client.get("/training-data/mnist/preview.png")
            assert answer.status_code == 404
            assert "its files are not on this machine. A run with `dataset: mnist`" in answer.json()["detail"]
            assert "put its files in the folder that ACGAN_DATA_DIR of the API names" in answer.json()["detail"]
    assert not (settings.cache_dir / "mnist").exists()


@pytest.mark.parametrize("transposed", [False, True])
def test_the_preview_of_mnist_is_made_from_its_files(
    settings: AppSettings, store: CheckpointStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, transposed: bool
) -> None:
    """As EMNIST's, the images of a file may be transposed, and its labels start at 1."""
    first = 1 if transposed else 0
    images = np.full((10_000, 28, 28), 7, np.uint8)
    images[:, 1, 0] = 99
    labels = (np.arange(10_000) % 10 + first).astype(np.uint8)
    images[:10] += np.arange(10, dtype=np.uint8)[:, None, None]
    files, rows = {}, dict(DATASETS["mnist"].files)
    for name, array in (("t10k-images-idx3-ubyte", images), ("t10k-labels-idx1-ubyte", labels)):
        files[name] = idx_header(array.shape) + array.tobytes()
        rows[name] = rows[name]._replace(sha256=hashlib.sha256(files[name]).hexdigest())
        (tmp_path / name).write_bytes(files[name])
    monkeypatch.setitem(
        DATASETS, "mnist", DATASETS["mnist"]._replace(files=rows, transposed=transposed, first_label=first)
    )
    with local_client(create_app(settings.model_copy(update={"data_dir": tmp_path}))) as client:
        picture = pixels(client.get("/training-data/mnist/preview.png").raise_for_status().content)
    assert picture.shape == (168, 280)
    assert [int(value) for value in picture[0, ::28]] == list(range(7, 17))
    assert set(picture[28:].ravel()) == {7, 99}
    assert (picture[29, 0], picture[28, 1]) == ((7, 99) if transposed else (99, 7))


# ----------------------------------------------------------------------------
# Removal.


def test_a_version_or_all_versions_are_removed(letters: CheckpointStore, client: TestClient) -> None:
    assert client.delete("/training-data/letters@1").status_code == 204
    assert client.get("/training-data/letters").json()["versions"] == [2]
    bring(letters.training_data, "letters", ("d", "e"))
    assert client.get("/training-data/letters").json()["versions"] == [2, 3]
    assert client.delete("/training-data/letters").status_code == 204
    assert "letters" not in listed(client)
    assert client.delete("/training-data/letters").status_code == 404


def test_data_that_a_queued_run_needs_are_kept(letters: CheckpointStore, client: TestClient) -> None:
    job = client.post("/train", json={"dataset": "letters", "epochs": 1, "batch_size": 10}).json()
    assert job["config"]["dataset"] == "letters@2"
    for name in ("letters", "letters@2"):
        refused = client.delete(f"/training-data/{name}")
        assert (refused.status_code, refused.json()["type"]) == (409, "/problems/in-use")
        assert f"needed by job {job['id']}" in refused.json()["detail"]
    assert client.get("/training-data/letters").json()["versions"] == [1, 2]
    assert client.delete("/training-data/letters@1").status_code == 204
    client.post(f"/jobs/{job['id']}/cancel").raise_for_status()
    assert client.delete("/training-data/letters").status_code == 204


@pytest.mark.parametrize(
    ("name", "status", "code"),
    [
        ("mnist", 409, "training-data-reserved"),
        ("mnist@1", 409, "training-data-reserved"),
        ("Letters", 422, "training-data-name-invalid"),
        ("letters@x", 422, "training-data-name-invalid"),
        ("a" * 41, 422, "training-data-name-invalid"),
        ("a" * 300, 422, "invalid-input"),
    ],
)
def test_what_cannot_be_removed(client: TestClient, name: str, status: int, code: str) -> None:
    answer = client.delete(f"/training-data/{name}")
    assert (answer.status_code, answer.json()["type"]) == (status, f"/problems/{code}"), answer.text
