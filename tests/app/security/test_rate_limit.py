"""Rate limits: how often a caller may send requests, and the response above the limit."""

import random
import re
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import pytest
import redis
from pydantic import SecretStr
from starlette.testclient import TestClient

from app.main import create_app
from app.middleware.authentication import caller_of
from app.security.api_keys import make_key
from app.security.rate_limit import CALLERS, LocalRate, TooFast, Window, read_rate
from app.settings import AppSettings
from models.registry.store import CheckpointStore
from tests.app.cli.test_cli import settings_errors
from tests.conftest import RunningRedis
from tests.support.api_clients import local_client
from worker.jobs.keys import RATES

ANA, ANAS_ENTRY = make_key("ana")
BEN, BENS_ENTRY = make_key("ben")
KEYS = SecretStr(f"{ANAS_ENTRY} {BENS_ENTRY}")


@pytest.fixture(autouse=True)
def one_window(monkeypatch: pytest.MonkeyPatch) -> None:
    """Time stands still for limits of reads, so that no window ends during a test."""
    monkeypatch.setattr("app.main.LocalRate", partial(LocalRate, clock=lambda: 30.0))


@contextmanager
def asking(redis_url: str, client: tuple[str, int] = ("192.0.2.1", 1), **settings: Any) -> Iterator[TestClient]:
    app = create_app(AppSettings(redis_url=redis_url, **settings))
    with local_client(app, raise_server_exceptions=False, client=client) as made:
        yield made


def is_too_fast(answer: Any) -> bool:
    if answer.status_code != 429:
        return False
    assert 1 <= int(answer.headers["Retry-After"]) <= 120
    assert answer.headers["content-type"] == "application/problem+json"
    assert "retry in" in answer.json()["detail"]
    return True


def test_calls_that_start_work_are_limited_by_caller_across_all_processes(redis_url: str) -> None:
    with asking(redis_url, work_rate="3/minute") as one, asking(redis_url, work_rate="3/minute") as other:
        job = one.post("/train").json()["links"]["self"]
        assert one.post(f"{job}/cancel").status_code == 202
        assert other.post(f"{job}/resume").status_code == 202
        assert other.post(f"{job}/retry").status_code == 202
        for client in (one, other):
            assert is_too_fast(client.post("/train"))
            assert is_too_fast(client.post(f"{job}/resume"))
            assert is_too_fast(client.post(f"{job}/retry"))
            assert client.post(f"{job}/front").status_code == 202  # starts nothing
            assert client.get("/jobs").status_code == 200
        assert len(one.get("/jobs").json()["jobs"]) == 2
        with asking(redis_url, client=("192.0.2.2", 1), work_rate="3/minute") as somebody_else:
            assert somebody_else.post("/train").status_code == 202


def test_keys_are_counted_by_name_from_every_address(redis_url: str) -> None:
    limits: dict[str, Any] = {"api_keys": KEYS, "work_rate": "1/hour"}
    with asking(redis_url, **limits) as here, asking(redis_url, client=("192.0.2.2", 1), **limits) as there:
        assert here.post("/train", headers={"X-API-Key": ANA}).status_code == 202
        assert is_too_fast(there.post("/train", headers={"X-API-Key": ANA}))
        assert here.post("/train", headers={"X-API-Key": BEN}).status_code == 202
        assert here.post("/train").status_code == 401


@pytest.mark.parametrize("headers", [{}, {"X-API-Key": "another"}], ids=["no key", "an unknown key"])
def test_refused_keys_are_counted_by_address(redis_url: str, headers: dict[str, str]) -> None:
    with asking(redis_url, api_keys=KEYS, read_rate="3/minute") as client:
        assert [client.get("/jobs", headers=headers).status_code for _ in range(3)] == [401] * 3
        assert is_too_fast(client.get("/jobs", headers=headers))
        assert is_too_fast(client.post("/train", headers=headers))
        assert client.get("/livez").status_code == 200
        assert client.get("/jobs", headers={"X-API-Key": ANA}).status_code == 200


