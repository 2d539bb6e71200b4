"""Verified digits. The generators of tests are untrained, so a low threshold decides which of their digits pass."""

import io
import threading
import zipfile
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from starlette.testclient import TestClient

from app.inference.verified import MORE_TRIES
from models.evaluation.verifier import Verifier, find_verifier
from tests.app.api.test_compositions import digits_of
from tests.app.api.test_digits import pixels
from tests.models.registry.test_store import NEW
from tests.worker.conftest import until


@pytest.fixture
def verifier() -> Verifier:
    found = find_verifier("mnist", torch.device("cpu"))
    assert found
    return found


@pytest.fixture
def label_and_bar(client: TestClient, verifier: Verifier) -> tuple[int, float]:
    """A label, and the probability that about half of its first hundred digits reach."""
    for label in range(10):
        found = verifier.probabilities(digits_of(client, f"/digits/{label}?n=100&seed=4"), label)
        middle = float(np.sort(found)[50])
        if (found > middle).sum() > 20:
            return label, middle
    raise AssertionError("every digit of a label looks the same")


def test_a_threshold_of_zero_changes_nothing(client: TestClient) -> None:
    plain, verified = client.get("/digits/7?n=40&seed=4&index=3"), client.get("/digits/7?n=40&seed=4&index=3&verify=0")
    assert verified.status_code == 200
    assert verified.content == plain.content
    assert verified.headers["X-Refused"] == "0"
    assert verified.headers["X-Index"] == plain.headers["X-Index"] == "3"


@pytest.mark.parametrize("n", [1, 7, 20])
def test_refused_digits_are_replaced_by_the_next_of_their_seed(
    client: TestClient, verifier: Verifier, label_and_bar: tuple[int, float], n: int
) -> None:
    label, bar = label_and_bar
    hundred = digits_of(client, f"/digits/{label}?n=100&seed=4")
    good = np.flatnonzero(verifier.probabilities(hundred, label) >= np.float32(bar))[:n]
    asked = f"/digits/{label}?n={n}&seed=4&verify={bar!r}"
    assert np.array_equal(digits_of(client, asked), hundred[good])
    answer = client.get(f"{asked}&format=zip")
    assert answer.headers["X-Refused"] == str(good[-1] + 1 - n)
    assert answer.headers["X-Index"] == str(good[0])
    assert zipfile.ZipFile(io.BytesIO(answer.content)).namelist() == [f"{label}-4-{index}.png" for index in good]


def test_large_verified_sheets_wait_with_all_other_large_sheets(client: TestClient) -> None:
    encodings = client.app.state.services.inference._encodings  # type: ignore[attr-defined]
    done = threading.Event()
    address = "/digits/7?n=1000&seed=4&verify=0"
    with ThreadPoolExecutor(encodings.limit) as threads:
        waiting = [
            threads.submit(client.portal.call, encodings.make, lambda: bytes(done.wait(60)))  # type: ignore[union-attr]
            for _ in range(encodings.limit)
        ]
        try:
            until(lambda: client.get(address).status_code == 503)
            assert client.get("/digits/7?n=10&seed=4&verify=0").status_code == 200  # small
        finally:
            done.set()
        assert [each.result() for each in waiting] == [b"\0"] * encodings.limit
    assert client.get(address).status_code == 200


def test_any_verified_response_can_be_drawn_again(client: TestClient, label_and_bar: tuple[int, float]) -> None:
    label, bar = label_and_bar
    first = client.get(f"/digits/{label}?n=5&verify={bar!r}")
    assert first.headers["Cache-Control"] == "no-store"
    address = {"seed": first.headers["X-Seed"], "index": first.headers["X-Index"]}
    again = client.get(f"/digits/{label}", params={**address, "n": 5, "verify": repr(bar)})
    assert again.content == first.content
    alone = client.get(f"/digits/{label}", params=address)
    assert np.array_equal(pixels(first.content)[:, :28], pixels(alone.content))


def test_a_response_with_too_few_accepted_digits_gives_the_reason(client: TestClient) -> None:
    answer = client.get("/digits/7?n=2&seed=4&verify=1")
    assert answer.status_code == 409
    result = answer.json()["detail"]
    assert result.startswith(
        f"The judge accepted only 0 of {4 * 2 + MORE_TRIES} digits for the label 7 with a probability of at least 1,"
    )
    assert "omit verify" in result


@pytest.mark.parametrize("verify", ["1.01", "-0.1", "nan", "much"])
def test_an_invalid_probability_is_refused(client: TestClient, verify: str) -> None:
    assert client.get(f"/digits/7?verify={verify}").status_code == 422
    assert client.get("/digits?verify=0.5").status_code == 422  # all classes at once: there is no next index for one


def test_verified_responses_have_their_own_etags(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = client.get("/digits/7?seed=4").headers["ETag"]
    first = client.get(f"/digits/7?seed=4&verify=0&checkpoint={NEW}-e001")
    assert "immutable" in first.headers["Cache-Control"]
    assert first.headers["ETag"] != plain
    know = {"If-None-Match": first.headers["ETag"]}
    assert client.get("/digits/7?seed=4&verify=1e-30", headers=know).headers["ETag"] != first.headers["ETag"]
    monkeypatch.setattr("app.inference.batcher.Batcher.draw", None)
    assert client.get("/digits/7?seed=4&verify=0", headers=know).status_code == 304
