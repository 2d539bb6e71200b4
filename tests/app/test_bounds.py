"""What a connection may send, and for how long: on a real server, over raw sockets."""

import itertools
import json
import re
import threading
import time
from collections.abc import Iterator

import httpx2
import pytest

from app.settings import AppSettings
from models.checkpoints import CheckpointStore
from tests.app.conftest import publish
from tests.app.raw import GET, Heard, connected, hear, say
from tests.app.serving import following, serving, until
from tests.conftest import RunningRedis
from tests.models.test_checkpoints import OLD

HOST = b"Host: a\r\n"
HEAD = b"GET /livez HTTP/1.1\r\n" + HOST
POST = b"POST /train HTTP/1.1\r\n" + HOST + b"Content-Type: application/json\r\n"
LENIENT = 3.0  # seconds that a busy machine may be late by


@pytest.fixture(scope="module")
def usual(shared_redis: RunningRedis, tmp_path_factory: pytest.TempPathFactory) -> AppSettings:
    """One server serves all tests here: none may do it harm."""
    settings = AppSettings(redis_url=shared_redis.url, home=tmp_path_factory.mktemp("home"), work_rate="off")
    publish(CheckpointStore(settings.store_dir), OLD, 1, seed=1)
    return settings


@pytest.fixture(scope="module")
def address(usual: AppSettings) -> Iterator[str]:
    with serving(usual) as made:
        yield made


@pytest.fixture(scope="module")
def impatient(usual: AppSettings) -> Iterator[str]:
    """A server that waits for a second where the usual one does for ten."""
    with serving(usual.model_copy(update={"request_seconds": 1.0, "send_seconds": 1.0})) as made:
        yield made


def problem(heard: Heard) -> dict[str, object]:
    head, _, body = heard.data.partition(b"\r\n\r\n")
    assert b"content-type: application/problem+json" in head.lower()
    assert b"connection: close" in head.lower()
    told: dict[str, object] = json.loads(body)
    return told


def still_answers(address: str) -> None:
    assert httpx2.get(f"{address}/livez", timeout=10).status_code == 200


@pytest.mark.parametrize(
    "pieces",
    [
        [HEAD + b"X-Long: " + 17_000 * b"x" + b"\r\n\r\n"],
        [b"GET /livez?" + 17_000 * b"x" + b" HTTP/1.1\r\n" + HOST + b"\r\n"],
        [HEAD + b"X-Long: ", *itertools.repeat(1000 * b"x", 40)],
        [HEAD, *itertools.repeat(1000 * b"x", 40)],
        [b"GET /", *itertools.repeat(1000 * b"x", 40)],
        [HEAD, *(b"X-%d: x\r\n" % number for number in range(100)), b"\r\n"],
        [GET + HEAD + b"".join(b"X-%d: x\r\n" % number for number in range(100)) + b"\r\n"],
    ],
    ids=["a header", "an address", "in pieces", "an endless name", "an endless address", "many", "after another"],
)
def test_a_head_that_is_too_long_is_told_so(address: str, pieces: list[bytes]) -> None:
    heard = say(address, pieces, pause=0.01 if len(pieces) > 1 else 0)
    assert heard.closed
    assert [status for status in heard.statuses if status != 200] in ([431], [])  # cut off where pieces still came
    if len(pieces) < 5:
        assert heard.statuses[-1] == 431
    if heard.statuses == [431]:
        assert "at most 100 headers, and 16384 bytes" in str(problem(heard)["detail"])
    still_answers(address)


def test_a_head_within_its_bounds_is_read(address: str) -> None:
    longest = 16_384 - len(b"/livezHosta") - len(b"X-Long") - 4 * 2
    heads = [
        HEAD + b"X-Long: " + longest * b"x" + b"\r\nConnection: close\r\n\r\n",
        HEAD + b"".join(b"X-%d: x\r\n" % number for number in range(98)) + b"Connection: close\r\n\r\n",
    ]
    assert say(address, heads[0]).statuses == [431]  # Connection: close is one too much
    assert say(address, heads[0].replace(25 * b"x", b"", 1)).statuses == [200]
    assert say(address, heads[1]).statuses == [200]


def test_long_bodies_and_many_requests_at_once_are_no_long_head(address: str) -> None:
    body = json.dumps({"epochs": 1, "dataset": "printed"}).encode().ljust(60_000)
    post = POST + b"Content-Length: 60000\r\n\r\n" + body
    last = HEAD + b"Connection: close\r\n\r\n"
    assert say(address, [post + post[:100], post[100:] + last]).statuses == [202, 202, 200]
    assert say(address, 500 * GET + last).statuses == 501 * [200]


