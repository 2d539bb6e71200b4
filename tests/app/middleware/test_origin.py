"""Host names that are answered, and web pages that may change something: on a real server, over raw sockets."""

import asyncio
from collections.abc import Iterator
from typing import Any

import httpx2
import pytest
from pydantic import SecretStr

from app.middleware.forwarded_headers import FORWARDED_HOST, ForwardedHeaders
from app.middleware.origin import OriginCheck
from app.security.api_keys import make_key
from app.security.host_names import AllowedHosts, read_names
from app.security.trusted_proxies import Proxies
from app.settings import AppSettings
from models.host_names import Host, read_host
from models.registry.store import CheckpointStore
from tests.app.cli.test_cli import settings_errors
from tests.support.raw_http import send_raw
from tests.support.serving import serving

KEY, ENTRY = make_key("ana")
CHANGES = [
    ("POST", "/train"),
    ("POST", "/datasets"),
    ("POST", "/jobs/20200101-000000-aaaaaa/cancel"),
    ("PUT", "/serving"),
    ("DELETE", "/datasets/20200101-000000-aaaaaa"),
]
FOREIGN = [
    {"Sec-Fetch-Site": "cross-site"},
    {"Sec-Fetch-Site": "same-site"},
    {"Sec-Fetch-Site": "cross-site", "Origin": "http://localhost"},
    {"Sec-Fetch-Site": "something-new"},
    {"Sec-Fetch-Site": "cross-site", "Content-Type": "text/plain", "Origin": "https://evil.example"},
    {"Origin": "https://evil.example"},
    {"Origin": "null"},
    {"Origin": "null", "Sec-Fetch-Site": "same-origin"},
    {"Origin": "NULL", "Sec-Fetch-Site": "none"},
    {"Origin": ""},
    {"Origin": "http://localhost:8001", "Host": "localhost:8000"},
    {"Origin": "http://localhost", "Host": "localhost:8000"},
    {"Origin": "http://127.0.0.1:8000", "Host": "localhost:8000"},
    {"Origin": "http://localhost.evil.example:8000", "Host": "localhost:8000"},
    {"Origin": "http://localhost:8000@evil.example", "Host": "localhost:8000"},
    {"Origin": "http://localhost:8000/x", "Host": "localhost:8000"},
    {"Origin": "file://localhost:8000", "Host": "localhost:8000"},
    {"Origin": "http://[::1", "Host": "[::1]:8000"},
    {"Origin": "https://evil.example", "X-Forwarded-Host": "evil.example"},  # no proxy is configured
]
OWN = [
    {},
    {"Sec-Fetch-Site": "same-origin", "Origin": "http://localhost:8000", "Host": "localhost:8000"},
    {"Sec-Fetch-Site": "none"},
    {"Origin": "http://localhost:8000", "Host": "localhost:8000"},
    {"Origin": "http://LOCALHOST:8000", "Host": "localhost:8000"},
    {"Origin": "http://localhost", "Host": "localhost:80"},
    {"Origin": "https://localhost", "Host": "localhost"},
    {"Origin": "http://[::1]:8000", "Host": "[0:0::1]:8000"},
    {"Origin": "http://192.0.2.7:8000", "Host": "192.0.2.7:8000"},
]
OURS = ["localhost", "LOCALHOST:8000", "localhost.", "a.b.localhost:8000", "127.0.0.1", "192.0.2.7:8000", "[::1]:8000"]
THEIRS = ["rebind.test:8000", "rebind.test", "localhost.rebind.test", "mylocalhost", "127.0.0.1.rebind.test", "127.1"]
NO_HOSTS = ["", "a b", "a:b", "a/b", "user@localhost", "[::1", "::1", "localhost:99999", "localhost,rebind.test"]


@pytest.fixture(scope="module")
def open_address(tmp_path_factory: pytest.TempPathFactory, shared_redis: Any) -> Iterator[str]:
    """A service without keys, as `acgan serve` starts it."""
    home = tmp_path_factory.mktemp("open")
    with serving(AppSettings(redis_url=shared_redis.url, home=home, work_rate="off")) as made:
        yield made


