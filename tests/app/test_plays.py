"""Numbers in one hand, and digits that turn into others."""

import asyncio
import io
import threading

import numpy as np
import pytest
from starlette.testclient import TestClient

from app.batcher import Busy
from app.studio import WAITING, Studio
from models.numbers import set_number
from tests.app.test_digits import pixels
from tests.models.test_checkpoints import NEW, OLD
from tests.models.test_morphs import film


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


# ----------------------------------------------------------------------------
# Morphs.


def test_a_film_begins_and_turns_at_the_digits_of_its_addresses(client: TestClient) -> None:
    answer = client.get("/morph/3/8?seed=4&steps=5&milliseconds=80")
    assert answer.headers["content-type"] == "image/gif"
    assert [answer.headers[name] for name in ("X-Checkpoint", "X-Seed", "X-Index")] == [f"{NEW}-e001", "4", "0"]
    frames, durations = film(answer.content)
    assert (len(frames), set(durations)) == (8, {80})
    assert np.array_equal(frames[0], digits_of(client, "/digits/3?seed=4")[0])
    assert np.array_equal(frames[4], digits_of(client, "/digits/8?seed=4")[0])
    assert np.array_equal(frames[5:], frames[3:0:-1])


def test_a_morph_may_lead_from_one_hand_to_another(client: TestClient) -> None:
    answer = client.get("/morph/3/3?seed=4&to_seed=5&index=2&steps=6&format=webp")
    assert answer.headers["content-type"] == "image/webp"
    frames, _ = film(answer.content)
    assert np.array_equal(frames[0], digits_of(client, "/digits/3?seed=4&index=2")[0])
    assert np.array_equal(frames[5], digits_of(client, "/digits/3?seed=5&index=2")[0])


def test_a_morph_is_a_strip_too(client: TestClient) -> None:
    strip = pixels(client.get("/morph/3/8?seed=4&steps=5&format=png&scale=2&padding=1&invert=true").content)
    assert strip.shape == (58, 5 * 57 + 1)
    frames, _ = film(client.get("/morph/3/8?seed=4&steps=5").content)
    assert np.array_equal(255 - strip[1:57, 1 + 2 * 57 :][:, :56], frames[2].repeat(2, 0).repeat(2, 1))


def test_a_morph_of_a_digit_into_itself_stands_still(client: TestClient) -> None:
    strip = pixels(client.get("/morph/3/3?seed=4&steps=3&format=png").content)
    assert np.array_equal(strip[:, :28], strip[:, 56:])


def test_morphs_are_named_before_they_are_drawn(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    first = client.get("/morph/3/8?seed=4")
    know = {"If-None-Match": first.headers["ETag"]}
    for other in ("steps=17", "to_seed=9", "format=webp", "milliseconds=70", "index=1"):
        assert client.get(f"/morph/3/8?seed=4&{other}", headers=know).status_code == 200
    assert client.get("/morph/8/3?seed=4", headers=know).status_code == 200
    monkeypatch.setattr("app.batcher.Batcher.draw", None)
    assert client.get("/morph/3/8?seed=4", headers=know).status_code == 304
    assert client.get("/morph/3/8?seed=4").content == first.content
    assert "immutable" in client.get(f"/morph/3/8?seed=4&checkpoint={NEW}-e001").headers["Cache-Control"]


def test_a_studio_that_has_enough_to_do_refuses_more() -> None:
    async def ask() -> list[int | BaseException]:
        studio, done = Studio(), threading.Event()
        asked = [asyncio.create_task(studio.make(lambda: int(done.wait(10)))) for _ in range(WAITING + 3)]
        await asyncio.sleep(0.05)
        done.set()
        return await asyncio.gather(*asked, return_exceptions=True)

    answers = asyncio.run(ask())
    assert [isinstance(each, Busy) for each in answers] == [False] * (WAITING + 1) + [True] * 2
    assert answers[: WAITING + 1] == [1] * (WAITING + 1)
