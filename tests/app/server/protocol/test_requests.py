"""Limits of a request's head and body: over raw sockets, on a real server."""

import itertools
import json
import re
import time
from collections.abc import Iterator

import httpx2
import pytest

from tests.app.server.protocol.conftest import LENIENT, problem, still_answers
from tests.support.raw_http import GET, HEAD, HOST, POST, Received, connected, receive, send_raw


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
def test_a_head_that_is_too_long_gets_a_431(address: str, pieces: list[bytes]) -> None:
    reply = send_raw(address, pieces, pause=0.01 if len(pieces) > 1 else 0)
    assert reply.closed
    # no response arrives if the connection is cut while data still arrives
    assert [status for status in reply.statuses if status != 200] in ([431], [])
    if len(pieces) < 5:
        assert reply.statuses[-1] == 431
    if reply.statuses == [431]:
        assert "at most 100 headers, and 16384 bytes" in str(problem(reply)["detail"])
    still_answers(address)


def test_a_head_within_its_limits_is_read(address: str) -> None:
    longest = 16_384 - len(b"/livezHostlocalhost") - len(b"X-Long") - 4 * 2
    heads = [
        HEAD + b"X-Long: " + longest * b"x" + b"\r\nConnection: close\r\n\r\n",
        HEAD + b"".join(b"X-%d: x\r\n" % number for number in range(98)) + b"Connection: close\r\n\r\n",
    ]
    assert send_raw(address, heads[0]).statuses == [431]  # Connection: close makes it one too many
    assert send_raw(address, heads[0].replace(25 * b"x", b"", 1)).statuses == [200]
    assert send_raw(address, heads[1]).statuses == [200]


def test_long_bodies_and_many_pipelined_requests_are_not_a_long_head(address: str) -> None:
    body = json.dumps({"epochs": 1, "dataset": "printed"}).encode().ljust(60_000)
    post = POST + b"Content-Length: 60000\r\n\r\n" + body
    last = HEAD + b"Connection: close\r\n\r\n"
    assert send_raw(address, [post + post[:100], post[100:] + last]).statuses == [202, 202, 200]
    assert send_raw(address, 500 * GET + last).statuses == 501 * [200]


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
    "a bare line feed": b"GET /livez HTTP/1.1\nHost: localhost\n\n",
    "a bare carriage return": HEAD + b"X-Bare: a\rX-Other: b\r\n\r\n",
    "a zero byte in a value": HEAD + b"X-Zero: a\x00b\r\n\r\n",
    "a zero byte in the address": b"GET /\x00 HTTP/1.1\r\n" + HOST + b"\r\n",
    "letters beyond ASCII in the address": "GET /\u00fc HTTP/1.1\r\nHost: localhost\r\n\r\n".encode(),
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
def test_a_malformed_request_is_refused_and_the_bytes_after_it_are_ignored(short_timeouts: str, sent: bytes) -> None:
    reply = send_raw(short_timeouts, sent + GET)
    assert reply.closed
    assert all(400 <= status < 500 for status in reply.statuses), reply.data
    assert len(reply.statuses) <= 1
    assert b"Traceback" not in reply.data
    if reply.statuses:
        assert problem(reply)["status"] == reply.statuses[0]
    still_answers(short_timeouts)


def test_an_upgrade_to_another_protocol_is_declined(address: str) -> None:
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
def test_an_endless_request_is_cut_off(address: str, kind: str) -> None:
    began = time.monotonic()
    reply = send_raw(address, endless(kind))
    assert reply.closed
    assert reply.statuses in ([413], [431], [])  # the connection is cut while it still sends
    assert time.monotonic() - began < 7
    still_answers(address)


def test_trailers_are_not_headers(address: str) -> None:
    body = b"Transfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\nIdempotency-Key: a b\r\n\r\n"
    with connected(address) as connection:
        connection.sendall(POST + body)
        first = connection.recv(65536)
        rest = receive(connection, seconds=1)  # of what was no request
    assert Received(first + rest.data, rest.closed, rest.seconds).statuses == [202]


@pytest.mark.parametrize(
    ("sent", "status", "kind"),
    [
        (b"NO REQUEST\r\n\r\n", 400, "/problems/malformed-request"),
        (HEAD + b"X: " + 100_000 * b"x" + b"\r\n\r\n", 431, "/problems/headers-too-long"),
        (POST + b"Transfer-Encoding: chunked\r\n\r\n" + 200_000 * b"1\r\n \r\n", 413, "/problems/body-too-long"),
        (HEAD, 408, "/problems/request-timeout"),
    ],
)
def test_refusals_have_a_code_and_are_counted(short_timeouts: str, sent: bytes, status: int, kind: str) -> None:
    def counted() -> float:
        figures = httpx2.get(f"{short_timeouts}/metrics").text
        found = re.search(rf'^acgan_http_refusals_total{{status="{status}"}} (\S+)', figures, re.MULTILINE)
        assert found
        return float(found[1])

    before = counted()
    reply = send_raw(short_timeouts, sent)
    assert reply.statuses == [status]
    assert problem(reply)["type"] == kind
    assert counted() == before + 1


def test_a_body_of_a_hundred_megabytes_is_refused_unread(address: str) -> None:
    reply = send_raw(address, POST + b"Content-Length: 100000000\r\n\r\n")
    assert reply.closed
    assert reply.statuses == [413]
    assert reply.seconds < LENIENT
