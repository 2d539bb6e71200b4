"""Where a message is sent, over real HTTPS, and which answers count as delivered."""

import json
import socket
import threading
import time
from contextlib import ExitStack

import pytest

from tests.support.webhook_receiver import NAME, Handler, raw, status
from tests.worker.webhooks.conftest import LOCAL, Office
from worker.jobs.keys import MESSAGE_PREFIX, OUTBOX
from worker.observability import metrics
from worker.webhooks.exchange import TimeLimit, connect
from worker.webhooks.sender import REST_SECONDS

METADATA = "169.254.169.254"


@pytest.mark.parametrize("addresses", [[LOCAL], [METADATA], ["::1"], ["93.184.215.14", LOCAL], [f"::ffff:{METADATA}"]])
def test_a_listed_name_with_an_address_that_is_not_public_is_refused(office: Office, addresses: list[str]) -> None:
    office.cancelled(office.receiver.url(NAME))
    assert office.sender((NAME,), resolve=lambda *_: addresses).once() == "refused"
    assert (office.receiver.received, office.receiver.names) == ([], [])


def test_localhost_is_refused_without_its_address_in_the_list(office: Office) -> None:
    office.cancelled(office.receiver.url("localhost"))
    assert office.sender(("localhost",)).once() == "refused"
    assert office.receiver.names == []


def test_a_host_that_is_no_longer_listed_is_refused(office: Office) -> None:
    office.cancelled(office.receiver.url(NAME))
    assert office.sender((LOCAL,), resolve=lambda *_: [LOCAL]).once() == "refused"
    assert office.receiver.names == []


def test_the_connection_goes_to_the_checked_address_under_the_name(office: Office) -> None:
    """The name is resolved once: a second answer of the resolver would be another address."""
    office.cancelled(office.receiver.url(NAME))
    asked: list[str] = []

    def resolve(host: str, _port: int) -> list[str]:
        asked.append(host)
        return [LOCAL] if len(asked) == 1 else [METADATA]

    assert office.sender((NAME, LOCAL), resolve=resolve).once() == "delivered"
    assert asked == office.receiver.names == [NAME]
    assert office.receiver.received[0].headers["host"] == f"{NAME}:{office.receiver.port}"


def test_the_certificate_must_be_for_the_name(office: Office, caplog: pytest.LogCaptureFixture) -> None:
    office.cancelled(office.receiver.url("other.test"))
    assert office.sender(("other.test", LOCAL), resolve=lambda *_: [LOCAL]).once() == "failed"
    assert "the certificate of the receiver is not valid: Hostname mismatch" in caplog.text
    assert office.receiver.received == []


def test_a_redirect_is_not_followed(office: Office) -> None:
    office.cancelled()
    office.receiver.answers.append(status(307, Location=office.receiver.url(target="/elsewhere")))
    assert office.sender().once() == "failed"
    assert [each.path for each in office.receiver.received] == ["/hook"]


