"""Timeouts of connections, and the limit of their number: over raw sockets, on a real server."""

import itertools
import socket
import threading
import time
from pathlib import Path

import httpx2
import pytest

from app.settings import AppSettings
from tests.app.server.protocol.conftest import LENIENT, problem, still_answers
from tests.support.raw_http import GET, HEAD, HOST, POST, connected, receive, send_raw
from tests.support.serving import following, serving, until

ESTABLISHED = "01"  # in /proc/net/tcp


@pytest.mark.parametrize("begun", [HEAD, b"G", HEAD + b"X-Slow: ", POST + b"Content-Length: 9\r\n\r\n{"])
def test_a_request_that_does_not_arrive_is_a_408(short_timeouts: str, begun: bytes) -> None:
    began = time.monotonic()
    reply = send_raw(short_timeouts, begun)
    assert time.monotonic() - began > 0.5  # from before the connection, at which the limit starts
    assert reply.closed
    assert reply.statuses == [408]
    assert "more than 1 seconds" in str(problem(reply)["detail"])
    assert reply.seconds < 1 + LENIENT


@pytest.mark.parametrize(
    "begun",
    [HEAD, HEAD + b"X: ", POST + b"Content-Length: 900\r\n\r\n", POST + b"Transfer-Encoding: chunked\r\n\r\n5;"],
)
def test_a_slow_byte_does_not_extend_the_timeout(short_timeouts: str, begun: bytes) -> None:
    began = time.monotonic()
    reply = send_raw(short_timeouts, [begun, *itertools.repeat(b"x", 60)], pause=0.1)
    assert reply.closed
    assert reply.statuses in ([408], [])  # the connection is cut while it still sends
    assert time.monotonic() - began < 7 + LENIENT


@pytest.mark.parametrize("begun", [b"", b"\r\n", b"\r\n\r\n\r\n"])
def test_a_silent_connection_is_closed(short_timeouts: str, begun: bytes) -> None:
    reply = send_raw(short_timeouts, begun)
    assert reply.closed
    assert reply.data == b""
    assert reply.seconds < 1 + LENIENT


def test_a_body_that_never_arrives_is_answered_once(short_timeouts: str) -> None:
    reply = send_raw(short_timeouts, b"POST /nowhere HTTP/1.1\r\n" + HOST + b"Content-Length: 900\r\n\r\n")
    assert reply.closed
    assert reply.statuses == [404]
    assert reply.seconds < 1 + LENIENT


def test_a_body_that_arrives_after_its_response_leaves_no_connection_open(short_timeouts: str) -> None:
    late = send_raw(
        short_timeouts, [b"POST /nowhere HTTP/1.1\r\n" + HOST + b"Content-Length: 4\r\n\r\n", b"body"], pause=0.3
    )
    assert late.closed
    assert late.statuses == [404]


def use(address: str) -> tuple[float, set[bytes]]:
    """Use a connection for three seconds. Returns its longest pause in seconds, and the beginnings of the responses."""
    answers, longest = set[bytes](), 0.0
    with connected(address) as connection:
        for _ in range(30):
            for part in (GET[:10], GET[10:]):
                began = time.monotonic()
                time.sleep(0.05)
                longest = max(longest, time.monotonic() - began)
                try:
                    connection.sendall(part)
                except ConnectionError:
                    return longest, {b"closed"}
            answers.add(connection.recv(65536)[:12])
    return longest, answers


def test_a_connection_in_use_has_no_maximum_age(short_timeouts: str) -> None:
    for _ in range(5):
        longest, answers = use(short_timeouts)
        if longest < 0.5:  # else this process paused, and the server may have closed the connection
            break
    assert answers == {b"HTTP/1.1 200"}


def test_a_stream_continues_even_if_a_request_is_begun_behind_it(short_timeouts: str) -> None:
    job = httpx2.post(f"{short_timeouts}/train").json()["id"]
    with following(short_timeouts, job) as events, connected(short_timeouts) as connection:
        connection.sendall(b"GET /jobs/%s/events HTTP/1.1\r\n" % job.encode() + HOST + b"\r\n" + HEAD)
        assert next(events).kind == "job"
        time.sleep(3)
        httpx2.post(f"{short_timeouts}/jobs/{job}/cancel")
        assert [event.data for event in events] == [{"status": "cancelled"}]
        assert b"event: status" in receive(connection).data


