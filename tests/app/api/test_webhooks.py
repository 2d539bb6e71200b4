"""Requests that name a receiver of messages about the end of their job."""

from collections.abc import Iterator
from typing import Any

import pytest
from pydantic import SecretStr
from starlette.testclient import TestClient

from app.main import create_app
from app.settings import AppSettings
from tests.support.api_clients import local_client
from tests.support.webhook_receiver import SECRET

URL = "https://hooks.example.com/acgan?token=abcdef"


@pytest.fixture
def client(settings: AppSettings) -> Iterator[TestClient]:
    allowed = {"webhook_hosts": "hooks.example.com other.example.com:8443", "webhook_secret": SecretStr(SECRET)}
    with local_client(create_app(settings.model_copy(update=allowed))) as client:
        yield client


def test_the_record_and_the_metrics_of_a_job_with_a_receiver(client: TestClient) -> None:
    accepted = client.post("/train", json={"webhook": URL})
    assert accepted.status_code == 202
    here = accepted.headers["location"]
    assert client.get(here).json()["webhook_host"] == "hooks.example.com"
    assert "acgan_webhooks_waiting 0.0" in client.get("/metrics").text
    client.post(f"{here}/cancel")
    assert "acgan_webhooks_waiting 1.0" in client.get("/metrics").text
    for answer in (accepted, client.get(here), client.get("/jobs"), client.get("/metrics")):
        assert "abcdef" not in answer.text
        assert SECRET.removeprefix("whsec_") not in answer.text


def test_a_port_besides_443_is_allowed_if_it_is_listed(client: TestClient) -> None:
    assert client.post("/train", json={"webhook": "https://other.example.com:8443/"}).status_code == 202


def test_a_retry_has_no_receiver(client: TestClient) -> None:
    here = client.post("/train", json={"webhook": URL}).headers["location"]
    assert client.post(f"{here}/retry").json()["webhook_host"] is None


def test_a_job_without_a_receiver(client: TestClient) -> None:
    assert client.post("/train").json()["webhook_host"] is None
    assert client.post("/train", json={"webhook": None}).json()["webhook_host"] is None


@pytest.mark.parametrize("path", ["/train", "/datasets"])
@pytest.mark.parametrize(
    "url",
    [
        "https://hooks.example.com.evil.test/",
        "https://sub.hooks.example.com/",
        "https://1.1/",
        "https://hooks.example.com:8443/",
        "https://other.example.com/",
    ],
)
def test_a_host_that_is_not_exactly_one_of_the_list_is_refused(client: TestClient, path: str, url: str) -> None:
    answer = client.post(path, json={"webhook": url})
    assert (answer.status_code, answer.json()["type"]) == (403, "/problems/webhook-not-allowed")
    assert "is not one of the hosts to which this service sends webhooks" in answer.json()["detail"]


@pytest.mark.parametrize("path", ["/train", "/datasets"])
@pytest.mark.parametrize(
    "url",
    ["http://hooks.example.com/abcdef", "https://u:abcdef@hooks.example.com/", f"{URL}\n", f"{URL}{'x' * 2000}", 5],
)
def test_an_address_of_another_form_is_refused_and_not_shown(client: TestClient, path: str, url: Any) -> None:
    answer = client.post(path, json={"webhook": url})
    assert (answer.status_code, answer.json()["type"]) == (422, "/problems/invalid-input")
    assert [each["field"] for each in answer.json()["errors"]] == ["body.webhook"]
    assert "abcdef" not in answer.text


def test_without_hosts_in_the_settings_no_receiver_is_accepted(settings: AppSettings) -> None:
    with local_client(create_app(settings)) as client:
        answer = client.post("/train", json={"webhook": URL})
    assert answer.status_code == 403
    sentence = "This service sends no webhooks, because its operator allows no receiver"
    assert answer.json()["detail"].startswith(sentence)
    assert "abcdef" not in answer.text
