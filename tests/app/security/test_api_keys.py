"""Keys: the permissions to change and to read, and the response to a caller without them."""

import hmac
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx2
import pytest
from pydantic import SecretStr, ValidationError
from starlette.testclient import TestClient

from app.main import create_app
from app.security.api_keys import Keyring, Role, make_key
from app.server.supervisor import listens
from app.settings import AppSettings
from models.registry.store import CheckpointStore
from tests.app.cli.test_cli import acgan, settings_errors
from tests.support.api_clients import local_client
from tests.support.ports import free_port
from tests.support.raw_http import send_raw
from tests.support.serving import until

ANA, ANAS_ENTRY = make_key("ana", Role.ADMIN)
BEN, BENS_ENTRY = make_key("ben", Role.ADMIN)
JOB = "/jobs/20200101-000000-aaaaaa"
VERBS = ("cancel", "resume", "retry", "front")
CHANGES = [("POST", "/train"), *(("POST", f"{JOB}/{verb}") for verb in VERBS)]
OTHER_CHANGES = [("PUT", "/serving"), ("DELETE", "/train"), ("PATCH", JOB)]
EXPLORED = ["/digits/7/neighbours", "/digits/7/traversal"]
READS = ["/digits/7", *EXPLORED, "/jobs", "/checkpoints", "/docs", "/openapi.json", "/metrics", "/nowhere"]
PROBES = ["/livez", "/readyz"]
MALFORMED = [  # names that are the same in every run, which keys are not
    "a key",
    "a name and a key",
    "an entry and a key",
    "an equals sign",
    "a space in a name",
    "a digest cut short",
    "no name",
    "a digest alone",
    "commas alone",
]


@contextmanager
def asking(redis_url: str, **settings: Any) -> Iterator[TestClient]:
    made = AppSettings(redis_url=redis_url, **settings)
    with local_client(create_app(made), raise_server_exceptions=False) as client:
        yield client


@pytest.fixture
def guarded(redis_url: str, store: CheckpointStore) -> Iterator[TestClient]:
    with asking(redis_url, api_keys=SecretStr(f"{ANAS_ENTRY}, {BENS_ENTRY}"), read_needs_key=False) as client:
        yield client


@pytest.mark.parametrize(
    ("headers", "message"),
    [
        ({}, "This needs a key"),
        ({"Authorization": f"Bearer {ANA}x"}, "This key is unknown"),
        ({"Authorization": "Bearer "}, "This needs a key"),
        ({"Authorization": f"Basic {ANA}"}, "This needs a key"),
        ({"Authorization": ANAS_ENTRY.digest.decode()}, "This needs a key"),
        ({"Authorization": f"Bearer {ANAS_ENTRY.digest.decode()}"}, "This key is unknown"),
        ({"X-API-Key": "wrong"}, "This key is unknown"),
        ({"X-API-Key": "\xff"}, "This key is unknown"),
    ],
)
def test_nothing_changes_without_a_key(guarded: TestClient, headers: dict[str, str], message: str) -> None:
    raw = [(name.encode(), value.encode("latin-1")) for name, value in headers.items()]
    for method, path in CHANGES + OTHER_CHANGES:
        answer = guarded.request(method, path, headers=raw)
        assert answer.status_code == 401
        assert answer.headers["WWW-Authenticate"] == "Bearer"
        assert answer.headers["content-type"] == "application/problem+json"
        assert message in answer.json()["detail"]
        assert "Authorization: Bearer" in answer.json()["detail"]
    assert guarded.get("/jobs").json()["jobs"] == []


@pytest.mark.parametrize(
    "headers",
    [
        {"Authorization": f"Bearer {ANA}"},
        {"Authorization": f"bearer  {BEN}"},
        {"X-API-Key": ANA},
        {"X-API-Key": BEN, "Authorization": "Basic dXNlcjpwYXNz"},
    ],
)
def test_every_key_is_accepted_in_either_header(guarded: TestClient, headers: dict[str, str]) -> None:
    job = guarded.post("/train", headers=headers).json()["links"]["self"]
    assert guarded.post(f"{job}/cancel", headers=headers).json()["status"] == "cancelled"
    assert guarded.put("/nowhere", headers=headers).status_code == 404


