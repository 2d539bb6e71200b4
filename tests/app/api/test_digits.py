import io
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import httpx2
import numpy as np
import pytest
from PIL import Image
from starlette.testclient import TestClient

from app.main import create_app
from app.settings import AppSettings
from models.registry.store import GENERATOR, CheckpointId, CheckpointStore
from tests.app.conftest import publish, publish_own
from tests.models.registry.test_store import NEW, OLD
from tests.support.api_clients import local_client
from tests.support.serving import serving


def pixels(png: bytes) -> np.ndarray:
    with Image.open(io.BytesIO(png)) as image:
        assert image.format == "PNG"
        return np.asarray(image)


def until(condition: Callable[[], bool]) -> None:
    """Wait until the API serves a new publication, for which it checks the store once a second."""
    deadline = time.monotonic() + 60
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


def test_the_default_is_one_digit(client: TestClient) -> None:
    assert pixels(client.get("/digits/0").content).shape == (28, 28)


def test_any_response_can_be_drawn_again(client: TestClient) -> None:
    first = client.get("/digits/3?n=5")
    address = {"seed": first.headers["X-Seed"], "index": first.headers["X-Index"]}
    again = client.get("/digits/3", params={**address, "n": 5, "checkpoint": first.headers["X-Checkpoint"]})
    assert again.content == first.content
    other = client.get("/digits/3?n=5")
    assert other.content != first.content
    assert (other.headers["X-Seed"], other.headers["X-Index"]) != (address["seed"], address["index"])


def test_a_digit_does_not_depend_on_the_rest_of_its_batch(client: TestClient) -> None:
    many = pixels(client.get("/digits/3?n=20&seed=4&columns=20").content)
    alone = pixels(client.get("/digits/3?n=1&seed=4&index=13").content)
    assert np.array_equal(alone, many[:, 13 * 28 : 14 * 28])


def test_columns_and_scale(client: TestClient) -> None:
    assert pixels(client.get("/digits/3?n=7&columns=3&scale=2").content).shape == (3 * 56, 3 * 56)
    assert pixels(client.get("/digits/3?n=2&columns=1000").content).shape == (28, 56)


def test_digits_can_be_padded_and_inverted(client: TestClient) -> None:
    plain = pixels(client.get("/digits/3?n=4&seed=1&columns=2").content)
    spaced = pixels(client.get("/digits/3?n=4&seed=1&columns=2&padding=5&invert=true").content)
    assert spaced.shape == (5 + 2 * 33, 5 + 2 * 33)
    assert np.array_equal(spaced[5:33, 38:66], 255 - plain[:28, 28:])


def test_one_address_has_the_same_pixels_in_every_format_and_batch(client: TestClient) -> None:
    array = np.load(io.BytesIO(client.get("/digits/3?n=20&seed=4&format=npy").content))
    assert (array.shape, array.dtype) == ((20, 28, 28), np.uint8)
    sheet = pixels(client.get("/digits/3?n=20&seed=4&columns=1").content)
    assert np.array_equal(sheet.reshape(20, 28, 28), array)
    archive = zipfile.ZipFile(
        io.BytesIO(client.get("/digits/3?n=20&seed=4", headers={"Accept": "application/zip"}).content)
    )
    assert archive.namelist() == [f"3-4-{index}.png" for index in range(20)]
    every = np.load(io.BytesIO(client.get("/digits?n=20&seed=4&format=npy").content))
    assert every.shape == (20, 10, 28, 28)
    assert np.array_equal(every[:, 3], array)
    for index in range(20):
        assert np.array_equal(pixels(archive.read(f"3-4-{index}.png")), array[index])
        assert np.array_equal(pixels(client.get(f"/digits/3?seed=4&index={index}").content), array[index])


def test_a_sheet_of_every_class_has_one_row_per_seed(client: TestClient) -> None:
    answer = client.get("/digits?n=3&seed=4")
    assert pixels(answer.content).shape == (3 * 28, 10 * 28)
    assert pixels(client.get("/digits?n=3").content).shape == (3 * 28, 10 * 28)
    archive = zipfile.ZipFile(io.BytesIO(client.get("/digits?n=2&seed=4&index=7&format=zip").content))
    assert archive.namelist()[:2] == ["0-4-7.png", "1-4-7.png"]
    assert archive.namelist()[-1] == "9-4-8.png"


@pytest.mark.parametrize("n", [1, 40, 200, 1000])
def test_buffered_digits_have_an_address_too(client: TestClient, n: int) -> None:
    """Without a seed, digits may come from the buffer. Drawing the address in the response gives the same digits."""
    seen = set()
    for _ in range(6):
        answer = client.get(f"/digits/3?n={n}&format=npy")
        address = {"seed": answer.headers["X-Seed"], "index": answer.headers["X-Index"]}
        again = client.get("/digits/3", params={**address, "n": n, "format": "npy"})
        assert again.content == answer.content
        seen.add(tuple(address.values()))
    assert len(seen) == 6


