"""Numbers: in one style of writing, or with the latent vector of one seed."""

import io
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
import pytest
import torch
from starlette.testclient import TestClient

from app.main import create_app
from app.settings import AppSettings
from models.evaluation.style_bank import READABLE
from models.evaluation.verifier import find_verifier
from models.registry.store import CheckpointStore
from models.sampling.number_layout import set_number
from tests.app.api.test_compositions import digits_of
from tests.app.api.test_digits import pixels
from tests.app.conftest import publish_two
from tests.conftest import set_environment
from tests.models.registry.test_store import NEW, OLD
from tests.support import style_banks
from tests.support.api_clients import local_client

DIGITS = 96  # of a class in a bank: more than must be in it if few are readable
NOWHERE = "redis://127.0.0.1:9/0"  # drawing needs no Redis


@pytest.fixture(scope="module", autouse=True)
def banks() -> Iterator[None]:
    with style_banks.small(DIGITS):
        yield


def a_service(folder: Path, publishes: bool) -> TestClient:
    """An API with a home of its own. It serves the bundled generator if it publishes none."""
    with pytest.MonkeyPatch.context() as patch:
        set_environment(patch, folder)
        settings = AppSettings(redis_url=NOWHERE, stock=0, pretrained=not publishes)
    if publishes:
        publish_two(CheckpointStore(settings.store_dir))
    return local_client(create_app(settings))


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    with a_service(tmp_path_factory.mktemp("published"), publishes=True) as client:
        yield client


@pytest.fixture(scope="module")
def bundled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    with a_service(tmp_path_factory.mktemp("bundled"), publishes=False) as client:
        yield client


def addresses(headers: Mapping[str, str]) -> list[tuple[int, int]]:
    """The seed and the index of each digit."""
    pairs = [each.split(":") for each in headers["X-Digits"].split(",")]
    return [(int(seed), int(index)) for seed, index in pairs]


def test_digits_with_one_latent_vector_are_those_of_one_seed(client: TestClient) -> None:
    answer = client.get("/numbers/0031415?style=latent&seed=4&index=9&scale=2&invert=true")
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "image/png"
    assert [answer.headers[name] for name in ("X-Checkpoint", "X-Seed", "X-Index")] == [f"{NEW}-e001", "4", "9"]
    assert addresses(answer.headers) == [(4, 9)] * 7
    expected = [digits_of(client, f"/digits/{label}?seed=4&index=9")[0] for label in (0, 0, 3, 1, 4, 1, 5)]
    assert np.array_equal(pixels(answer.content), set_number(np.stack(expected), scale=2, invert=True))


@pytest.mark.parametrize("checkpoint", [f"{NEW}-e001", f"{OLD}-e001"])
@pytest.mark.parametrize("style", ["hand", "latent"])
def test_each_digit_has_an_address(client: TestClient, style: str, checkpoint: str) -> None:
    number, query = "0031415", f"style={style}&seed=4&index=9&checkpoint={checkpoint}"
    answer = client.get(f"/numbers/{number}?{query}&format=npy")
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/x-npy")
    digits = np.load(io.BytesIO(answer.content))
    assert (digits.shape, digits.dtype) == ((7, 28, 28), np.uint8)
    for label, digit, (seed, index) in zip(number, digits, addresses(answer.headers), strict=True):
        alone = digits_of(client, f"/digits/{label}?seed={seed}&index={index}&checkpoint={checkpoint}")
        assert np.array_equal(alone[0], digit)
    picture = client.get(f"/numbers/{number}?{query}&scale=3&padding=2")
    assert picture.headers["X-Digits"] == answer.headers["X-Digits"]
    assert np.array_equal(pixels(picture.content), set_number(digits, scale=3, padding=2))


def test_a_digit_that_occurs_again_has_other_pixels(client: TestClient) -> None:
    digits = digits_of(client, f"/numbers/{'7' * 40}?seed=4")
    assert len({digit.tobytes() for digit in digits}) == 40


def test_digits_in_one_style_are_readable(bundled: TestClient) -> None:
    verifier = find_verifier("mnist", torch.device("cpu"))
    assert verifier
    labels = np.array([3, 1, 4, 1, 5, 9, 2, 6, 8, 0, 7])
    for seed in range(10):
        digits = digits_of(bundled, f"/numbers/31415926807?seed={seed}")
        assert (verifier.probabilities(digits, labels) >= READABLE).all()


