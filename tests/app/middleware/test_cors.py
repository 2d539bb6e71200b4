"""Web pages of other origins that the settings name: they draw and read headers; others do not."""

from collections.abc import Iterator

import pytest
from pydantic import SecretStr
from starlette.testclient import TestClient

from app.api.openapi.headers import HEADERS
from app.main import create_app
from app.middleware.cors import OPTIONS
from app.security.api_keys import make_key
from app.security.host_names import read_origins
from app.settings import AppSettings
from models.registry.store import CheckpointStore
from tests.support.api_clients import local_client

KEY, ENTRY = make_key("ana")
ALLOWED, OTHER = "https://app.example", "https://evil.example"
ALLOW = "Access-Control-Allow-Origin"


@pytest.fixture
def cross(settings: AppSettings, store: CheckpointStore) -> Iterator[TestClient]:
    changes = {"cors_origins": ALLOWED, "api_keys": SecretStr(str(ENTRY))}
    with local_client(create_app(settings.model_copy(update=changes))) as client:
        yield client


def ask_first(client: TestClient, origin: str, method: str, headers: str) -> dict[str, str]:
    asked = {"Origin": origin, "Access-Control-Request-Method": method, "Access-Control-Request-Headers": headers}
    return dict(client.options("/train", headers=asked).headers)


def test_a_page_of_an_allowed_origin_may_send_a_key_and_read_the_address_of_digits(cross: TestClient) -> None:
    preflight = ask_first(cross, ALLOWED, "POST", "authorization, content-type, idempotency-key")
    assert preflight[ALLOW.lower()] == ALLOWED
    headers = {"Origin": ALLOWED, "Sec-Fetch-Site": "cross-site", "Authorization": f"Bearer {KEY}"}
    drawn = cross.get("/digits/7?n=1", headers=headers)
    assert drawn.headers[ALLOW] == ALLOWED
    assert "X-Seed" in drawn.headers["Access-Control-Expose-Headers"]
    assert "Origin" in drawn.headers["Vary"]
    assert cross.post("/train", json={"epochs": 1}, headers=headers).status_code == 202


def test_a_response_to_a_request_without_an_origin_is_not_reused_for_an_allowed_page(cross: TestClient) -> None:
    assert "Origin" in cross.get("/digits/7?n=1&seed=1", headers={"Authorization": f"Bearer {KEY}"}).headers["Vary"]


def test_a_refusal_can_be_read_by_the_page(cross: TestClient) -> None:
    answer = cross.post("/train", json={}, headers={"Origin": ALLOWED, "Sec-Fetch-Site": "cross-site"})
    assert (answer.status_code, answer.headers[ALLOW]) == (401, ALLOWED)


@pytest.mark.parametrize(
    "origin", [OTHER, "null", "http://app.example", "https://app.example:8443", "https://app.example.evil.example"]
)
def test_a_page_of_another_origin_gets_no_permission(cross: TestClient, origin: str) -> None:
    assert ALLOW.lower() not in ask_first(cross, origin, "POST", "authorization")
    headers = {"Origin": origin, "Sec-Fetch-Site": "cross-site", "Authorization": f"Bearer {KEY}"}
    assert ALLOW not in cross.get("/digits/7?n=1", headers=headers).headers
    assert cross.post("/train", json={"epochs": 1}, headers=headers).status_code == 403


def test_credentials_of_the_browser_are_never_allowed(cross: TestClient) -> None:
    assert "access-control-allow-credentials" not in ask_first(cross, ALLOWED, "GET", "authorization")


def test_without_the_setting_nothing_is_allowed(client: TestClient) -> None:
    assert ALLOW not in client.get("/digits/7?n=1", headers={"Origin": ALLOWED}).headers


@pytest.mark.parametrize(
    "origins",
    [
        "*",
        "null",
        "app.example",
        "https://",
        "https://a/b",
        "https://a?b",
        "ftp://a",
        "https://a b",
        "https://a:443",
        "https://*.a",
    ],
)
def test_an_origin_that_no_browser_sends_is_refused(origins: str) -> None:
    with pytest.raises(ValueError, match="should be origins as browsers send them"):
        read_origins(origins)


def test_origins_are_read() -> None:
    assert read_origins("https://A.example, http://localhost:3000  http://[::1]:8080") == [
        "https://a.example",
        "http://localhost:3000",
        "http://[::1]:8080",
    ]


def test_a_page_can_read_and_send_every_header_of_the_document() -> None:
    safelisted = {"cache-control", "content-type", "last-modified"}  # every page may read these
    exposed = {name.lower() for name in OPTIONS["expose_headers"]} | safelisted
    assert {name.lower() for name in HEADERS} - {"vary"} <= exposed
    document = create_app(AppSettings()).openapi()
    operations = [operation for path in document["paths"].values() for operation in path.values()]
    sent = {
        each["name"].lower() for found in operations for each in found.get("parameters", []) if each["in"] == "header"
    }
    assert sent - {"accept"} <= {name.lower() for name in OPTIONS["allow_headers"]}