def test_an_address_is_never_counted_as_a_key(redis_url: str) -> None:
    headers = {"X-Forwarded-For": "key:ana"}
    with asking(redis_url, api_keys=KEYS, work_rate="1/hour", forwarded_allow_ips="192.0.2.1") as client:
        for _ in range(3):
            assert client.post("/train", headers=headers).status_code == 401
        assert client.post("/train", headers={"X-API-Key": ANA}).status_code == 202


def test_a_caller_that_claims_other_addresses_is_counted_as_one(redis_url: str) -> None:
    with asking(redis_url, read_rate="3/minute") as client:
        answers = [client.get("/jobs", headers={"X-Forwarded-For": f"10.0.0.{number}"}) for number in range(5)]
    assert [answer.status_code for answer in answers] == [200, 200, 200, 429, 429]


def test_the_counters_in_redis_expire(redis_url: str) -> None:
    with asking(redis_url, work_rate="5/minute") as client:
        client.post("/train")
    with redis.Redis.from_url(redis_url, decode_responses=True) as connection:
        counters = [name for name in connection.scan_iter() if name.startswith(f"{RATES}:")]
        assert len(counters) == 1
        assert 0 < connection.ttl(counters[0]) <= 120


def test_without_a_rate_any_number_of_runs_can_be_started(redis_url: str) -> None:
    with asking(redis_url, work_rate="off", queue_limit=1000) as client:
        assert {client.post("/train").status_code for _ in range(150)} == {202}


def test_the_default_rate_lets_a_script_fill_the_queue_and_no_more(redis_url: str) -> None:
    with asking(redis_url, queue_limit=1000) as client:
        answers = [client.post("/train") for _ in range(130)]
    assert [answer.status_code for answer in answers] == 120 * [202] + 10 * [429]
    assert all(is_too_fast(answer) for answer in answers[120:])


def test_a_redis_outage_is_reported_as_without_rates(mortal_redis: RunningRedis) -> None:
    with asking(mortal_redis.url, work_rate="1/minute") as client:
        assert client.post("/train").status_code == 202
        mortal_redis.kill()
        answer = client.post("/train")
        assert answer.status_code == 503
        assert "Redis does not answer" in answer.json()["detail"]
        mortal_redis.start()
        assert is_too_fast(client.post("/train"))  # and its counts are still there


def test_reading_is_limited_if_configured_and_probes_are_not(redis_url: str, store: CheckpointStore) -> None:
    with asking(redis_url, read_rate="5/minute", api_keys=KEYS, read_needs_key=False) as client:
        assert [client.get("/digits/7").status_code for _ in range(3)] == 3 * [200]
        assert [client.head("/jobs").status_code for _ in range(2)] == 2 * [200]
        assert is_too_fast(client.get("/digits/7"))
        assert is_too_fast(client.get("/nowhere"))
        assert client.get("/jobs", headers={"X-API-Key": BEN}).status_code == 200
        assert client.post("/train", headers={"X-API-Key": BEN}).status_code == 202
        assert {client.get(probe).status_code for probe in 10 * ("/livez", "/readyz")} == {200}


def test_responses_name_the_limit_what_remains_and_when(redis_url: str, store: CheckpointStore) -> None:
    with asking(redis_url, read_rate="3/minute", work_rate="2/hour") as client:
        for path, method, amount, window in (("/digits/7", "GET", 3, 60), ("/train", "POST", 2, 3600)):
            for remaining in [*reversed(range(amount)), 0]:
                answer = client.request(method, path)
                assert answer.headers["RateLimit-Policy"] == f'"default";q={amount};w={window}'
                limit = re.fullmatch(r'"default";r=(\d+);t=(\d+)', answer.headers["RateLimit"])
                assert limit
                assert int(limit[1]) == remaining
                assert 0 <= int(limit[2]) <= 2 * window
            assert is_too_fast(answer)


