"""Images of any training data by class, beside the digits that are served."""

import io
import zipfile
from collections.abc import Iterator

import numpy as np
import pytest
from PIL import Image
from starlette.testclient import TestClient

from app.main import create_app
from app.settings import AppSettings
from models.networks.inference import FoldedGenerator
from models.networks.weights import generator_from_bytes
from models.registry.retention import apply_retention
from models.registry.store import GENERATOR, CheckpointId, CheckpointStore
from models.sampling.sampler import SampleRange, draw_series, prepare
from models.torch_device import find_device
from tests.app.api.test_digits import pixels
from tests.app.conftest import publish_own, publish_two
from tests.conftest import RunningRedis, set_environment
from tests.models.registry.test_store import NEW, OLD
from tests.support.api_clients import local_client
from tests.support.training_sets import bring

CLASSES = ("3", "8", "Zo\u00eb", "pears")
FIRST, SECOND, THIRD = (f"2036010{day}-000000-aaaaaa" for day in (1, 2, 3))


def publish_letters(store: CheckpointStore) -> None:
    """Publish two versions of letters: the first with a good and a bad epoch, the second with one."""
    publish_own(store, FIRST, "letters@1", CLASSES, 1, {"frechet_distance": 2.0})
    publish_own(store, FIRST, "letters@1", CLASSES, 2, {"frechet_distance": 1.0})
    publish_own(store, FIRST, "letters@1", CLASSES, 3, {"frechet_distance": 3.0})
    publish_own(store, SECOND, "letters@2", CLASSES, 1)


