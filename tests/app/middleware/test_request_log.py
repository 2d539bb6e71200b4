"""The log of a real `acgan serve` and a real `acgan worker`: callers and their actions, and never a secret."""

import contextlib
import hashlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest
from starlette.testclient import TestClient

from app.security.api_keys import Role, make_key
from app.server.log_rotation import rotate
from tests.conftest import RunningRedis
from tests.support.ports import free_port
from tests.support.serving import until

CANARY = "canary-5e1f"


class Process:
    def __init__(self, folder: Path, *words: str, **environment: str) -> None:
        self.log = folder / f"{words[0]}.log"
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "app.cli", *words],
                env={**os.environ, **{f"ACGAN_{name}": value for name, value in environment.items()}},
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    @property
    def text(self) -> str:
        return self.log.read_text()

    def lines(self, **fields: Any) -> list[dict[str, Any]]:
        result = [json.loads(line) for line in self.text.splitlines()]
        return [line for line in result if fields.items() <= line.items()]


@contextmanager
def running(folder: Path, *words: str, **environment: str) -> Iterator[Process]:
    process = Process(folder, *words, **environment)
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.process.pid, signal.SIGKILL)  # its children are in its process group
        process.process.wait()


@contextmanager
def serving(folder: Path, **environment: str) -> Iterator[tuple[Process, httpx2.Client]]:
    port = free_port()
    with (
        running(folder, "serve", "--port", str(port), **environment) as process,
        httpx2.Client(base_url=f"http://127.0.0.1:{port}", timeout=10) as client,
    ):

        def answers() -> bool:
            try:
                return client.get("/livez").status_code == 200
            except httpx2.TransportError:
                return False

        until("the API answers", answers)
        yield process, client


def test_changes_and_errors_are_logged_and_reads_are_not(redis_url: str, tmp_path: Path) -> None:
    with serving(tmp_path, REDIS_URL=redis_url) as (process, client):
        made = client.post("/train", headers={"X-Request-ID": "the-first"})
        cancelled = client.post(f"/jobs/{made.json()['id']}/cancel")
        client.get("/jobs")
        missing = client.get("/jobs/20260101-000000-abcdef?api_key=secret")
        until("the line is logged", lambda: bool(process.lines(status=404)))
    result = [line for line in process.lines() if line["logger"] == "app.requests"]
    assert [(line["method"], line["route"], line["status"], line["level"]) for line in result] == [
        ("POST", "/train", 202, "info"),
        ("POST", "/jobs/{job_id}/cancel", 202, "info"),
        ("GET", "/jobs/{job_id}", 404, "warning"),
    ]
    assert made.headers["X-Request-ID"] == "the-first"
    ids = [answer.headers["X-Request-ID"] for answer in (made, cancelled, missing)]
    assert [line["request_id"] for line in result] == ids
    assert len(set(ids)) == 3
    assert [line["job"] for line in result] == [made.json()["id"], made.json()["id"], "20260101-000000-abcdef"]
    assert all(0 < line["milliseconds"] < 5000 for line in result)


def test_the_text_format_logs_reads_only_at_debug(redis_url: str, tmp_path: Path) -> None:
    with serving(tmp_path, REDIS_URL=redis_url, LOG_FORMAT="text", LOG_LEVEL="debug") as (process, client):
        client.post("/train", headers={"X-Request-ID": "mine"})
        until("reads are logged", lambda: "GET /livez 200" in process.text)
        until("changes are logged", lambda: "POST /train 202" in process.text)
    fields = r"\[job=\d{8}-\S+ milliseconds=\S+ request_id=mine\]"
    wanted = rf"^[\d-]{{10}} [\d:]{{8}} INFO app\.requests: POST /train 202  {fields}$"
    assert re.search(wanted, process.text, re.MULTILINE), process.text
    assert "acgan listens at http://127.0.0.1:" in process.text


@pytest.mark.parametrize("sent", ["a b", "x" * 129, "", "\u00e9", "line\tbreak"])
def test_an_unsafe_request_id_is_replaced(client: TestClient, sent: str) -> None:
    result = client.get("/livez", headers=[(b"x-request-id", sent.encode())]).headers["X-Request-ID"]
    assert re.fullmatch(r"[0-9a-f]{16}", result)


def test_a_safe_request_id_is_kept(client: TestClient) -> None:
    for sent in ("x" * 128, "a-b_c:d/{}'\""):
        assert client.get("/nowhere", headers={"X-Request-ID": sent}).headers["X-Request-ID"] == sent