def test_reading_can_be_open_and_a_wrong_key_is_then_ignored(guarded: TestClient) -> None:
    for path in ("/jobs", "/digits/7", "/checkpoints", *PROBES):
        assert guarded.get(path).status_code == 200
        assert guarded.head(path, headers={"X-API-Key": "wrong"}).status_code == 200


@pytest.mark.parametrize("read_needs_key", [None, True])
def test_with_keys_reading_needs_one_and_probes_do_not(
    redis_url: str, store: CheckpointStore, read_needs_key: bool | None
) -> None:
    with asking(redis_url, api_keys=SecretStr(str(ANAS_ENTRY)), read_needs_key=read_needs_key) as client:
        for path in READS:
            for method in ("GET", "HEAD", "OPTIONS"):
                assert client.request(method, path).status_code == 401
        for path in PROBES:
            assert client.get(path).status_code == 200
            assert client.head(path).status_code == 200
            assert client.post(path).status_code == 401
        assert client.get("/digits/7", headers={"X-API-Key": ANA}).status_code == 200
        assert client.get("/").status_code == client.get("/page/main.js").status_code == 200  # which prompt for the key


def test_without_any_keys_everything_is_open(client: TestClient) -> None:
    assert client.post("/train").status_code == 202
    assert client.post("/train", headers={"Authorization": "Bearer anything"}).status_code == 202


def test_a_key_is_always_compared_with_every_entry(monkeypatch: pytest.MonkeyPatch) -> None:
    compared = []

    def compare(ours: bytes, theirs: bytes) -> bool:
        compared.append(ours)
        return hmac.compare_digest(ours, theirs)

    ring = Keyring((ANAS_ENTRY, BENS_ENTRY))
    monkeypatch.setattr("app.security.api_keys.hmac", SimpleNamespace(compare_digest=compare))
    assert ring.entry_of(ANA.encode()) == ANAS_ENTRY
    assert compared == [ANAS_ENTRY.digest, BENS_ENTRY.digest]


