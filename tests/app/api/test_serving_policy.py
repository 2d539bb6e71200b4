"""PUT /serving with `If-Match`, and bodies that are not declared as JSON."""

import pytest
from starlette.testclient import TestClient

from tests.models.registry.test_store import NEW, OLD

PIN_OLD = {"policy": "pinned", "checkpoint": f"{OLD}-e001"}
PIN_NEW = {"policy": "pinned", "checkpoint": f"{NEW}-e001"}


def test_a_policy_that_another_caller_changed_is_not_overwritten(client: TestClient) -> None:
    seen = client.get("/serving").headers["ETag"]
    changed = client.put("/serving", json=PIN_OLD, headers={"If-Match": seen})
    assert changed.status_code == 200
    refused = client.put("/serving", json=PIN_NEW, headers={"If-Match": seen})
    assert (refused.status_code, refused.json()["type"]) == (412, "/problems/precondition-failed")
    assert client.get("/serving").json()["checkpoint"] == PIN_OLD["checkpoint"]
    again = client.put("/serving", json=PIN_NEW, headers={"If-Match": changed.headers["ETag"]})
    assert again.json()["serving"] == PIN_NEW["checkpoint"]
    assert again.headers["ETag"] == client.get("/serving").headers["ETag"] != seen


@pytest.mark.parametrize("if_match", ["*", '"a", {tag}', " {tag} ,"])
def test_any_of_several_versions_is_accepted(client: TestClient, if_match: str) -> None:
    tag = client.get("/serving").headers["ETag"]
    headers = {"If-Match": if_match.replace("{tag}", tag)}
    assert client.put("/serving", json=PIN_OLD, headers=headers).status_code == 200


@pytest.mark.parametrize("if_match", ['"another"', "W/{tag}", "", ","])
def test_no_other_version_is(client: TestClient, if_match: str) -> None:
    tag = client.get("/serving").headers["ETag"]
    headers = {"If-Match": if_match.replace("{tag}", tag)}
    assert client.put("/serving", json=PIN_OLD, headers=headers).status_code == 412
    assert client.get("/serving").headers["ETag"] == tag


def test_without_a_version_the_last_caller_wins(client: TestClient) -> None:
    for policy in (PIN_OLD, PIN_NEW, {"policy": "newest"}):
        assert client.put("/serving", json=policy).status_code == 200


@pytest.mark.parametrize("content_type", ["text/plain", "application/x-www-form-urlencoded", "application/jsonp", None])
def test_a_body_that_is_not_declared_as_json_is_refused(client: TestClient, content_type: str | None) -> None:
    headers = {"Content-Type": content_type} if content_type else {}
    answer = client.post("/train", content='{"epochs": 1}', headers=headers)
    assert (answer.status_code, answer.json()["type"]) == (415, "/problems/unsupported-media-type")
    assert "Content-Type: application/json" in answer.json()["detail"]
    assert client.get("/jobs").json()["jobs"] == []


@pytest.mark.parametrize(
    "content_type", ["application/json; charset=utf-8", "APPLICATION/JSON", "application/vnd.a+json"]
)
def test_every_kind_of_json_is_read(client: TestClient, content_type: str) -> None:
    answer = client.post("/train", content='{"epochs": 1}', headers={"Content-Type": content_type})
    assert (answer.status_code, answer.json()["config"]["epochs"]) == (202, 1)


def test_a_request_without_a_body_needs_no_type(client: TestClient) -> None:
    assert client.post("/train", headers={"Content-Type": "text/plain"}).status_code == 202
    assert client.post("/train", content=iter([b""])).status_code == 202  # chunked
