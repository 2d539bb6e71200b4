import io
import time
from collections.abc import Callable

import numpy as np
from PIL import Image
from starlette.testclient import TestClient

from app.settings import AppSettings
from models.checkpoints import GENERATOR, CheckpointId, CheckpointStore
from tests.app.conftest import publish
from tests.models.test_checkpoints import NEW, OLD


def pixels(png: bytes) -> np.ndarray:
    with Image.open(io.BytesIO(png)) as image:
        assert image.format == "PNG"
        return np.asarray(image)


def until(condition: Callable[[], bool]) -> None:
    """Wait for the gallery, which looks for news once a second."""
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_forty_sevens_are_one_sheet(client: TestClient) -> None:
    answer = client.get("/digits/7?n=40")
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "image/png"
    assert pixels(answer.content).shape == (4 * 28, 10 * 28)
    assert answer.headers["X-Checkpoint"] == f"{NEW}-e001"
    assert answer.headers["Cache-Control"] == "no-store"


def test_one_digit_is_drawn_where_nothing_is_said(client: TestClient) -> None:
    assert pixels(client.get("/digits/0").content).shape == (28, 28)


def test_any_answer_can_be_drawn_again(client: TestClient) -> None:
    first = client.get("/digits/3?n=5")
    address = {"seed": first.headers["X-Seed"], "index": first.headers["X-Index"]}
    again = client.get("/digits/3", params={**address, "n": 5, "checkpoint": first.headers["X-Checkpoint"]})
    assert again.content == first.content
    assert client.get("/digits/3?n=5").headers["X-Seed"] != first.headers["X-Seed"]


def test_a_digit_is_the_same_in_any_company(client: TestClient) -> None:
    many = pixels(client.get("/digits/3?n=20&seed=4&columns=20").content)
    alone = pixels(client.get("/digits/3?n=1&seed=4&index=13").content)
    assert np.array_equal(alone, many[:, 13 * 28 : 14 * 28])


def test_columns_and_scale(client: TestClient) -> None:
    assert pixels(client.get("/digits/3?n=7&columns=3&scale=2").content).shape == (3 * 56, 3 * 56)
    assert pixels(client.get("/digits/3?n=2&columns=1000").content).shape == (28, 56)


def test_seeded_answers_are_named_before_they_are_drawn(client: TestClient) -> None:
    first = client.get("/digits/3?n=2&seed=4")
    assert first.headers["Cache-Control"] == "no-cache"
    fixed = client.get(f"/digits/3?n=2&seed=4&checkpoint={NEW}-e001")
    assert "immutable" in fixed.headers["Cache-Control"]
    assert fixed.headers["ETag"] == first.headers["ETag"]

    same = client.get("/digits/3?n=2&seed=4", headers={"If-None-Match": first.headers["ETag"]})
    assert (same.status_code, same.content) == (304, b"")
    for other in (
        "/digits/4?n=2&seed=4",
        "/digits/3?n=3&seed=4",
        "/digits/3?n=2&seed=5",
        f"/digits/3?n=2&seed=4&checkpoint={OLD}-e001",
    ):
        assert client.get(other, headers={"If-None-Match": first.headers["ETag"]}).status_code == 200


def test_another_checkpoint_draws_other_digits(client: TestClient) -> None:
    old = client.get(f"/digits/3?seed=4&checkpoint={OLD}-e001")
    assert old.headers["X-Checkpoint"] == f"{OLD}-e001"
    assert old.content != client.get("/digits/3?seed=4").content


def test_the_newest_publication_is_served_without_a_restart(client: TestClient, store: CheckpointStore) -> None:
    newer = publish(store, NEW, 2, seed=3)
    until(lambda: client.get("/digits/3").headers["X-Checkpoint"] == newer)


def test_a_damaged_publication_leaves_the_old_one_serving(client: TestClient, store: CheckpointStore) -> None:
    serving = client.get("/digits/3").headers["X-Checkpoint"]
    generator = store.folder(CheckpointId(NEW, 2)) / GENERATOR
    publish(store, NEW, 2, seed=3)
    generator.write_bytes(generator.read_bytes()[:-7] + b"garbage")
    until(lambda: "checksum" in (client.get("/readyz").json()["trouble"] or ""))
    assert client.get("/digits/3").headers["X-Checkpoint"] == serving
    damaged = client.get(f"/digits/3?checkpoint={NEW}-e002")
    assert damaged.status_code == 503
    assert "checksum" in damaged.json()["detail"]


def test_a_process_that_starts_on_a_damaged_checkpoint_serves_the_one_before(
    settings: AppSettings, store: CheckpointStore
) -> None:
    from app.main import create_app

    (store.folder(CheckpointId(NEW, 1)) / GENERATOR).write_bytes(b"")
    with TestClient(create_app(settings)) as client:
        assert client.get("/digits/3").headers["X-Checkpoint"] == f"{OLD}-e001"


def test_before_the_first_publication_the_answer_says_what_to_do(settings: AppSettings) -> None:
    from app.main import create_app

    with TestClient(create_app(settings)) as client:
        answer = client.get("/digits/3")
    assert answer.status_code == 503
    assert int(answer.headers["Retry-After"]) > 0
    assert "POST /train" in answer.json()["detail"]


def test_head_shows_the_headers_of_get(client: TestClient) -> None:
    same = {"X-Request-ID": "both"}
    asked, shown = client.get("/digits/3?seed=4", headers=same), client.head("/digits/3?seed=4", headers=same)
    assert (shown.status_code, shown.content) == (200, b"")
    assert shown.headers == asked.headers
    assert client.head("/livez").status_code == 200
    assert client.head("/train").status_code == 405