@pytest.mark.parametrize("begun", [HEAD, b"G", HEAD + b"X-Slow: ", POST + b"Content-Length: 9\r\n\r\n{"])
def test_a_request_that_does_not_come_is_not_waited_for(impatient: str, begun: bytes) -> None:
    heard = say(impatient, begun)
    assert heard.closed
    assert heard.statuses == [408]
    assert "more than 1 seconds" in str(problem(heard)["detail"])
    assert 0.5 < heard.seconds < 1 + LENIENT


@pytest.mark.parametrize(
    "begun",
    [HEAD, HEAD + b"X: ", POST + b"Content-Length: 900\r\n\r\n", POST + b"Transfer-Encoding: chunked\r\n\r\n5;"],
)
def test_a_byte_now_and_then_makes_it_no_longer(impatient: str, begun: bytes) -> None:
    began = time.monotonic()
    heard = say(impatient, [begun, *itertools.repeat(b"x", 60)], pause=0.1)
    assert heard.closed
    assert heard.statuses in ([408], [])  # cut off where it went on sending
    assert time.monotonic() - began < 7 + LENIENT


@pytest.mark.parametrize("begun", [b"", b"\r\n", b"\r\n\r\n\r\n"])
def test_whoever_says_nothing_is_left(impatient: str, begun: bytes) -> None:
    heard = say(impatient, begun)
    assert heard.closed
    assert heard.data == b""
    assert heard.seconds < 1 + LENIENT


def test_a_body_that_does_not_come_after_all_is_answered_once(impatient: str) -> None:
    heard = say(impatient, b"POST /nowhere HTTP/1.1\r\n" + HOST + b"Content-Length: 900\r\n\r\n")
    assert heard.closed
    assert heard.statuses == [404]
    assert heard.seconds < 1 + LENIENT


def test_a_body_that_comes_after_its_answer_leaves_nobody_connected_for_ever(impatient: str) -> None:
    late = say(impatient, [b"POST /nowhere HTTP/1.1\r\n" + HOST + b"Content-Length: 4\r\n\r\n", b"body"], pause=0.3)
    assert late.closed
    assert late.statuses == [404]


def test_a_connection_in_use_may_live_as_long_as_it_likes(impatient: str) -> None:
    with connected(impatient) as connection:
        for _ in range(30):
            connection.sendall(GET[:10])
            time.sleep(0.05)
            connection.sendall(GET[10:])
            assert connection.recv(65536).startswith(b"HTTP/1.1 200")
            time.sleep(0.05)


def test_a_stream_goes_on_and_so_does_one_behind_which_a_request_is_begun(impatient: str) -> None:
    job = httpx2.post(f"{impatient}/train").json()["id"]
    with following(impatient, job) as events, connected(impatient) as connection:
        connection.sendall(b"GET /jobs/%s/events HTTP/1.1\r\n" % job.encode() + HOST + b"\r\n" + HEAD)
        assert next(events).kind == "job"
        time.sleep(3)
        httpx2.post(f"{impatient}/jobs/{job}/cancel")
        assert [event.data for event in events] == [{"status": "cancelled"}]
        assert b"event: status" in hear(connection, seconds=3).data


def test_whoever_takes_nothing_of_an_answer_is_cut_off(impatient: str) -> None:
    sheet = b"GET /digits/7?n=1000&seed=1 HTTP/1.1\r\n" + HOST + b"\r\n"
    with connected(impatient, small=True) as connection:
        connection.sendall(100 * sheet)
        time.sleep(6)
        heard = hear(connection)
        assert heard.closed
        assert 0 < len(heard.statuses) < 100
    assert say(impatient, 5 * sheet).statuses == 5 * [200]  # who takes it gets it


