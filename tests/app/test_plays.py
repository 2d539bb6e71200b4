"""Numbers in one hand."""

import io

import numpy as np
import pytest
from starlette.testclient import TestClient

from models.numbers import set_number
from tests.app.test_digits import pixels
from tests.models.test_checkpoints import NEW, OLD


def digits_of(client: TestClient, path: str) -> np.ndarray:
    array: np.ndarray = np.load(io.BytesIO(client.get(f"{path}&format=npy").content))
    return array


# ----------------------------------------------------------------------------
# Numbers.


def test_a_number_is_the_digits_of_one_hand(client: TestClient) -> None:
    answer = client.get("/numbers/0031415?seed=4&index=9&scale=2&invert=true")
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "image/png"
    assert [answer.headers[name] for name in ("X-Checkpoint", "X-Seed", "X-Index")] == [f"{NEW}-e001", "4", "9"]
    hand = [digits_of(client, f"/digits/{label}?seed=4&index=9")[0] for label in (0, 0, 3, 1, 4, 1, 5)]
    assert np.array_equal(pixels(answer.content), set_number(np.stack(hand), scale=2, invert=True))


def test_a_number_without_a_seed_can_be_written_again(client: TestClient) -> None:
    first, other = client.get("/numbers/42"), client.get("/numbers/42")
    assert first.headers["Cache-Control"] == "no-store"
    assert first.headers["X-Seed"] != other.headers["X-Seed"]
    address = {"seed": first.headers["X-Seed"], "index": first.headers["X-Index"]}
    assert client.get("/numbers/42", params=address).content == first.content


def test_numbers_are_named_before_they_are_drawn(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    first = client.get("/numbers/31415?seed=4")
    assert first.headers["Cache-Control"] == "no-cache"
    fixed = client.get(f"/numbers/31415?seed=4&checkpoint={NEW}-e001")
    assert "immutable" in fixed.headers["Cache-Control"]
    assert fixed.headers["ETag"] == first.headers["ETag"]
    know = {"If-None-Match": first.headers["ETag"]}
    for other in (
        "/numbers/31416?seed=4",
        "/numbers/031415?seed=4",
        "/numbers/31415?seed=5",
        "/numbers/31415?seed=4&index=1",
        "/numbers/31415?seed=4&padding=1",
        f"/numbers/31415?seed=4&checkpoint={OLD}-e001",
    ):
        assert client.get(other, headers=know).status_code == 200
    monkeypatch.setattr("app.batcher.Batcher.draw", None)
    assert client.get("/numbers/31415?seed=4", headers=know).status_code == 304
    assert client.get("/numbers/31415?seed=4").content == first.content


@pytest.mark.parametrize("number", ["1" * 41, "3.14", "-1", "٣", "seven"])
def test_what_is_no_number_is_refused(client: TestClient, number: str) -> None:
    answer = client.get(f"/numbers/{number}")
    assert answer.status_code == 422
    assert answer.json()["detail"] == "path.number: should be a number of 1 to 40 decimal digits."