def test_another_process_draws_the_same_number(bundled: TestClient, tmp_path: Path) -> None:
    number = "/numbers/31415926?seed=4&index=2"
    bundled.get("/numbers/2718?seed=1")
    expected = bundled.get(number)
    with a_service(tmp_path, publishes=False) as other:
        answer = other.get(number)
    assert answer.content == expected.content
    assert [answer.headers[name] for name in ("ETag", "X-Digits")] == [
        expected.headers[name] for name in ("ETag", "X-Digits")
    ]


def test_a_number_without_a_seed_can_be_drawn_again(client: TestClient) -> None:
    first, other = client.get("/numbers/42"), client.get("/numbers/42")
    assert first.headers["Cache-Control"] == "no-store"
    assert first.headers["X-Seed"] != other.headers["X-Seed"]
    address = {"seed": first.headers["X-Seed"], "index": first.headers["X-Index"]}
    assert client.get("/numbers/42", params=address).content == first.content


@pytest.mark.parametrize("style", ["hand", "latent"])
def test_the_etag_of_a_number_is_known_before_it_is_drawn(
    client: TestClient, monkeypatch: pytest.MonkeyPatch, style: str
) -> None:
    path = f"/numbers/31415?style={style}"
    first = client.get(f"{path}&seed=4")
    assert first.headers["Cache-Control"] == "no-cache"
    fixed = client.get(f"{path}&seed=4&checkpoint={NEW}-e001")
    assert "immutable" in fixed.headers["Cache-Control"]
    assert fixed.headers["ETag"] == first.headers["ETag"]
    know = {"If-None-Match": first.headers["ETag"]}
    for other in (
        f"/numbers/31416?style={style}&seed=4",
        f"/numbers/031415?style={style}&seed=4",
        f"/numbers/31415?style={'latent' if style == 'hand' else 'hand'}&seed=4",
        f"{path}&seed=5",
        f"{path}&seed=4&index=1",
        f"{path}&seed=4&padding=1",
        f"{path}&seed=4&format=npy",
        f"{path}&seed=4&checkpoint={OLD}-e001",
    ):
        assert client.get(other, headers=know).status_code == 200
    monkeypatch.setattr("app.inference.batcher.Batcher.draw", None)
    assert client.get(f"{path}&seed=4", headers=know).status_code == 304
    assert client.get(f"{path}&seed=4").content == first.content


def test_one_style_is_the_default(client: TestClient) -> None:
    plain, named = (client.get(f"/numbers/31415?seed=4{more}") for more in ("", "&style=hand"))
    assert (plain.content, plain.headers["ETag"]) == (named.content, named.headers["ETag"])
    assert plain.content != client.get("/numbers/31415?seed=4&style=latent").content


def test_the_look_does_not_change_an_array(client: TestClient) -> None:
    plain, other = (client.get(f"/numbers/42?seed=4&format=npy{more}") for more in ("", "&scale=3&invert=true"))
    assert (plain.content, plain.headers["ETag"]) == (other.content, other.headers["ETag"])


def test_until_the_styles_are_measured_the_answer_is_503_and_never_another_number(
    bundled: TestClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    number = "/numbers/31415?seed=4"
    with a_service(tmp_path, publishes=False) as client:
        with monkeypatch.context() as patch:
            patch.setattr("app.inference.style_banks.WAIT_SECONDS", 0)
            early = client.get(number)
            latent = client.get(f"{number}&style=latent")
        assert (early.status_code, early.headers["Retry-After"]) == (503, "5")
        assert early.json()["type"] == "/problems/style-bank-not-ready"
        assert latent.content == bundled.get(f"{number}&style=latent").content
        assert client.get(number).content == bundled.get(number).content


@pytest.mark.parametrize("number", ["1" * 41, "3.14", "-1", "٣", "seven"])
def test_an_invalid_number_is_refused(client: TestClient, number: str) -> None:
    answer = client.get(f"/numbers/{number}")
    assert answer.status_code == 422
    assert answer.json()["detail"] == "path.number: should be a number of 1 to 40 decimal digits."
