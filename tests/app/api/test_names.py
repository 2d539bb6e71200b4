"""The label of a run: one line of text that a terminal can show."""

import json
from typing import Any

import pytest
from starlette.testclient import TestClient

from app.schemas.jobs import TrainingOrder

HIDDEN = ["\x00", "\x1b[31mred", "a\nb", "a\rb", "tab\tbed", "\x7f", "\x9b31m", "\u2028", "\u2029", "line\n"]
BIDI = ["\u202e", "\u202a", "\u2066", "\u2069", "\u200e", "\u200f", "\u061c"]


@pytest.fixture
def client(shared_client: TestClient, redis_url: str) -> TestClient:
    return shared_client


@pytest.mark.parametrize("name", [*HIDDEN, *(f"a{mark}b" for mark in BIDI)], ids=ascii)
def test_control_characters_and_direction_overrides_are_refused(client: TestClient, name: str) -> None:
    answer = client.post("/train", json={"name": name})
    assert answer.status_code == 422
    (mistake,) = answer.json()["errors"]
    assert mistake["field"] == "body.name"
    assert answer.json()["detail"].isprintable()
    assert client.get("/jobs").json()["jobs"] == []


@pytest.mark.parametrize(
    ("sent", "kept"),
    [
        ("first try", "first try"),
        ("  first try ", "first try"),
        ("\u00a0first\u3000", "first"),
        ("", None),
        ("   ", None),
        (None, None),
        ("[bold]\\[/] <b>", "[bold]\\[/] <b>"),  # text, although a terminal interprets it
        ("Zahl \u00fc \u05d0 \U0001f468\u200d\U0001f469", "Zahl \u00fc \u05d0 \U0001f468\u200d\U0001f469"),
    ],
)
def test_a_label_is_stripped_and_a_blank_one_is_none(client: TestClient, sent: str | None, kept: str | None) -> None:
    job = client.post("/train", json={"name": sent}).raise_for_status().json()
    assert job["config"]["name"] == kept


def test_the_document_describes_valid_labels() -> None:
    described: dict[str, Any] = TrainingOrder.model_json_schema()["properties"]["name"]
    (text,) = [each for each in described["anyOf"] if each["type"] == "string"]
    assert text["maxLength"] == 100
    assert "\\u001f" in text["pattern"]
    json.dumps(text)