MALFORMED = {
    "two lengths": POST + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}",
    "the same length twice": POST + b"Content-Length: 2\r\nContent-Length: 2\r\n\r\n{}",
    "a list of lengths": POST + b"Content-Length: 2, 2\r\n\r\n{}",
    "a negative length": POST + b"Content-Length: -1\r\n\r\n{}",
    "a signed length": POST + b"Content-Length: +2\r\n\r\n{}",
    "a length in hexadecimal": POST + b"Content-Length: 0x2\r\n\r\n{}",
    "no number": POST + b"Content-Length: two\r\n\r\n{}",
    "a length beyond all": POST + b"Content-Length: 99999999999999999999999\r\n\r\n{}",
    "length and chunks": POST + b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "chunks and length": POST + b"Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\n",
    "chunked, but not last": POST + b"Transfer-Encoding: chunked, gzip\r\n\r\n0\r\n\r\n",
    "an unknown coding": POST + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    "coded twice": POST + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n",
    "a space before the colon": POST + b"Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
    "a folded header": HEAD + b"X-Folded: a\r\n b\r\n\tc: d\r\n : e\r\n\r\n",
    "a chunk of no size": POST + b"Transfer-Encoding: chunked\r\n\r\n\r\n{}\r\n0\r\n\r\n",
    "a chunk of a strange size": POST + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n0\r\n\r\n",
    "a chunk longer than it says": POST + b"Transfer-Encoding: chunked\r\n\r\n1\r\n{}\r\n0\r\n\r\n",
    "a chunk beyond all": POST + b"Transfer-Encoding: chunked\r\n\r\nffffffffffffffffff\r\n{}\r\n0\r\n\r\n",
    "a size in hexadecimal": POST + b"Transfer-Encoding: chunked\r\n\r\n0x2\r\n{}\r\n0\r\n\r\n",
    "a bare line feed": b"GET /livez HTTP/1.1\nHost: a\n\n",
    "a bare carriage return": HEAD + b"X-Bare: a\rX-Other: b\r\n\r\n",
    "a zero byte in a value": HEAD + b"X-Zero: a\x00b\r\n\r\n",
    "a zero byte in the address": b"GET /\x00 HTTP/1.1\r\n" + HOST + b"\r\n",
    "letters beyond ASCII in the address": "GET /\u00fc HTTP/1.1\r\nHost: a\r\n\r\n".encode(),
    "a header without a name": HEAD + b": nothing\r\n\r\n",
    "a header without a colon": HEAD + b"nothing\r\n\r\n",
    "no address": b"GET HTTP/1.1\r\n" + HOST + b"\r\n",
    "a strange method": b"FROBNICATE / HTTP/1.1\r\n" + HOST + b"\r\n",
    "a method in small letters": b"get / HTTP/1.1\r\n" + HOST + b"\r\n",
    "a tunnel": b"CONNECT example.org:443 HTTP/1.1\r\n" + HOST + b"\r\n",
    "a strange version": b"GET / HTTP/9.9\r\n" + HOST + b"\r\n",
    "HTTP/2 at once": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(range(256)),
    "another protocol": b"SSH-2.0-OpenSSH_9.9\r\n",
    "an address of another host without a path": b"GET http://example.org HTTP/1.1\r\n" + HOST + b"\r\n",
    "no host that could be": b"GET http:///livez HTTP/1.1\r\n" + HOST + b"\r\n",
    "a body and an upgrade": POST + b"Connection: upgrade\r\nUpgrade: h2c\r\nContent-Length: 2\r\n\r\n{}",
    "a body of another protocol": POST + b"Connection: upgrade\r\nUpgrade: x\r\nTransfer-Encoding: chunked\r\n\r\n",
}


@pytest.mark.parametrize("sent", MALFORMED.values(), ids=MALFORMED.keys())
def test_what_is_no_proper_request_is_refused_and_what_follows_is_not_heard(impatient: str, sent: bytes) -> None:
    heard = say(impatient, sent + GET)
    assert heard.closed
    assert all(400 <= status < 500 for status in heard.statuses), heard.data
    assert len(heard.statuses) <= 1
    assert b"Traceback" not in heard.data
    if heard.statuses:
        assert problem(heard)["status"] == heard.statuses[0]
    still_answers(impatient)


def test_an_offer_to_speak_something_else_is_declined(address: str) -> None:
    for offer in (
        b"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAA\r\n",
        b"Upgrade: h2c\r\nConnection: Upgrade, HTTP2-Settings\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n",
    ):
        with connected(address) as connection:
            for _ in range(2):
                connection.sendall(HEAD + offer + b"\r\n")
                assert connection.recv(65536).startswith(b"HTTP/1.1 200")


def endless(kind: str) -> Iterator[bytes]:
    yield POST + b"Transfer-Encoding: chunked\r\n\r\n"
    if kind == "trailers":
        yield b"0\r\n"
    pieces = {
        "body": b"400\r\n" + 1024 * b" " + b"\r\n",
        "extension": b"5;" + 1024 * b"x",
        "trailers": 100 * b"X: y\r\n",
    }
    deadline = time.monotonic() + 8
    while time.monotonic() < deadline:
        yield pieces[kind]


@pytest.mark.parametrize("kind", ["body", "extension", "trailers"])
def test_what_has_no_end_is_cut_off(address: str, kind: str) -> None:
    began = time.monotonic()
    heard = say(address, endless(kind))
    assert heard.closed
    assert heard.statuses in ([413], [431], [])  # cut off where it went on sending
    assert time.monotonic() - began < 7
    still_answers(address)


