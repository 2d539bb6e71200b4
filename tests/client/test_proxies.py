"""Proxies and certificates of the environment, with every kind of client."""

import asyncio
import inspect
import os
import subprocess
import sys
from pathlib import Path

import pytest

from acgan_client import AsyncClient, Client, ClientError, Misconfigured, Unavailable, Unreachable, connection
from models import proxies
from tests.support.hostile_server import as_json, hostile, http, problem

DEAD = "127.0.0.1:9"
ELSEWHERE = "http://service.invalid:8000"
NO_JOBS = as_json({"jobs": [], "next": None})


@pytest.fixture(autouse=True)
def no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.lower().endswith("_proxy")]:
        monkeypatch.delenv(name)


def jobs(url: str) -> None:
    with Client(url) as client:
        client.jobs()


def jobs_async(url: str) -> None:
    async def ask() -> None:
        async with AsyncClient(url) as client:
            await client.jobs()

    asyncio.run(ask())


def acgan(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "app.cli", *words], capture_output=True, text=True, check=False)


VALUES = [f"http://{DEAD}", f"socks5://{DEAD}", "socks9://x", "nonsense", "http://[", "http://x:y", "\x1b[31m", "://"]


@pytest.mark.parametrize("value", VALUES)
def test_this_machine_is_reached_without_a_proxy(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"):
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("SSL_CERT_FILE", "/none.pem")
    with hostile({"/jobs": NO_JOBS}) as server:
        for url in (server.url, server.url.replace("127.0.0.1", "localhost")):
            jobs(url)
            jobs_async(url)
        result = acgan("jobs", "--url", server.url)
    assert (result.returncode, result.stderr) == (0, "")


@pytest.mark.parametrize(
    ("name", "value", "kind"),
    [
        ("http_proxy", f"http://ana:secret@{DEAD}", Unreachable),
        ("ALL_PROXY", f"http://{DEAD}", Unreachable),
        ("ALL_PROXY", f"socks5://ana:secret@{DEAD}", Misconfigured),
        ("all_proxy", "socks9://ana:secret@x:1", Misconfigured),
        ("http_proxy", "http://ana:secret@[", Misconfigured),
        ("http_proxy", "http://x:99999", Misconfigured),
        ("HTTP_PROXY", "a b", Misconfigured),
        ("HTTP_PROXY", "\x1b[31m", Misconfigured),
    ],
)
def test_a_proxy_that_cannot_be_used_is_named(
    name: str, value: str, kind: type[ClientError], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, value)
    for way in (jobs, jobs_async):
        with pytest.raises(kind, match=f"{name}=") as error:
            way(ELSEWHERE)
        assert "start a service" not in str(error.value)
        assert "secret" not in str(error.value)
        assert str(error.value).isprintable()


@pytest.mark.parametrize(
    ("variables", "code"),
    [
        ({"http_proxy": f"http://ana:secret@{DEAD}"}, 4),
        ({"ALL_PROXY": f"socks5://{DEAD}"}, 2),
        ({"http_proxy": "http://["}, 2),
        ({"SSL_CERT_FILE": "/none.pem"}, 2),
    ],
    ids=str,
)
def test_a_command_reports_it_in_a_sentence(
    variables: dict[str, str], code: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    result = acgan("jobs", "--url", ELSEWHERE.replace("http:", "https:") if "SSL_CERT_FILE" in variables else ELSEWHERE)
    assert result.returncode == code
    assert result.stderr.count("\n") == 1
    assert f"{next(iter(variables))}=" in result.stderr
    assert "secret" not in result.stderr
    assert "start a service" not in result.stderr


def test_the_response_of_a_proxy_is_not_taken_for_the_services(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = {f"{ELSEWHERE}/jobs": http(b"<h1>no</h1>", "503 No", "text/html")}
    with hostile(answers) as proxy:
        monkeypatch.setenv("http_proxy", proxy.url)
        with pytest.raises(Unavailable, match=r"http_proxy=.* answers 503, but not like an acgan service"):
            jobs(ELSEWHERE)
    with hostile({"service.invalid:8000": problem(403, "no")}) as proxy:
        monkeypatch.setenv("https_proxy", proxy.url)
        with pytest.raises(Unreachable, match=f"https_proxy={proxy.url} does not connect to service.invalid"):
            jobs(ELSEWHERE.replace("http:", "https:"))


def test_a_proxy_that_works_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    with hostile({f"{ELSEWHERE}/jobs": NO_JOBS}) as proxy:
        monkeypatch.setenv("http_proxy", proxy.url)
        jobs(ELSEWHERE)
        jobs_async(ELSEWHERE)
        monkeypatch.setenv("no_proxy", "service.invalid")
        with pytest.raises(Unreachable, match="nothing answers"):
            jobs(ELSEWHERE)
    assert len(proxy.requests) == 2


def test_invalid_certificates_are_reported_in_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "empty.pem").write_text("nothing")
    for value in (tmp_path / "empty.pem", tmp_path, tmp_path / "none.pem"):
        monkeypatch.setenv("SSL_CERT_FILE", str(value))
        for way in (jobs, jobs_async):
            with pytest.raises(Misconfigured, match="SSL_CERT_FILE"):
                way("https://service.invalid")


def test_a_service_without_tls_is_not_reported_as_missing() -> None:
    with hostile({"/jobs": NO_JOBS}) as server, pytest.raises(Unreachable, match="TLS") as error:
        jobs(server.url.replace("http:", "https:"))
    assert "start a service" not in str(error.value)


def test_an_address_shows_no_credentials() -> None:
    for way in (jobs, jobs_async):
        with pytest.raises(ClientError) as error:
            way(f"http://ana:secret@{DEAD}")
        assert "secret" not in str(error.value)


SHARED = ["Proxy", "without_credentials", "is_this_machine", "_is_short_loopback", "proxy_for", "_named", "_is_exempt"]


@pytest.mark.parametrize("name", [*SHARED, "_is_in_network", "missing_certificates"])
def test_the_rules_for_proxies_are_those_of_the_service(name: str) -> None:
    assert inspect.getsource(getattr(connection, name)) == inspect.getsource(getattr(proxies, name))
