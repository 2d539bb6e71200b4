"""The metrics of a worker: no input stops them, and only its training process sends any."""

import json
import math
import socket
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator

import pytest
from prometheus_client import generate_latest

from tests.support.ports import free_port
from worker.observability import exporter, metrics
from worker.observability.background_loops import Supervisor
from worker.observability.metrics_channel import Line, Sender

ITERATIONS = "acgan_worker_iterations"


def figure(name: str = f"{ITERATIONS}_total", **labels: str) -> float:
    return metrics.REGISTRY.get_sample_value(name, labels) or 0


def until(expected: float, seconds: float = 10) -> None:
    deadline = time.monotonic() + seconds
    while figure() != expected:
        assert time.monotonic() < deadline, figure()
        time.sleep(0.02)


@pytest.fixture(scope="module")
def port() -> int:
    return free_port()


@pytest.fixture(scope="module")
def supervisor() -> Iterator[Supervisor]:
    supervisor = Supervisor()
    yield supervisor
    supervisor.stop()


@pytest.fixture(scope="module")
def line(port: int, supervisor: Supervisor) -> Line:
    line = exporter.export("127.0.0.1", port, supervisor)
    assert line is not None
    return line


DATAGRAMS = [
    b"",
    b"nonsense",
    b"\xff",
    b"x" * 3000,
    b"x" * 50_000,
    b"[" * 4000,
    b"[]",
    b"5",
    b"null",
    b'{"a": 1}',
    b'["acgan_worker_iterations"]',
    b'["acgan_worker_iterations", 5]',
    b'["acgan_worker_iterations", 5, [], 1]',
    b'["unknown", 5, []]',
    b'[["acgan_worker_iterations"], 5, []]',
    b"[null, 5, []]",
    b'["acgan_worker_iterations", "5", []]',
    b'["acgan_worker_iterations", null, []]',
    b'["acgan_worker_iterations", true, []]',
    b'["acgan_worker_iterations", {}, []]',
    b'["acgan_worker_iterations", -5, []]',
    b'["acgan_worker_iterations", NaN, []]',
    b'["acgan_worker_iterations", Infinity, []]',
    b'["acgan_worker_epoch_seconds", Infinity, []]',
    b'["acgan_worker_iterations", 1' + b"0" * 400 + b", []]",
    b'["acgan_worker_iterations", 5, ["label"]]',
    b'["acgan_worker_iterations", 5, {}]',
    b'["acgan_worker_iterations", 5, null]',
    b'["acgan_worker_iterations", 5, 7]',
    b'["acgan_worker_loss", 5, []]',
    b'["acgan_worker_loss", 5, ["a", "b"]]',
    b'["acgan_worker_loss", 5, ["a", "b", 3]]',
    b'["acgan_worker_quality", 5, "abc"]',
]


@pytest.mark.parametrize("datagram", DATAGRAMS)
def test_an_invalid_figure_is_refused_and_changes_nothing(datagram: bytes) -> None:
    before = generate_latest(metrics.REGISTRY)
    with pytest.raises(metrics.InvalidFigure, match=r".+"):
        metrics.count(datagram)
    assert generate_latest(metrics.REGISTRY) == before


def test_figures_are_counted_after_any_invalid_input(line: Line, caplog: pytest.LogCaptureFixture) -> None:
    before = figure()
    for datagram in DATAGRAMS:
        line.writing.send(datagram)
    line.writing.send(json.dumps([ITERATIONS, 5, []]).encode())
    until(before + 5)
    assert [record.levelname for record in caplog.records if "not counted" in record.message] == ["WARNING"]


def test_a_gauge_can_be_nan() -> None:
    metrics.count(b'["acgan_worker_loss", NaN, ["generator", "train", "loss"]]')
    assert math.isnan(figure("acgan_worker_loss", network="generator", split="train", loss="loss"))


def test_the_figures_of_an_epoch_arrive_all_at_once(line: Line) -> None:
    sender, before = Sender(line.writing.dup().detach()), figure()
    for _ in range(300):
        sender.send(json.dumps([ITERATIONS, 1, []]).encode())
    until(before + 300)
    sender.socket.close()


def test_no_port_takes_figures(line: Line, port: int) -> None:
    """Neither UDP, as in earlier versions, nor HTTP."""
    before = figure()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        other.connect(("127.0.0.1", port))
        other.send(json.dumps([ITERATIONS, 5, []]).encode())
        time.sleep(0.2)
        with pytest.raises(ConnectionRefusedError):
            other.send(b"again")
    assert line.reading.getsockname() in ("", b"")
    assert figure() == before


def test_a_channel_that_fails_is_restarted(line: Line, supervisor: Supervisor, monkeypatch: pytest.MonkeyPatch) -> None:
    before, failures = figure(), iter([MemoryError("once")])

    def fail_once(_datagram: bytes) -> None:
        monkeypatch.undo()
        raise next(failures)

    monkeypatch.setattr(metrics, "count", fail_once)
    line.writing.send(b"lost")
    time.sleep(0.2)
    line.writing.send(json.dumps([ITERATIONS, 7, []]).encode())
    until(before + 7)
    assert set(supervisor.report()) == {"figures", "metrics port"}


# ----------------------------------------------------------------------------
# The port.


def ask(port: int, path: str = "/metrics", method: str = "GET", timeout: float = 10) -> tuple[int, str]:
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", method=method)
    try:
        with urllib.request.urlopen(request, timeout=timeout) as answer:  # noqa: S310
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, ""


@pytest.mark.usefixtures("line")
def test_the_port_answers_get_metrics_and_nothing_else(port: int) -> None:
    status, text = ask(port)
    assert (status, "acgan_worker_jobs_taken_total" in text) == (200, True)
    assert ask(port, "/metrics?x=1")[0] == 200
    assert [ask(port, path)[0] for path in ("/", "/metrics/", "/metricsx", "/../metrics")] == [404] * 4
    assert [ask(port, method=method)[0] for method in ("POST", "PUT", "DELETE", "OPTIONS", "HEAD")] == [501] * 5


@pytest.mark.usefixtures("line")
def test_slow_clients_delay_no_other(port: int) -> None:
    slow = [socket.create_connection(("127.0.0.1", port)) for _ in range(150)]
    try:
        for connection in slow[::2]:
            connection.send(b"GET /metrics HTTP/1.1\r\nX-Slow: ")
        assert ask(port)[0] == 200  # in less time than the port gives a slow client
        deadline = time.monotonic() + 60
        while threading.active_count() >= 110:  # threads of the oldest connections end after the answer
            assert time.monotonic() < deadline, threading.active_count()
            time.sleep(0.02)
    finally:
        for connection in slow:
            connection.close()


@pytest.mark.usefixtures("line")
def test_malformed_requests_stop_nothing(port: int) -> None:
    for data in (b"\x16\x03\x01\x00", b"\0" * 70_000, b"GET\r\n\r\n", b"GET /metrics HTTP/9.9\r\n\r\n"):
        with socket.create_connection(("127.0.0.1", port)) as connection:
            connection.send(data)
    assert ask(port)[0] == 200