def test_another_process_draws_the_same_digits(client: TestClient, settings: AppSettings) -> None:
    ours = np.load(io.BytesIO(client.get("/digits/3?n=30&seed=4&format=npy").content))
    script = """if True:
        import sys
        from pathlib import Path
        import torch
        from models.sampling.sampler import draw_digits, prepare
        from models.networks.weights import generator_from_bytes
        generator = prepare(generator_from_bytes(Path(sys.argv[1]).read_bytes()), torch.device("cpu"))
        sys.stdout.buffer.write(draw_digits(generator, 3, 17, seed=4, index=13).tobytes())
    """
    weights = CheckpointStore(settings.store_dir).folder(CheckpointId(NEW, 1)) / GENERATOR
    theirs = subprocess.run([sys.executable, "-c", script, str(weights)], capture_output=True, check=True).stdout
    assert theirs == ours[13:].tobytes()


def test_the_etag_of_a_seeded_response_is_known_before_it_is_drawn(client: TestClient) -> None:
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
        "/digits/3?n=2&seed=4&index=1",
        "/digits/3?n=2&seed=4&columns=1",
        "/digits/3?n=2&seed=4&invert=true",
        "/digits/3?n=2&seed=4&format=zip",
        "/digits?n=2&seed=4",
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


def test_after_a_damaged_publication_the_old_checkpoint_is_still_served(
    client: TestClient, store: CheckpointStore
) -> None:
    serving = client.get("/digits/3").headers["X-Checkpoint"]
    generator = store.folder(CheckpointId(NEW, 2)) / GENERATOR
    publish(store, NEW, 2, seed=3)
    generator.write_bytes(generator.read_bytes()[:-7] + b"garbage")
    until(lambda: "checksum" in (client.get("/readyz").json()["trouble"] or ""))
    assert client.get("/digits/3").headers["X-Checkpoint"] == serving
    damaged = client.get(f"/digits/3?checkpoint={NEW}-e002")
    assert damaged.status_code == 503
    assert "checksum" in damaged.json()["detail"]


def test_a_process_that_starts_with_a_damaged_checkpoint_serves_the_one_before(
    settings: AppSettings, store: CheckpointStore
) -> None:
    from app.main import create_app

    (store.folder(CheckpointId(NEW, 1)) / GENERATOR).write_bytes(b"")
    with local_client(create_app(settings)) as client:
        assert client.get("/digits/3").headers["X-Checkpoint"] == f"{OLD}-e001"


def test_before_the_first_publication_the_response_says_what_to_do(settings: AppSettings) -> None:
    from app.main import create_app

    with local_client(create_app(settings)) as client:
        answer = client.get("/digits/3")
    assert answer.status_code == 503
    assert int(answer.headers["Retry-After"]) > 0
    assert "POST /train" in answer.json()["detail"]


def test_an_unsupported_format_is_refused(client: TestClient) -> None:
    answer = client.get("/digits/3", headers={"Accept": "text/html"})
    assert answer.status_code == 406
    assert "?format=" in answer.json()["detail"]


def test_a_304_draws_nothing(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    first = client.get("/digits/3?n=1000&seed=4")
    monkeypatch.setattr("app.inference.batcher.Batcher.draw", None)
    same = client.get("/digits/3?n=1000&seed=4", headers={"If-None-Match": f'W/"x", {first.headers["ETag"]}'})
    assert same.status_code == 304


@pytest.mark.parametrize(
    "path", ["/digits/3?seed=4", "/digits?seed=4", "/digits/3?seed=4&verify=0", "/images/mnist/3?seed=4"]
)
def test_a_304_says_what_the_response_depends_on(client: TestClient, path: str) -> None:
    first = client.get(path)
    same = client.get(path, headers={"If-None-Match": first.headers["ETag"]})
    assert same.status_code == 304
    for name in ("Cache-Control", "ETag", "Vary"):  # RFC 9110, section 15.4.5
        assert same.headers[name] == first.headers[name]
    assert first.headers["Vary"] == "Accept"


def test_requests_beyond_the_capacity_are_refused(settings: AppSettings, store: CheckpointStore) -> None:
    with serving(settings.model_copy(update={"drawing_wait_seconds": 0.01, "stock": 0})) as address:

        def ask(seed: int) -> httpx2.Response:
            return httpx2.get(f"{address}/digits/3?n=1000&seed={seed}", timeout=60)

        ask(0)
        with ThreadPoolExecutor(20) as pool:
            answers = list(pool.map(ask, range(20)))
    assert {answer.status_code for answer in answers} == {200, 503}
    for answer in answers:
        if answer.status_code == 503:
            assert answer.headers["Retry-After"] == "1"
            assert answer.json()["type"] == "/problems/overloaded"


def test_head_returns_the_headers_of_get(client: TestClient) -> None:
    same = {"X-Request-ID": "both"}
    asked, shown = client.get("/digits/3?seed=4", headers=same), client.head("/digits/3?seed=4", headers=same)
    assert (shown.status_code, shown.content) == (200, b"")
    assert shown.headers == asked.headers
    assert client.head("/livez").status_code == 200
    assert client.head("/train").status_code == 405


def test_a_refusal_of_too_many_images_names_the_field(settings: AppSettings, store: CheckpointStore) -> None:
    publish_own(store, "20360103-000000-aaaaaa", "many@1", tuple("abcdefghijklmnopqrstuvwxyz"), 1)
    with local_client(create_app(settings)) as client:
        refused = client.get("/images/many?n=39")
        assert client.get("/images/many?n=38").status_code == 200
    assert (refused.status_code, refused.json()["type"]) == (422, "/problems/invalid-input")
    message = "should be at most 38 for 26 classes, not 39"
    assert refused.json()["errors"] == [{"field": "query.n", "message": message}]
