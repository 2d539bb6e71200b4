"""JSON ends with a newline, so that a terminal's prompt starts on a new line; files are sent unchanged."""

import pytest
from starlette.testclient import TestClient

from app.middleware.json_newline import with_one_more

ADDRESSES = ["/jobs", "/checkpoints", "/checkpoints/latest", "/serving", "/readyz", "/livez", "/openapi.json"]


@pytest.mark.parametrize("address", ADDRESSES)
def test_json_ends_with_one_newline_that_its_length_includes(client: TestClient, address: str) -> None:
    client.headers["Accept-Encoding"] = ""
    answer = client.get(address)
    assert answer.status_code == 200
    assert answer.content == answer.content.rstrip() + b"\n"
    assert answer.headers["Content-Length"] == str(len(answer.content))
    assert client.head(address).headers["Content-Length"] == str(len(answer.content))


def test_an_unchanged_record_is_still_a_304(client: TestClient) -> None:
    accepted = client.post("/train")
    assert accepted.text.endswith("}\n")
    result = client.get(accepted.headers["Location"])
    assert result.text == accepted.text
    again = client.get(accepted.headers["Location"], headers={"If-None-Match": result.headers["ETag"]})
    assert (again.status_code, again.content) == (304, b"")


def test_files_and_streams_get_no_newline() -> None:
    json, length = (b"content-type", b"application/json"), (b"content-length", b"41")
    assert with_one_more([length, json]) == [json, (b"content-length", b"42")]
    assert with_one_more([length, json, (b"accept-ranges", b"bytes")]) is None
    assert with_one_more([length, json, (b"vary", b"Accept-Encoding")]) is None
    assert with_one_more([json]) is None


def test_pictures_get_no_newline(client: TestClient) -> None:
    answer = client.get("/digits/7?seed=4")
    assert answer.content.endswith(b"IEND\xaeB`\x82")