def ask_with_secrets(client: httpx2.Client) -> None:
    headers = {"Authorization": f"Bearer {CANARY}", "X-API-Key": CANARY, "Cookie": f"session={CANARY}"}
    for method, address in (
        ("GET", "/livez"),
        ("GET", f"/jobs?api_key={CANARY}"),
        ("POST", "/train"),
        ("GET", "/metrics"),
        ("GET", "/readyz"),
        ("GET", f"/nowhere?token={CANARY}"),
        ("POST", "/jobs/20260101-000000-abcdef/cancel"),
    ):
        client.request(method, address, headers=headers)


@pytest.mark.parametrize("log_format", ["json", "text"])
def test_no_secret_is_logged_at_debug_with_redis_and_without(
    mortal_redis: RunningRedis, tmp_path: Path, log_format: str
) -> None:
    password = mortal_redis.url.partition("://:")[2].partition("@")[0]
    fields = {
        "REDIS_URL": mortal_redis.url,
        "LOG_LEVEL": "debug",
        "LOG_FORMAT": log_format,
        "RECONCILE_SECONDS": "0.3",
    }
    (tmp_path / "w").mkdir()
    with serving(tmp_path, **fields) as (api, client), running(tmp_path / "w", "worker", **fields) as worker:
        until("the worker is ready", lambda: " ready." in worker.text, 60)
        ask_with_secrets(client)
        until("the job is taken", lambda: "worker.runner" in worker.text, 60)
        mortal_redis.kill()
        ask_with_secrets(client)
        until(
            "the API logs the outage", lambda: "Connect call failed" in api.text or "Connection refused" in api.text, 60
        )
        until("the worker logs the outage", lambda: "Redis does not answer" in worker.text, 60)
    assert "redis://***@" in worker.text  # it names the address, and our mask is at work
    for process in (api, worker):
        assert len(process.text.splitlines()) > 10
        assert process.text.count(password) == 0
        assert process.text.count(CANARY) == 0


def test_a_wrong_password_is_not_logged_either(mortal_redis: RunningRedis, tmp_path: Path) -> None:
    host = mortal_redis.url.rpartition("@")[2]
    message = {"REDIS_URL": f"redis://:{CANARY}@{host}", "LOG_LEVEL": "debug"}
    with running(tmp_path, "worker", **message) as worker:
        until("the worker logs the error", lambda: "invalid" in worker.text.lower(), 60)
    assert CANARY not in worker.text


def test_a_refusal_is_one_line_with_peer_path_and_key(redis_url: str, tmp_path: Path) -> None:
    key, entry = make_key("rita", Role.READ)
    digest = hashlib.sha256(CANARY.encode()).hexdigest()
    with serving(tmp_path, REDIS_URL=redis_url, API_KEYS=str(entry)) as (process, client):
        client.get("/jobs?token=secret", headers={"X-API-Key": CANARY})
        client.post("/train", headers={"Authorization": f"Bearer {key}"})
        client.post("/train", headers={"Sec-Fetch-Site": "cross-site"})
        client.get("/a%0aforged%1b[31mline")
        client.get("/etc/passwd")  # a field after a word for a secret is still logged
        with socket.create_connection((client.base_url.host, client.base_url.port)) as stranger:
            stranger.sendall(b"GET /no/host?token=secret HTTP/1.1\r\n\r\n")
            stranger.recv(65536)
        until("the lines are logged", lambda: len(process.lines(logger="app.requests")) == 6)
    refusals = process.lines(logger="app.requests")
    assert [(line["status"], line["path"], line.get("key_digest")) for line in refusals] == [
        (401, "/jobs", digest[:8]),
        (403, "/train", entry.digest.decode()[:8]),
        (403, "/train", None),
        (401, "/a\\nforged\\x1b[31mline", None),
        (401, "/etc/passwd", None),
        (400, "/no/host", None),
    ]
    assert {line["peer"] for line in refusals} == {"127.0.0.1"}
    assert [word for word in (CANARY, key, digest, "secret") if word in process.text] == []


def test_log_files_are_limited_in_size(tmp_path: Path) -> None:
    log = tmp_path / "worker.log"
    with log.open("ab") as writer:  # which stays open, as that of a part of `acgan up`
        for number in range(6):
            writer.write(b"%d" % number * 100)
            writer.flush()
            rotate(log, limit=99)
            assert log.stat().st_size == 0
        writer.write(b"new")
    rotate(log, limit=99)
    assert log.read_bytes() == b"new"
    older = {path.name: path.read_bytes() for path in tmp_path.glob("worker.log.*")}
    assert older == {f"worker.log.{age}": b"%d" % (6 - age) * 100 for age in (1, 2, 3)}