def ask(address: str, method: str, path: str, headers: dict[str, str]) -> int:
    """Send a request with exactly these headers and a `Host`. Returns its status."""
    lines = {"Host": "localhost", **headers, "Connection": "close", "Content-Length": "0"}
    head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
    (status,) = send_raw(address, f"{method} {path} HTTP/1.1\r\n{head}\r\n".encode()).statuses
    return status


def jobs(address: str) -> int:
    return len(httpx2.get(f"{address}/jobs").json()["jobs"])


@pytest.mark.parametrize("headers", FOREIGN, ids=str)
def test_a_page_of_another_origin_changes_nothing(open_address: str, headers: dict[str, str]) -> None:
    before = jobs(open_address)
    assert {ask(open_address, method, path, headers) for method, path in CHANGES} == {403}
    assert jobs(open_address) == before
    assert ask(open_address, "GET", "/jobs", headers) == 200  # which the browser does not show to that page


@pytest.mark.parametrize("headers", OWN, ids=str)
def test_the_services_own_page_and_programs_may_change_something(open_address: str, headers: dict[str, str]) -> None:
    assert ask(open_address, "POST", "/train", headers) == 202


def test_the_refusal_is_a_problem_with_a_sentence(open_address: str) -> None:
    answer = httpx2.post(f"{open_address}/train", headers={"Sec-Fetch-Site": "cross-site"})
    assert answer.headers["content-type"] == "application/problem+json"
    assert "another origin" in answer.json()["detail"]
    assert answer.headers["x-request-id"]
    refused = httpx2.get(f"{open_address}/jobs", headers={"Host": "rebind.test:8000"})
    assert refused.status_code == 421
    assert "ACGAN_ALLOWED_HOSTS" in refused.json()["detail"]


@pytest.mark.parametrize("host", OURS)
def test_ip_addresses_and_localhost_are_accepted(open_address: str, host: str) -> None:
    assert ask(open_address, "GET", "/jobs", {"Host": host}) == 200


@pytest.mark.parametrize("host", THEIRS)
def test_another_host_name_is_refused_except_for_probes(open_address: str, host: str) -> None:
    headers = {"Host": host, "Origin": f"http://{host}", "Sec-Fetch-Site": "same-origin"}
    for method, path in [("GET", "/jobs"), ("GET", "/"), ("GET", "/digits/7"), ("GET", "/nowhere/"), *CHANGES]:
        assert ask(open_address, method, path, headers) == 421
    assert ask(open_address, "GET", "/livez", headers) == 200
    assert ask(open_address, "GET", "/readyz", headers) == 200


@pytest.mark.parametrize("host", NO_HOSTS)
def test_an_invalid_host_is_refused(open_address: str, host: str) -> None:
    assert ask(open_address, "GET", "/livez", {"Host": host}) == 400