def test_trailers_are_no_headers(address: str) -> None:
    body = b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\nIdempotency-Key: a b\r\n\r\n"
    assert say(address, POST + body, seconds=1).statuses == [202]


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"NO REQUEST\r\n\r\n", 400),
        (HEAD + b"X: " + 100_000 * b"x" + b"\r\n\r\n", 431),
        (POST + b"Transfer-Encoding: chunked\r\n\r\n" + 200_000 * b"1\r\n \r\n", 413),
        (HEAD, 408),
    ],
)
def test_refusals_are_counted(impatient: str, sent: bytes, status: int) -> None:
    def counted() -> float:
        figures = httpx2.get(f"{impatient}/metrics", timeout=10).text
        found = re.search(rf'^acgan_http_refusals_total{{status="{status}"}} (\S+)', figures, re.MULTILINE)
        assert found
        return float(found[1])

    before = counted()
    assert say(impatient, sent).statuses == [status]
    assert counted() == before + 1


def test_a_body_of_a_hundred_megabytes_is_refused_unread(address: str) -> None:
    heard = say(address, POST + b"Content-Length: 100000000\r\n\r\n")
    assert heard.closed
    assert heard.statuses == [413]
    assert heard.seconds < LENIENT


def test_when_there_are_too_many_whoever_was_waited_for_longest_makes_room(settings: AppSettings) -> None:
    with serving(settings.model_copy(update={"connections": 20})) as address:
        job = httpx2.post(f"{address}/train").json()["id"]
        with following(address, job) as events:
            assert next(events).kind == "job"
            idle = [connected(address) for _ in range(60)]
            opened = [connection.__enter__() for connection in idle]
            for connection in opened[:30]:
                connection.sendall(HEAD)
            for _ in range(30):
                still_answers(address)
            assert sum(hear(connection, seconds=0.05).closed for connection in opened) >= 40
            httpx2.post(f"{address}/jobs/{job}/cancel")
            assert [event.kind for event in events] == ["status"]
            for connection in opened:
                connection.close()


def test_when_all_are_being_answered_the_next_is_told_to_come_again(settings: AppSettings) -> None:
    with serving(settings.model_copy(update={"connections": 10})) as address:
        job = httpx2.post(f"{address}/train").json()["id"]
        streams = [connected(address) for _ in range(10)]
        opened = [connection.__enter__() for connection in streams]
        for connection in opened:
            connection.sendall(b"GET /jobs/%s/events HTTP/1.1\r\n" % job.encode() + HOST + b"\r\n")
            assert connection.recv(65536).startswith(b"HTTP/1.1 200")
        heard = say(address, b"")
        assert heard.statuses == [503]
        assert heard.closed
        assert b"retry-after: 5" in heard.data.lower()
        opened.pop().close()
        until("there is room", lambda: say(address, HEAD + b"Connection: close\r\n\r\n").statuses == [200])
        for connection in opened:
            connection.close()


def test_slow_callers_by_the_dozen_keep_nobody_from_an_answer(impatient: str) -> None:
    stop, closed = threading.Event(), []

    def dawdle(number: int) -> None:
        while not stop.is_set():
            sent = [b""] if number % 3 == 0 else [HEAD, *itertools.repeat(b"X-Slow: x\r\n", 40)]
            began = time.monotonic()
            heard = say(impatient, sent, pause=0.2)
            closed.append((heard.closed, time.monotonic() - began))

    callers = [threading.Thread(target=dawdle, args=(number,)) for number in range(60)]
    for caller in callers:
        caller.start()
    with httpx2.Client(base_url=impatient, timeout=10) as client:
        deadline, statuses = time.monotonic() + 6, []
        while time.monotonic() < deadline:
            statuses.append(client.get("/digits/7").status_code)
    stop.set()
    for caller in callers:
        caller.join()
    assert len(statuses) > 20
    assert set(statuses) == {200}
    assert len(closed) >= 60
    assert all(was for was, _ in closed)
    assert max(seconds for _, seconds in closed) < 15


def test_an_answer_comes_in_one_piece_and_a_stream_as_it_is_made(usual: AppSettings) -> None:
    with serving(usual) as address:
        with connected(address) as connection:
            connection.sendall(b"GET /digits/3?seed=1 HTTP/1.1\r\n" + HOST + b"\r\n")
            first = connection.recv(65536)
            assert first.startswith(b"HTTP/1.1 200")
            assert first.endswith(b"IEND\xaeB`\x82")
        job = httpx2.post(f"{address}/train").json()["id"]
        with following(address, job) as events:
            assert next(events).kind == "job"
