"""On a terminal the prompt has a line of its own: JSON ends with a line's end, and files are what they are."""

import pytest
from starlette.testclient import TestClient

from app.api.json_response import with_one_more

ADDRESSES = ["/jobs", "/checkpoints", "/checkpoints/latest", "/serving", "/readyz", "/livez", "/openapi.json"]


@pytest.mark.parametrize("address", ADDRESSES)
def test_json_ends_its_line_once_and_counts_it(client: TestClient, address: str) -> None:
    client.headers["Accept-Encoding"] = ""
    answer = client.get(address)
    assert answer.status_code == 200
    assert answer.content == answer.content.rstrip() + b"\n"
    assert answer.headers["Content-Length"] == str(len(answer.content))
    assert client.head(address).headers["Content-Length"] == str(len(answer.content))


def test_a_record_that_is_known_is_still_known(client: TestClient) -> None:
    accepted = client.post("/train")
    assert accepted.text.endswith("}\n")
    told = client.get(accepted.headers["Location"])
    assert told.text == accepted.text
    again = client.get(accepted.headers["Location"], headers={"If-None-Match": told.headers["ETag"]})
    assert (again.status_code, again.content) == (304, b"")


def test_what_is_a_file_or_comes_piece_by_piece_has_no_byte_more() -> None:
    json, length = (b"content-type", b"application/json"), (b"content-length", b"41")
    assert with_one_more([length, json]) == [json, (b"content-length", b"42")]
    assert with_one_more([length, json, (b"accept-ranges", b"bytes")]) is None
    assert with_one_more([length, json, (b"vary", b"Accept-Encoding")]) is None
    assert with_one_more([json]) is None


def test_pictures_have_no_byte_more(client: TestClient) -> None:
    answer = client.get("/digits/7?seed=4")
    assert answer.content.endswith(b"IEND\xaeB`\x82")