def test_errors_of_counted_requests_name_the_limit(redis_url: str) -> None:
    with asking(redis_url, work_rate="9/minute", queue_limit=1) as client:
        answers = [
            client.post("/train"),
            client.post("/train"),  # the queue is full
            client.post("/train", json={"epochs": 0}),
            client.post("/train", content="null", headers={"Content-Type": "application/json"}),
            client.post("/datasets", json={"checkpoint": "20260101-000000-aaaaaa-e001"}),
        ]
        assert [answer.status_code for answer in answers] == [202, 429, 422, 422, 404]
        left = [re.match(r'"default";r=(\d);t=\d+$', answer.headers["RateLimit"]) for answer in answers]
        assert [found and found[1] for found in left] == ["8", "7", "6", "5", "4"]
        assert {answer.headers["RateLimit-Policy"] for answer in answers} == {'"default";q=9;w=60'}
        assert "RateLimit" not in client.post("/jobs/20260101-000000-aaaaaa/cancel").headers  # is not counted


@pytest.mark.parametrize("text", ["nonsense", "60", "0/minute", "-1/minute", "1/second;9/minute"])
@pytest.mark.parametrize("name", ["READ", "WORK"])
def test_an_invalid_rate_is_refused_at_start(
    name: str, text: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv(f"ACGAN_{name}_RATE", text)
    assert f"ACGAN_{name}_RATE) should be a rate like 60/minute" in settings_errors(capsys)


def test_a_caller_that_waits_as_requested_is_admitted_and_never_above_the_rate() -> None:
    chance, now = random.Random(1), 1000.0
    rate = read_rate("7/10seconds")
    assert rate is not None
    local = LocalRate(rate, clock=lambda: now)
    admitted: list[float] = []
    result: list[int] = []
    for _ in range(2000):
        now += chance.expovariate(3.0)
        try:
            local.admit("ana")
        except TooFast as error:
            result.append(error.retry_after)
            now += error.retry_after
            local.admit("ana")
        admitted.append(now)
    assert len(result) > 100
    assert set(result) <= set(range(1, 11))
    for start in admitted:  # the previous window is weighted, not remembered exactly: a little more may pass
        assert sum(start <= moment < start + 10 for moment in admitted) <= 10


def test_no_wait_is_longer_than_two_minutes() -> None:
    rate = read_rate("1/hour")
    assert rate is not None
    assert TooFast(rate, Window(0, 0.0, 1, 3000.0).wait(rate)).retry_after == 120


def test_the_number_of_remembered_callers_is_limited() -> None:
    rate = read_rate("1/hour")
    assert rate is not None
    local = LocalRate(rate)
    for number in range(CALLERS + 50):
        local.admit(f"address {number}")
    assert len(local.counts) == CALLERS
    with pytest.raises(TooFast):
        local.admit(f"address {CALLERS + 49}")


@pytest.mark.parametrize(
    ("client", "caller"),
    [
        (("192.0.2.7", 80), "ip:192.0.2.7"),
        (("::ffff:192.0.2.7", 80), "ip:192.0.2.7"),  # each IPv4 address has its own bucket
        (("::ffff:192.0.2.8", 80), "ip:192.0.2.8"),
        (("2001:db8::1:2", 80), "ip:2001:db8::/64"),
        (("2001:db8::ffff", 80), "ip:2001:db8::/64"),
        (("fe80::1%eth0", 80), "ip:fe80::/64"),
        (("key:ana", 80), "ip:unknown"),
        (("a:strange:one", 80), "ip:unknown"),
        (None, "ip:unknown"),
    ],
)
def test_callers_are_distinguished_by_address_and_in_ipv6_by_network(
    client: tuple[str, int] | None, caller: str
) -> None:
    assert caller_of({"client": client}) == caller