def test_no_proxy_is_used(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("https_proxy", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    office.cancelled()
    assert office.sender().once() == "delivered"


def test_an_answer_that_never_ends_fails_at_the_time_limit(office: Office, caplog: pytest.LogCaptureFixture) -> None:
    """Each byte arrives in time, so that only a limit of the whole attempt ends it."""
    office.cancelled()
    office.receiver.answers.append(raw(*[b"H"] * 200, pause=0.05))
    assert office.sender(seconds=0.4).once() == "failed"
    assert "the receiver did not answer within 0.4 s" in caplog.text


def test_a_silent_receiver_does_not_delay_the_messages_of_others(office: Office) -> None:
    silent, other = office.cancelled(office.receiver.url(NAME)), office.cancelled()
    office.cancelled(office.receiver.url(NAME))
    office.receiver.answers.append(raw(*[b"H"] * 200, pause=0.05))
    sender = office.sender((NAME, LOCAL), resolve=lambda *_: [LOCAL], seconds=2.0)
    assert sender.once() == "failed"
    sender.seconds = 60.0  # the others answer, even if a busy machine needs longer than the first limit
    assert [sender.once(), sender.once(), sender.once()] == ["delivered", "postponed", None]
    asked = [json.loads(each.body)["data"]["id"] for each in office.receiver.received]
    assert asked == [silent.id, other.id]


def counted() -> dict[str, float]:
    (metric,) = metrics.WEBHOOKS.collect()
    return {sample.labels["outcome"]: sample.value for sample in metric.samples if sample.name.endswith("_total")}


def test_a_rest_of_the_receiver_counts_no_attempt_and_gives_up_no_message(office: Office) -> None:
    office.cancelled()
    office.receiver.answers.append(raw(*[b"H"] * 200, pause=0.05))
    sender = office.sender(seconds=0.3)
    assert sender.once() == "failed"
    office.redis.delete(OUTBOX)
    job, before = office.cancelled(), counted()
    (message,) = office.messages()
    office.redis.hset(MESSAGE_PREFIX + message, "ended_at", time.time() - 25 * 3600)
    assert sender.once() == "postponed"
    assert counted() == before
    assert (office.messages(), office.fields(message)["attempts"]) == ([message], "0")
    seconds: tuple[int, int] = office.redis.time()
    wait = float(office.redis.zscore(OUTBOX, message)) - seconds[0]  # type: ignore[arg-type]
    assert 0 < wait <= REST_SECONDS + 1
    assert office.record(job).trouble is None
    office.make_due()
    office.receiver.answers.clear()  # the first request may have come too late for its answer
    assert office.sender().once() == "delivered"  # another worker's: for it the receiver does not rest


def test_a_rest_is_that_of_one_port(office: Office) -> None:
    office.cancelled()
    sender = office.sender()
    sender._resting[LOCAL, office.receiver.port + 1] = time.monotonic() + REST_SECONDS
    assert sender.once() == "delivered"


def test_a_silent_address_leaves_time_for_the_next_one() -> None:
    """A full queue of connections leaves requests for further ones without an answer."""
    with socket.create_server((LOCAL, 0)) as server, socket.socket() as silent, ExitStack() as stack:
        port = server.getsockname()[1]
        silent.bind(("127.0.0.2", port))
        silent.listen(0)
        for _ in range(2):
            client = stack.enter_context(socket.socket())
            client.setblocking(False)
            client.connect_ex(("127.0.0.2", port))
        with connect(["127.0.0.2", LOCAL], port, TimeLimit(4.0)) as connection:
            assert connection.getpeername() == (LOCAL, port)


def test_a_resolver_that_hangs_fails_at_the_time_limit(office: Office, caplog: pytest.LogCaptureFixture) -> None:
    office.cancelled()
    over = threading.Event()

    def resolve(*_: object) -> list[str]:
        over.wait(30)
        return [LOCAL]

    assert office.sender(seconds=0.2, resolve=resolve).once() == "failed"
    over.set()
    assert "did not answer within 0.2 s" in caplog.text


def test_of_a_huge_answer_almost_nothing_is_read(office: Office) -> None:
    office.cancelled()
    sent, ended = [0], threading.Event()

    def answer(handler: Handler) -> None:
        handler.wfile.write(b"HTTP/1.1 200 OK\r\n\r\n")
        try:
            for _ in range(400):
                sent[0] += handler.wfile.write(b"x" * 2**18)
        finally:
            ended.set()

    office.receiver.answers.append(answer)
    assert office.sender().once() == "delivered"
    assert ended.wait(30)
    assert sent[0] < 400 * 2**18


ANSWERS = {
    "no HTTP": (b"SSH-2.0-OpenSSH_9.6\r\n", "failed"),
    "an endless line": (b"HTTP/1.1 200 " + b"x" * 5000, "failed"),
    "nothing": (b"", "failed"),
    "no status": (b"HTTP/1.1 OK\r\n\r\n", "failed"),
    "an interim response only": (b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n", "failed"),
    "an interim response first": (b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\nHTTP/1.1 204 \r\n\r\n", "delivered"),
    "a status without a phrase": (b"HTTP/1.0 200\r\n\r\n", "delivered"),
    "a client's error": (b"HTTP/1.1 404 Not Found\r\n\r\n", "failed"),
}


@pytest.mark.parametrize("name", ANSWERS)
def test_unusual_answers(office: Office, name: str, caplog: pytest.LogCaptureFixture) -> None:
    answer, outcome = ANSWERS[name]
    office.cancelled()
    office.receiver.answers.append(raw(answer))
    assert office.sender().once() == outcome
    assert "OpenSSH" not in caplog.text