@pytest.mark.parametrize(
    "text",
    [
        ANA,
        f"ana:{ANA}",
        f"{ANAS_ENTRY} {ANA}",
        f"ana={ANAS_ENTRY.digest.decode()}",
        f"a b:{ANAS_ENTRY.digest.decode()}",
        f"ana:{ANAS_ENTRY.digest.decode()[1:]}",
        f":{ANAS_ENTRY.digest.decode()}",
        ANAS_ENTRY.digest.decode(),
        " , ",
    ],
    ids=MALFORMED,
)
def test_malformed_keys_are_refused_at_start_in_a_sentence_that_shows_none(
    text: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("ACGAN_API_KEYS", text)
    result = settings_errors(capsys)
    assert "api_keys (ACGAN_API_KEYS) should" in result
    assert "acgan key NAME" in result
    assert ANA not in result
    with pytest.raises(ValidationError) as refused:
        AppSettings()
    assert ANA not in str(refused.value)


def test_reading_cannot_require_keys_if_none_exist(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("ACGAN_READ_NEEDS_KEY", "true")
    assert "ACGAN_READ_NEEDS_KEY requires ACGAN_API_KEYS" in settings_errors(capsys)


def test_settings_do_not_show_their_keys() -> None:
    settings = AppSettings(api_keys=SecretStr(str(ANAS_ENTRY)))
    assert ANAS_ENTRY.digest.decode() not in repr(settings) + settings.model_dump_json()


def test_the_command_line_creates_keys() -> None:
    made = json.loads(acgan("key", "carol", "--json").stdout)
    assert made["name"] == "carol"
    assert len(made["key"]) >= 43
    entry = Keyring.parse(f"{ANAS_ENTRY} {made['entry']}").entry_of(made["key"].encode())
    assert entry is not None
    assert (entry.name, entry.role, made["role"]) == ("carol", "train", "train")
    result = acgan("key", "carol", "--role", "admin").stdout
    assert made["key"] not in result
    key, written = [line.strip() for line in result.splitlines() if line.startswith("    ")]
    entry = Keyring.parse(written).entry_of(key.encode())
    assert entry is not None
    assert (entry.name, entry.role) == ("carol", "admin")
    assert acgan("key", "carol", "--role", "king").returncode == 2
    assert "carol" not in key
    refused = acgan("key", "carol and ted")
    assert refused.returncode == 2
    assert "letters, digits" in refused.stderr


def test_openapi_says_which_calls_need_a_key(redis_url: str) -> None:
    public = ["get /livez", "get /readyz", "get /problems/{code}"]  # all others accept a key

    def described(**settings: Any) -> dict[str, Any]:
        with asking(redis_url, **settings) as client:
            document: dict[str, Any] = client.get("/openapi.json", headers={"X-API-Key": ANA}).json()
        assert document["components"]["securitySchemes"]["bearer"]["scheme"] == "bearer"
        assert document["components"]["securitySchemes"]["key"]["name"] == "X-API-Key"
        found = {
            f"{method} {path}": called
            for path, methods in document["paths"].items()
            for method, called in methods.items()
        }
        assert [call for call, called in found.items() if not called["security"]] == public
        return {call: called["security"] for call, called in found.items() if "401" in called["responses"]}

    changes = {"post /train", *(f"post /jobs/{{job_id}}/{verb}" for verb in VERBS), "put /serving"}
    changes |= {
        "post /datasets",
        "post /checkpoints",
        "post /evaluations",
        "patch /jobs/{job_id}",
        "delete /datasets/{job_id}",
        "delete /jobs/{job_id}",
        "delete /checkpoints/{checkpoint}",
        "put /training-data/{name}",
        "delete /training-data/{name}",
    }
    needed: list[dict[str, list[str]]] = [{"bearer": []}, {"key": []}]
    assert described() == {call: [{}, *needed] for call in changes}
    entry = SecretStr(str(ANAS_ENTRY))
    assert described(api_keys=entry, read_needs_key=False) == dict.fromkeys(changes, needed)
    reading = described(api_keys=entry)
    assert set(reading) > changes
    assert "get /digits/{label}" in reading
    assert "get /livez" not in reading


CRASHING = """
import app.inference.model_manager
from app.cli import main

async def find(self, checkpoint):
    raise RuntimeError(f"crashed while {self.store} was asked")

app.inference.model_manager.ModelManager.find = find
main()
"""


@pytest.mark.parametrize("log_format", ["json", "text"])
def test_no_key_is_logged_at_debug_even_if_requests_crash(redis_url: str, tmp_path: Path, log_format: str) -> None:
    unknown, port = "canary-unknown-key", free_port()
    environment = {
        "ACGAN_API_KEYS": f"{ANAS_ENTRY} {BENS_ENTRY}",
        "ACGAN_READ_RATE": "10/minute",
        "ACGAN_REDIS_URL": redis_url,
        "ACGAN_LOG_LEVEL": "debug",
        "ACGAN_LOG_FORMAT": log_format,
    }
    log = tmp_path / "log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-c", CRASHING, "serve", "--port", str(port)],
            env={**os.environ, **environment},
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    try:
        until("it listens", lambda: listens("127.0.0.1", port), 60)
        with httpx2.Client(base_url=f"http://127.0.0.1:{port}", timeout=20) as client:
            seen = set()
            for key in (ANA, BEN, unknown):
                for header in ({"Authorization": f"Bearer {key}"}, {"X-API-Key": key}, {"X-Other": key, "Cookie": key}):
                    for method, path in (("GET", "/digits/7"), ("POST", "/train"), ("GET", f"/jobs?key={key}")):
                        seen.add(client.request(method, path, headers=header).status_code)
                send_raw(str(client.base_url), b"GET /jobs HTTP/1.1\r\nX-API-Key: %s\x00\r\n\r\n" % key.encode())
                for _ in range(10):
                    seen.add(client.get("/livez", headers={"X-API-Key": key}).status_code)
                    seen.add(client.get("/jobs", headers={"X-API-Key": key}).status_code)
    finally:
        process.terminate()
        process.wait()
    assert seen == {200, 202, 401, 422, 429, 500}
    result = log.read_text()
    assert "crashed while" in result
    assert "Traceback" in result
    assert "ana" in result  # the name of its owner is
    secrets = [ANA, BEN, unknown, *(entry.digest.decode() for entry in (ANAS_ENTRY, BENS_ENTRY))]
    assert [secret for secret in secrets if secret in result] == []