@pytest.mark.parametrize(
    "sent",
    [
        b"GET /jobs HTTP/1.1\r\n\r\n",
        b"GET /livez HTTP/1.0\r\n\r\n",
        b"GET /jobs HTTP/1.1\r\nHost: localhost\r\nHost: rebind.test\r\n\r\n",
        b"GET /jobs HTTP/1.1\r\nHost: localhost\r\nHost: localhost\r\n\r\n",
        b"GET /jobs\r\n\r\n",
        b"GET /jobs\r\nHost: localhost\r\n\r\n",
        b"GET /jobs HTTP/0.9\r\nHost: localhost\r\n\r\n",
        b"GET http://rebind.test/jobs HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET http://localhost@rebind.test/jobs HTTP/1.1\r\nHost: localhost\r\n\r\n",
    ],
)
def test_a_request_names_one_host_once(open_address: str, sent: bytes) -> None:
    answered = send_raw(open_address, sent + b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n")
    assert answered.closed
    assert answered.statuses == [400]


def test_a_full_url_in_the_request_line_is_answered(open_address: str) -> None:
    sent = b"GET http://localhost:80/livez HTTP/1.1\r\nHost: localhost:80\r\nConnection: close\r\n\r\n"
    assert send_raw(open_address, sent).statuses == [200]


@pytest.mark.parametrize(
    ("path", "location"),
    [
        ("/jobs/", "/jobs"),
        ("/jobs///?limit=5", "/jobs?limit=5"),
        ("/digits/7/", "/digits/7"),
        ("/nowhere/", None),
        ("//evil.example/", None),
        ("/page/none.js/", "/page/none.js"),
    ],
)
def test_redirects_are_relative(open_address: str, path: str, location: str | None) -> None:
    answer = httpx2.get(f"{open_address}{path}", headers={"Host": "localhost"})
    assert answer.headers.get("location") == location
    assert answer.status_code == (307 if location else 404)


@pytest.mark.parametrize("keys", [None, SecretStr(str(ENTRY))], ids=["without keys", "with keys"])
def test_host_names_can_be_added_by_a_setting(redis_url: str, store: CheckpointStore, keys: SecretStr | None) -> None:
    names = "digits.example.com, *.EXAMPLE.net"
    with serving(AppSettings(redis_url=redis_url, api_keys=keys, allowed_hosts=names)) as address:
        for host in ("digits.example.com:8000", "Digits.Example.Com", "a.b.example.net", *OURS):
            assert ask(address, "GET", "/jobs", {"Host": host, "X-API-Key": KEY}) == 200
        for host in ("example.com", "a.digits.example.com", "example.net", "evilexample.net", *THEIRS):
            assert ask(address, "GET", "/jobs", {"Host": host, "X-API-Key": KEY}) == 421


def test_with_keys_every_host_name_is_answered_until_some_are_set(redis_url: str, store: CheckpointStore) -> None:
    with serving(AppSettings(redis_url=redis_url, api_keys=SecretStr(str(ENTRY)))) as address:
        headers = {"Host": "digits.example.com", "X-API-Key": KEY}
        assert ask(address, "GET", "/jobs", headers) == 200
        assert ask(address, "POST", "/train", headers) == 202
        assert ask(address, "POST", "/train", headers | {"Origin": "https://digits.example.com"}) == 202
        assert ask(address, "POST", "/train", headers | {"Origin": "https://evil.example"}) == 403
        assert ask(address, "GET", "/jobs", {"Host": "a b", "X-API-Key": KEY}) == 400


def test_the_host_forwarded_by_a_configured_proxy_counts(redis_url: str, store: CheckpointStore) -> None:
    settings: dict[str, Any] = {"allowed_hosts": "digits.example.com api", "forwarded_allow_ips": "127.0.0.1"}
    with serving(AppSettings(redis_url=redis_url, **settings)) as address:
        proxied = {"Host": "api:8000", "X-Forwarded-Host": "digits.example.com"}
        assert ask(address, "POST", "/train", proxied | {"Origin": "https://digits.example.com"}) == 202
        assert ask(address, "POST", "/train", proxied | {"Origin": "https://evil.example"}) == 403
        assert ask(address, "GET", "/jobs", proxied | {"X-Forwarded-Host": "rebind.test"}) == 421
        rebound = {"Host": "rebind.test", "X-Forwarded-Host": "localhost"}  # a rebound page can send any other header
        assert ask(address, "GET", "/jobs", rebound) == 421


async def passed(origin_check: OriginCheck, headers: dict[bytes, bytes]) -> bool:
    scope = {"type": "http", "method": "POST", "path": "/train", "headers": [(b"host", b"localhost"), *headers.items()]}
    return not origin_check.is_foreign(scope["headers"], [Host("localhost", None, False)])  # type: ignore[arg-type]


@pytest.mark.parametrize("site", [{}, {b"sec-fetch-site": b"cross-site"}])
def test_configured_origins_pass_and_null_never_does(site: dict[bytes, bytes]) -> None:
    async def nothing(*_: Any) -> None:
        return None

    check = OriginCheck(nothing, AllowedHosts([]), ["https://notebook.example", "null"])
    assert asyncio.run(passed(check, {b"origin": b"https://notebook.example", **site}))
    assert not asyncio.run(passed(check, {b"origin": b"https://evil.example", **site}))
    assert not asyncio.run(passed(check, {b"origin": b"null", **site}))


@pytest.mark.parametrize("text", ["a b/c", "http://a", "a:80", "127.0.0.1", "*", "a *. b", "-"])
def test_invalid_host_names_are_refused_at_start(
    text: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("ACGAN_ALLOWED_HOSTS", text)
    assert "ACGAN_ALLOWED_HOSTS) should be host names without ports" in settings_errors(capsys)


def test_invalid_proxies_are_refused_at_start(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("FORWARDED_ALLOW_IPS", "edge.example.com")
    assert "should be addresses or networks" in settings_errors(capsys)


@pytest.mark.parametrize("name", ["FORWARDED_ALLOW_IPS", "ACGAN_FORWARDED_ALLOW_IPS"])
def test_proxies_are_configured_by_either_variable(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, "10.0.0.0/8, ::1")
    assert AppSettings().forwarded_allow_ips == "10.0.0.0/8, ::1"


def test_host_headers_are_parsed_in_every_notation() -> None:
    assert read_host("[::1]:8000") == Host("::1", 8000, True)
    assert read_host("Example.COM.") == Host("example.com", None, False)
    assert read_host("192.0.2.1:80") == Host("192.0.2.1", 80, True)
    assert read_host("x" * 254) is None
    assert read_host("[192.0.2.1]") is None
    assert read_names("a.example, *.B.example") == ["a.example", "*.b.example"]


@pytest.mark.parametrize(
    ("proxies", "peer", "chain", "client"),
    [
        ("", "127.0.0.1", "192.0.2.9", "127.0.0.1"),  # no proxy is configured
        ("10.0.0.1", "10.0.0.2", "192.0.2.9", "10.0.0.2"),
        ("10.0.0.1", "10.0.0.1", "192.0.2.9", "192.0.2.9"),
        ("10.0.0.0/8", "10.0.0.1", "198.51.100.1, 192.0.2.9, 10.0.0.3", "192.0.2.9"),
        ("10.0.0.1", "::ffff:10.0.0.1", "::ffff:192.0.2.9", "192.0.2.9"),
        ("10.0.0.1", "10.0.0.1", "192.0.2.9:4711", "192.0.2.9"),
        ("10.0.0.1", "10.0.0.1", "[2001:db8::1]:4711", "2001:db8::1"),
        ("10.0.0.1", "10.0.0.1", "2001:db8::1", "2001:db8::1"),
        ("10.0.0.1", "10.0.0.1", "key:ana", "10.0.0.1"),
        ("10.0.0.1", "10.0.0.1", "192.0.2.9, key:ana", "10.0.0.1"),
        ("10.0.0.1", "10.0.0.1", "", "10.0.0.1"),
        ("*", "10.0.0.1", "198.51.100.1, 192.0.2.9", "192.0.2.9"),
    ],
)
def test_only_a_configured_proxy_sets_the_callers_address(proxies: str, peer: str, chain: str, client: str) -> None:
    seen: dict[str, Any] = {}

    async def see(scope: Any, *_: Any) -> None:
        seen.update(scope)

    headers = [(b"x-forwarded-for", chain.encode()), (b"x-forwarded-host", b"a, b"), (b"x-forwarded-proto", b"https")]
    scope = {"type": "http", "client": (peer, 1), "scheme": "http", "headers": headers}
    asyncio.run(ForwardedHeaders(see, Proxies.parse(proxies))(scope, None, None))  # type: ignore[arg-type]
    assert seen["client"][0] == client
    configured = proxies not in ("",) and peer != "10.0.0.2"
    assert seen["scheme"] == ("https" if configured else "http")
    assert seen.get(FORWARDED_HOST) == ("b" if configured else None)