@pytest.fixture(scope="module")
def client(shared_redis: RunningRedis, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    """One API for the tests that publish nothing."""
    with pytest.MonkeyPatch.context() as patch:
        set_environment(patch, tmp_path_factory.mktemp("images") / "home")
        settings = AppSettings(redis_url=shared_redis.url)
        store = publish_two(CheckpointStore(settings.store_dir))
        publish_letters(store)
        with local_client(create_app(settings), raise_server_exceptions=False) as client:
            yield client


def generator(client: TestClient, checkpoint: str) -> FoldedGenerator:
    store: CheckpointStore = client.app.state.services.store  # type: ignore[attr-defined]
    data = store.read(store.manifest(CheckpointId.parse(checkpoint)), GENERATOR)
    return prepare(generator_from_bytes(data), find_device("cpu"))


@pytest.mark.parametrize(
    ("text", "label"),
    [("8", 1), ("3", 0), ("0", 0), ("2", 2), ("Zo%C3%AB", 2), ("ZO%C3%8B", 2), ("zoe%CC%88", 2), ("PEARS", 3)],
)
def test_a_class_is_found_by_its_name_then_its_label(client: TestClient, text: str, label: int) -> None:
    answer = client.get(f"/images/letters/{text}?n=3&seed=4&index=7&format=npy").raise_for_status()
    drawn = np.load(io.BytesIO(answer.content))
    expected = draw_series(generator(client, f"{SECOND}-e001"), SampleRange(label, 3, 4, 7, len(CLASSES)))
    np.testing.assert_array_equal(drawn, expected)
    assert answer.headers["X-Class"] == ["3", "8", "Zo%C3%AB", "pears"][label]
    assert answer.headers["X-Checkpoint"] == f"{SECOND}-e001"
    assert answer.headers["X-Dataset"] == "letters@2"
    assert (answer.headers["X-Seed"], answer.headers["X-Index"]) == ("4", "7")


@pytest.mark.parametrize("text", ["4", "9", "Zoe", "apples", "-1", "%C2%B2"])
def test_an_unknown_class_is_404_with_the_classes(client: TestClient, text: str) -> None:
    for _ in range(2):  # the second is answered from the cache of routes
        answer = client.get(f"/images/letters/{text}")
        assert (answer.status_code, answer.json()["type"]) == (404, "/problems/class-not-found")
        assert "the classes are 3, 8, Zo\u00eb, pears" in answer.json()["detail"]


@pytest.mark.parametrize("dataset", ["numbers", "letters@3", "printed", "No Name", "mnist@1"])
def test_data_without_a_checkpoint_are_404_with_those_that_have_one(client: TestClient, dataset: str) -> None:
    for path in (f"/images/{dataset}/3", f"/images/{dataset}", f"/images/{dataset}/3?checkpoint=best"):
        answer = client.get(path)
        assert (answer.status_code, answer.json()["type"]) == (404, "/problems/checkpoint-not-found")
        if dataset != "No Name":
            assert "there are checkpoints of letters@1, letters@2, mnist" in answer.json()["detail"]


@pytest.mark.parametrize(
    ("address", "checkpoint"),
    [
        ("letters", f"{SECOND}-e001"),
        ("letters@1", f"{FIRST}-e003"),
        ("letters@2", f"{SECOND}-e001"),
        ("letters@1?checkpoint=best", f"{FIRST}-e002"),
        ("letters?checkpoint=best", f"{SECOND}-e001"),  # of the newest version, whose checkpoints have no figures
        (f"letters?checkpoint={FIRST}-e001", f"{FIRST}-e001"),
        ("mnist", f"{NEW}-e001"),
        (f"mnist?checkpoint={OLD}-e001", f"{OLD}-e001"),
    ],
)
def test_which_checkpoint_draws(client: TestClient, address: str, checkpoint: str) -> None:
    dataset, _, query = address.partition("?")
    for _ in range(2):
        answer = client.get(f"/images/{dataset}/3?{query}").raise_for_status()
        assert answer.headers["X-Checkpoint"] == checkpoint


@pytest.mark.parametrize("query", ["", f"&checkpoint={OLD}-e001", "&checkpoint=latest", "&format=zip", "&columns=2"])
def test_mnist_has_the_bytes_of_digits(client: TestClient, query: str) -> None:
    digits = client.get(f"/digits/7?n=5&seed=4{query}").raise_for_status()
    images = client.get(f"/images/mnist/7?n=5&seed=4{query}").raise_for_status()
    assert images.content == digits.content
    assert images.headers["ETag"] == digits.headers["ETag"]
    assert images.headers["Cache-Control"] == digits.headers["Cache-Control"]
    assert client.get(f"/images/mnist?n=2&seed=4{query}").content == client.get(f"/digits?n=2&seed=4{query}").content


def test_images_without_a_seed_can_be_requested_again(client: TestClient) -> None:
    first = client.get("/images/letters/pears?n=2").raise_for_status()
    assert first.headers["Cache-Control"] == "no-store"
    again = "&".join(f"{name[2:].lower()}={first.headers[name]}" for name in ("X-Checkpoint", "X-Seed", "X-Index"))
    assert client.get(f"/images/letters/pears?n=2&{again}").content == first.content


def test_a_conditional_request(client: TestClient) -> None:
    path = f"/images/letters/pears?seed=4&checkpoint={FIRST}-e001"
    first = client.get(path).raise_for_status()
    assert "immutable" in first.headers["Cache-Control"]
    again = client.get(path, headers={"If-None-Match": first.headers["ETag"]})
    assert (again.status_code, again.content) == (304, b"")
    other = client.get(path.replace("pears", "8"), headers={"If-None-Match": first.headers["ETag"]})
    assert (other.status_code, other.headers["ETag"] != first.headers["ETag"]) == (200, True)


def test_all_classes_are_a_row_for_each_latent(client: TestClient) -> None:
    array = np.load(io.BytesIO(client.get("/images/letters?n=3&seed=4&format=npy").raise_for_status().content))
    assert array.shape == (3, 4, 28, 28)
    picture = pixels(client.get("/images/letters?n=3&seed=4").content)
    np.testing.assert_array_equal(picture, array.transpose(0, 2, 1, 3).reshape(3 * 28, 4 * 28))
    one = np.load(io.BytesIO(client.get("/images/letters/pears?n=3&seed=4&format=npy").content))
    np.testing.assert_array_equal(array[:, 3], one)
    archive = zipfile.ZipFile(io.BytesIO(client.get("/images/letters?n=2&seed=4&format=zip").content))
    assert archive.namelist() == [f"{label}-4-{index}.png" for index in (0, 1) for label in range(4)]


def test_a_response_has_at_most_a_thousand_images(client: TestClient) -> None:
    for _ in range(2):
        assert client.get("/images/letters?n=101").status_code == 422
    assert client.get("/images/letters?n=100&seed=1").status_code == 200


def test_other_parameters_are_validated(client: TestClient) -> None:
    assert client.get("/images/letters/8?n=1001").status_code == 422
    assert client.get("/images/letters/8?colour=red").status_code == 422
    assert client.get("/images/letters/8", headers={"Accept": "text/html"}).status_code == 406
    refused = client.get("/images/letters/8?verify=0.9")
    assert (refused.status_code, refused.json()["type"]) == (409, "/problems/not-verified")
    assert "no judge for letters@2" in refused.json()["detail"]


def test_a_checkpoint_of_other_data_is_404_with_the_right_address(client: TestClient) -> None:
    answer = client.get(f"/images/mnist/8?checkpoint={SECOND}-e001")
    assert (answer.status_code, answer.json()["type"]) == (404, "/problems/checkpoint-not-found")
    assert "trained on letters@2, so use /images/letters" in answer.json()["detail"]
    assert client.get(f"/images/letters@1/8?checkpoint={SECOND}-e001").status_code == 404


@pytest.mark.parametrize("path", ["/digits/7", "/digits", "/numbers/42", "/morph/3/8"])
def test_digits_are_not_drawn_by_other_classes(client: TestClient, path: str) -> None:
    refused = client.get(f"{path}?checkpoint={SECOND}-e001")
    assert (refused.status_code, refused.json()["type"]) == (409, "/problems/not-digits")
    assert f"GET /images/letters?checkpoint={SECOND}-e001" in refused.json()["detail"]


@pytest.mark.parametrize(
    "body", [{"dataset": "letters"}, {"policy": "best", "dataset": "letters"}, {"policy": "pinned", "checkpoint": "id"}]
)
def test_other_classes_are_not_served(client: TestClient, body: dict[str, str]) -> None:
    wanted = body | ({"checkpoint": f"{FIRST}-e001"} if "checkpoint" in body else {})
    before = client.get("/serving").json()
    refused = client.put("/serving", json=wanted)
    assert (refused.status_code, refused.json()["type"]) == (409, "/problems/not-digits")
    assert "GET /images/letters?checkpoint=" in refused.json()["detail"]
    assert client.get("/serving").json() == before


def test_the_evolution_of_a_class_by_name(client: TestClient) -> None:
    path = f"/jobs/{FIRST}/evolution/PEARS?seed=4&index=2"
    answer = client.get(path).raise_for_status()
    assert answer.headers["X-Epochs"] == "1,2,3"
    last = [client.get(f"/images/letters/pears?seed=4&index=2&checkpoint={FIRST}-e00{epoch}") for epoch in (1, 2, 3)]
    np.testing.assert_array_equal(pixels(answer.content), np.hstack([pixels(each.content) for each in last]))
    assert client.get(path.replace("PEARS", "3")).content == client.get(path.replace("PEARS", "0")).content
    film = client.get(f"{path}&format=gif").raise_for_status()
    with Image.open(io.BytesIO(film.content)) as picture:
        assert (picture.format, getattr(picture, "n_frames", 1)) == ("GIF", 3)
    refused = client.get(path.replace("PEARS", "9"))
    assert (refused.status_code, refused.json()["errors"][0]["field"]) == (422, "path.label")


def test_links_of_checkpoints_name_addresses_that_draw(client: TestClient) -> None:
    for checkpoint in (f"{SECOND}-e001", f"{NEW}-e001"):
        links = client.get(f"/checkpoints/{checkpoint}").json()["links"]
        assert ("digits" in links) == (checkpoint == f"{NEW}-e001")
        for name in {"digits", "images"} & set(links):
            drawn = client.get(links[name].replace("{label}", "8"))
            assert (drawn.status_code, drawn.headers["X-Checkpoint"]) == (200, checkpoint)


# ----------------------------------------------------------------------------
# Publications, policies and deletions.


@pytest.fixture
def store(settings: AppSettings) -> CheckpointStore:
    store = publish_two(CheckpointStore(settings.store_dir))
    publish_letters(store)
    return store


def refresh(client: TestClient) -> None:
    assert client.portal
    client.portal.call(client.app.state.services.inference.models.refresh)  # type: ignore[call-arg, attr-defined]


def drawn_by(client: TestClient, path: str) -> str:
    return client.get(path).raise_for_status().headers["X-Checkpoint"]


def test_both_data_sets_follow_their_own_publications(settings: AppSettings, store: CheckpointStore) -> None:
    with local_client(create_app(settings)) as client:
        publish_own(store, THIRD, "letters@2", CLASSES)
        refresh(client)
        assert drawn_by(client, "/images/letters/8") == f"{THIRD}-e001"
        assert drawn_by(client, "/digits/7") == drawn_by(client, "/images/mnist/7") == f"{NEW}-e001"
        client.put("/serving", json={"policy": "pinned", "checkpoint": f"{OLD}-e001"}).raise_for_status()
        assert drawn_by(client, "/digits/7") == drawn_by(client, "/images/mnist/7") == f"{OLD}-e001"
        assert drawn_by(client, "/images/letters/8") == f"{THIRD}-e001"
        client.put("/serving", json={"policy": "newest"}).raise_for_status()
        # The newest checkpoint of data that are not served can be deleted: the one before is drawn then.
        assert client.delete(f"/checkpoints/{THIRD}-e001").status_code == 204
        assert drawn_by(client, "/images/letters/8") == f"{SECOND}-e001"
        for checkpoint in (f"{SECOND}-e001", *(f"{FIRST}-e00{epoch}" for epoch in (2, 1, 3))):
            assert client.delete(f"/checkpoints/{checkpoint}").status_code == 204
        assert client.get("/images/letters/8").status_code == 404
        assert client.delete(f"/checkpoints/{NEW}-e001").status_code == 409
        assert drawn_by(client, "/digits/7") == f"{NEW}-e001"


def test_best_and_versions_follow_older_runs_and_deletions(settings: AppSettings, store: CheckpointStore) -> None:
    with local_client(create_app(settings)) as client:
        first, best = "/images/letters@1/8", "/images/letters/8?checkpoint=best"
        assert (drawn_by(client, first), drawn_by(client, best)) == (f"{FIRST}-e003", f"{SECOND}-e001")
        publish_own(store, FIRST, "letters@1", CLASSES, 4, {"frechet_distance": 0.5})
        assert drawn_by(client, first) == f"{FIRST}-e004"
        third = publish_own(store, THIRD, "letters@1", CLASSES)  # the best is that of the version of the newest
        assert drawn_by(client, best) == f"{FIRST}-e004"
        assert (client.delete(f"/checkpoints/{third}").status_code, drawn_by(client, best)) == (204, f"{SECOND}-e001")


def test_retention_keeps_the_newest_and_the_best_of_both(settings: AppSettings) -> None:
    store = publish_two(CheckpointStore(settings.store_dir))
    for epoch, distance in ((1, 2.0), (2, 1.0), (3, 3.0)):
        publish_own(store, FIRST, "letters@1", CLASSES, epoch, {"frechet_distance": distance}, age_seconds=3600)
    assert apply_retention(store, 1) == [f"{FIRST}-e001"]
    with local_client(create_app(settings)) as client:
        assert drawn_by(client, "/images/letters/8") == f"{FIRST}-e003"
        assert drawn_by(client, "/images/letters/8?checkpoint=best") == f"{FIRST}-e002"
        assert drawn_by(client, "/digits/7") == f"{NEW}-e001"


def test_a_damaged_newest_checkpoint_is_replaced_by_the_one_before(
    settings: AppSettings, store: CheckpointStore
) -> None:
    (store.folder(CheckpointId(SECOND, 1)) / GENERATOR).write_bytes(b"damaged")
    with local_client(create_app(settings)) as client:
        assert drawn_by(client, "/images/letters/8") == f"{FIRST}-e003"
        trouble = client.get("/readyz").json()["trouble"]
        assert "is damaged" in trouble
        assert str(store.root) not in trouble
        named = client.get(f"/images/letters/8?checkpoint={SECOND}-e001")
        assert named.status_code == 503


def test_a_start_skips_other_classes(settings: AppSettings, store: CheckpointStore) -> None:
    (store.folder(CheckpointId(NEW, 1)) / GENERATOR).write_bytes(b"damaged")
    with local_client(create_app(settings.model_copy(update={"pretrained": False}))) as client:
        assert drawn_by(client, "/digits/7") == f"{OLD}-e001"


def test_a_policy_of_other_classes_in_the_store_is_a_problem_and_digits_are_served(
    settings: AppSettings, store: CheckpointStore
) -> None:
    (store.root / "serving.json").write_text('{"policy": "newest", "checkpoint": null, "dataset": "letters"}')
    with local_client(create_app(settings)) as client:
        assert drawn_by(client, "/digits/7") == f"{NEW}-e001"
        assert "are not the ten digits" in client.get("/readyz").json()["trouble"]
        assert drawn_by(client, "/images/letters/8") == f"{SECOND}-e001"


def test_digits_that_a_user_brought_may_be_served(settings: AppSettings, store: CheckpointStore) -> None:
    own = publish_own(store, THIRD, "scans@1", tuple("0123456789"))
    with local_client(create_app(settings)) as client:
        assert client.put("/serving", json={"dataset": "scans"}).status_code == 200
        assert drawn_by(client, "/digits/7") == drawn_by(client, "/images/scans/7") == own
        assert client.get("/digits/7").headers["X-Dataset"] == "scans@1"
        assert drawn_by(client, "/images/mnist/7") == f"{NEW}-e001"


def test_the_bundled_generator_is_that_of_mnist(settings: AppSettings) -> None:
    with local_client(create_app(settings.model_copy(update={"pretrained": True}))) as client:
        images = client.get("/images/mnist/7?seed=4").raise_for_status()
        assert images.content == client.get("/digits/7?seed=4").content
        bring(CheckpointStore(settings.store_dir).training_data, "letters")
        assert client.get("/images/letters/a").status_code == 404


# ----------------------------------------------------------------------------
# Data sets on order.


def test_a_data_set_of_many_classes_has_at_most_as_many_images_as_one_of_digits(
    settings: AppSettings, store: CheckpointStore
) -> None:
    own = publish_own(store, THIRD, "signs@1", tuple(f"sign {number}" for number in range(100)))
    with local_client(create_app(settings)) as client:
        refused = client.post("/datasets", json={"checkpoint": own, "per_class": 99_000, "test_per_class": 1001})
        assert (refused.status_code, refused.json()["type"]) == (422, "/problems/invalid-input")
        assert "together should be at most 100,000" in refused.json()["detail"]
        job = client.post("/datasets", json={"checkpoint": own, "per_class": 99_000, "test_per_class": 1000})
        assert (job.status_code, job.json()["order"]["checkpoint"]) == (202, own)


def test_a_verified_data_set_needs_a_judge(settings: AppSettings, store: CheckpointStore) -> None:
    with local_client(create_app(settings)) as client:
        order = {"checkpoint": f"{SECOND}-e001", "per_class": 10, "test_per_class": 10, "verify": 0.9}
        refused = client.post("/datasets", json=order)
        assert (refused.status_code, refused.json()["type"]) == (409, "/problems/not-verified")
        assert client.get("/datasets").json()["datasets"] == []


def test_the_room_for_a_data_set_depends_on_its_classes(settings: AppSettings, store: CheckpointStore) -> None:
    own = publish_own(store, THIRD, "signs@1", tuple(f"sign {number}" for number in range(100)))
    order = {"per_class": 900, "test_per_class": 100}  # of 100 classes 40 MB, of digits 4 MB
    used = sum(file.size for file in store.storage.files())
    with local_client(create_app(settings.model_copy(update={"store_limit": used + 43_000_000}))) as client:
        assert client.post("/datasets", json={**order, "checkpoint": own}).status_code == 202
        refused = client.post("/datasets", json=order)
        assert (refused.status_code, refused.json()["type"]) == (409, "/problems/store-full")