def is_open(connection: socket.socket) -> bool:
    """Whether the server, which is on this machine, has its end of a connection open."""
    ends = [f"{end[1]:04X}" for end in (connection.getpeername(), connection.getsockname())]
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        _, local, remote, state, *_ = line.split()
        if [local.partition(":")[2], remote.partition(":")[2]] == ends:
            return state == ESTABLISHED
    return False


@pytest.mark.skipif(not Path("/proc/net/tcp").exists(), reason="finds connections in /proc")
def test_a_client_that_reads_nothing_of_a_response_is_cut_off(short_timeouts: str) -> None:
    sheet = b"GET /digits/7?n=1000&seed=1 HTTP/1.1\r\n" + HOST + b"\r\n"
    with connected(short_timeouts, small=True) as connection:
        assert is_open(connection)
        connection.sendall(100 * sheet)
        until("the server closes the connection", lambda: not is_open(connection))
        reply = receive(connection)
        assert reply.closed
        assert 0 < len(reply.statuses) < 100
    assert send_raw(short_timeouts, 5 * sheet).statuses == 5 * [200]  # a client that reads it gets it


def test_above_the_limit_the_connection_that_waited_longest_is_closed(settings: AppSettings) -> None:
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
            assert sum(receive(connection, seconds=0.05).closed for connection in opened) >= 40
            httpx2.post(f"{address}/jobs/{job}/cancel")
            assert [event.kind for event in events] == ["status"]
            for connection in opened:
                connection.close()


def test_if_all_connections_are_being_answered_the_next_gets_a_503(settings: AppSettings) -> None:
    with serving(settings.model_copy(update={"connections": 10})) as address:
        job = httpx2.post(f"{address}/train").json()["id"]
        streams = [connected(address) for _ in range(10)]
        opened = [connection.__enter__() for connection in streams]
        for connection in opened:
            connection.sendall(b"GET /jobs/%s/events HTTP/1.1\r\n" % job.encode() + HOST + b"\r\n")
            assert connection.recv(65536).startswith(b"HTTP/1.1 200")
        reply = send_raw(address, b"")
        assert reply.statuses == [503]
        assert reply.closed
        assert problem(reply)["type"] == "/problems/too-many-connections"
        assert b"retry-after: 5" in reply.data.lower()
        opened.pop().close()
        until("there is room", lambda: send_raw(address, HEAD + b"Connection: close\r\n\r\n").statuses == [200])
        for connection in opened:
            connection.close()


def test_dozens_of_slow_callers_delay_no_response(short_timeouts: str) -> None:
    stop, closed = threading.Event(), []

    def dawdle(number: int) -> None:
        while not stop.is_set():
            sent = [b""] if number % 3 == 0 else [HEAD, *itertools.repeat(b"X-Slow: x\r\n", 40)]
            began = time.monotonic()
            reply = send_raw(short_timeouts, sent, pause=0.2)
            closed.append((reply.closed, time.monotonic() - began))

    callers = [threading.Thread(target=dawdle, args=(number,)) for number in range(60)]
    for caller in callers:
        caller.start()
    with httpx2.Client(base_url=short_timeouts) as client:
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


def test_a_response_is_sent_in_one_piece_and_a_stream_as_it_is_produced(usual: AppSettings) -> None:
    with serving(usual) as address:
        with connected(address) as connection:
            connection.sendall(b"GET /digits/3?seed=1 HTTP/1.1\r\n" + HOST + b"\r\n")
            first = connection.recv(65536)
            assert first.startswith(b"HTTP/1.1 200")
            assert first.endswith(b"IEND\xaeB`\x82")
        job = httpx2.post(f"{address}/train").json()["id"]
        with following(address, job) as events:
            assert next(events).kind == "job"
