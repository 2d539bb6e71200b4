"""The sender, over real HTTPS: what it sends, to whom, what it accepts as delivered, and what it does else."""

import base64
import hashlib
import hmac
import json
import logging
import socket
import subprocess
import sys
import threading
import time
from datetime import datetime

import pytest

from models.version import code_version
from tests.conftest import RunningRedis
from tests.support.webhook_receiver import SECRET, Handler, Receiver, raw, status
from tests.worker.conftest import until
from tests.worker.jobs.test_operations import clock_of_redis
from tests.worker.webhooks.conftest import LOCAL, Office
from worker.jobs.consumer import JobConsumer
from worker.jobs.keys import MESSAGE_PREFIX, OUTBOX, job_key
from worker.jobs.loop_states import RUNNING
from worker.jobs.model import JobStatus
from worker.jobs.outbox import Outbox
from worker.observability.background_loops import Supervisor
from worker.webhooks import sender as sender_module
from worker.webhooks.sender import FIRST_PAUSE, LONGEST_PAUSE, pause_after


def test_a_message_has_the_form_of_standard_webhooks(office: Office) -> None:
    job = office.accept(office.receiver.url(target="/hook?token=abcdef"))
    claim = office.consumer.claim()
    assert claim is not None
    office.redis.hset(f"{job_key(job.id)}:epochs", "2", "{}")
    office.redis.hset(f"{job_key(job.id)}:epochs", "10", "{}")
    office.consumer.finish(claim, JobStatus.SUCCEEDED)
    (message,) = office.messages()
    ended_at = float(office.fields(message)["ended_at"])
    assert office.sender().once() == "delivered"
    (received,) = office.receiver.received
    assert received.path == "/hook?token=abcdef"
    headers = received.headers
    assert headers["webhook-id"] == message
    assert abs(int(headers["webhook-timestamp"]) - time.time()) < 60
    signed = f"{message}.{headers['webhook-timestamp']}.".encode() + received.body
    digest = hmac.new(base64.b64decode(SECRET.removeprefix("whsec_")), signed, hashlib.sha256).digest()
    assert headers["webhook-signature"] == f"v1,{base64.b64encode(digest).decode()}"
    assert headers["user-agent"] == f"acgan/{code_version()}"
    assert headers["content-type"] == "application/json"
    assert headers["host"] == f"{LOCAL}:{office.receiver.port}"
    body = json.loads(received.body)
    assert datetime.fromisoformat(body.pop("timestamp")).timestamp() == pytest.approx(ended_at, abs=1e-5)
    checkpoint = f"{job.id}-e010"
    assert body == {
        "type": "job.succeeded",
        "data": {
            "id": job.id,
            "name": "first try",
            "kind": "training",
            "status": "succeeded",
            "checkpoint": checkpoint,
            "dataset": None,
            "links": {"job": f"/jobs/{job.id}", "checkpoint": f"/checkpoints/{checkpoint}"},
        },
    }


def test_a_delivered_message_is_never_sent_again(office: Office) -> None:
    office.cancelled()
    sender = office.sender()
    assert sender.once() == "delivered"
    assert office.messages() == []
    assert sender.once() is None
    assert office.redis.keys(f"{MESSAGE_PREFIX}*") == []
    assert len(office.receiver.received) == 1


def test_after_two_failures_the_third_attempt_has_the_same_id_and_body(
    office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sender_module, "FIRST_PAUSE", 600.0)  # no attempt is due before the test says so
    job = office.cancelled()
    office.receiver.answers += [status(500), status(503)]
    sender = office.sender()
    for outcome in ("failed", "failed", "delivered"):
        assert sender.once() == outcome
        assert sender.once() is None  # it waits
        office.make_due()
    first, *others = office.receiver.received
    assert len(others) == 2
    assert {(each.headers["webhook-id"], each.body) for each in others} == {(first.headers["webhook-id"], first.body)}
    assert office.record(job).trouble is None


def test_pauses_grow_and_are_bounded() -> None:
    for attempt in (1, 2, 5, 100, 10_000):
        longest = min(LONGEST_PAUSE, FIRST_PAUSE * 2.0 ** min(attempt - 1, 20))
        pauses = [pause_after(attempt) for _ in range(100)]
        assert longest / 2 <= min(pauses) < max(pauses) <= longest


def test_a_failed_attempt_waits_by_the_clock_of_redis(office: Office) -> None:
    office.cancelled()
    office.receiver.answers.append(status(500))
    began = clock_of_redis(office.consumer)
    office.sender().once()
    ended = clock_of_redis(office.consumer)
    (message,) = office.messages()
    due = float(office.redis.zscore(OUTBOX, message))  # type: ignore[arg-type]
    assert began + FIRST_PAUSE / 2 <= due + 0.001
    assert due - 0.001 <= ended + FIRST_PAUSE


def test_a_receiver_that_is_gone_gets_no_further_message(office: Office) -> None:
    office.cancelled()
    office.receiver.answers.append(status(410))
    assert office.sender().once() == "gone"
    assert office.messages() == []


def test_after_a_day_of_failures_a_message_is_given_up(office: Office) -> None:
    job = office.cancelled()
    (message,) = office.messages()
    for hours, outcome in ((23, "failed"), (25, "given_up")):
        office.redis.hset(MESSAGE_PREFIX + message, "ended_at", time.time() - hours * 3600)
        office.receiver.answers.append(status(500))
        office.make_due()
        assert office.sender().once() == outcome
    assert office.messages() == []
    trouble = "the message about its end could not be delivered for 24 h: the receiver answered 500"
    assert office.record(job).trouble == trouble


def test_a_port_that_is_not_listed_gets_no_connection(office: Office) -> None:
    """Otherwise one caller could name many ports that do not answer, each of which delays the messages of others."""
    with socket.create_server((LOCAL, 0)) as silent:
        job = office.cancelled(f"https://{LOCAL}:{silent.getsockname()[1]}/")
        sender = office.sender()
        assert sender.once() == "refused"
        silent.settimeout(0)
        with pytest.raises(BlockingIOError):
            silent.accept()
    assert sender._resting == {}
    assert office.record(job).trouble is None


def test_giving_up_keeps_the_trouble_of_the_job_and_leaves_a_resumed_job_alone(office: Office) -> None:
    office.receiver.answers += [status(500)] * 2
    damaged, resumed = office.cancelled(), office.cancelled()
    office.redis.hset(job_key(damaged.id), "trouble", "a file is damaged")
    office.ask_jobs(lambda jobs: jobs.resume(resumed.id))
    sender = office.sender(outbox=office.outbox(give_up_seconds=0.0))
    assert [sender.once(), sender.once(), sender.once()] == ["given_up", "given_up", None]
    assert str(office.record(damaged).trouble).startswith("a file is damaged; the message about its end")
    assert office.redis.hget(job_key(resumed.id), "trouble") is None


SEND_ONE = """
import ssl, sys
from worker.jobs.consumer import JobConsumer
from worker.jobs.outbox import Outbox
from worker.webhook_url import Endpoint
from worker.webhooks.sender import WebhookSender
context = ssl.create_default_context(cafile=sys.argv[2])
outbox = Outbox(JobConsumer.connect(sys.argv[1]).redis, 1.0, 3600.0, 86400.0)
WebhookSender(outbox, {Endpoint("127.0.0.1", int(sys.argv[3]))}, [b"0" * 24], context).once()
"""


def test_a_sender_that_is_killed_after_the_request_leaves_the_message_to_another(
    office: Office, redis_url: str
) -> None:
    """The receiver has the message, and the outcome is not recorded: it is sent again, with the same id."""
    office.cancelled()
    over = threading.Event()

    def wait(_handler: Handler) -> None:
        over.wait(60)

    office.receiver.answers.append(wait)
    words = [redis_url, str(office.receiver.ca), str(office.receiver.port)]
    process = subprocess.Popen([sys.executable, "-c", SEND_ONE, *words])
    try:
        until(lambda: len(office.receiver.received) == 1, 60)
    finally:
        process.kill()
        process.wait()
        over.set()
    until(lambda: office.sender().once() == "delivered")
    first, second = office.receiver.received
    assert first.headers["webhook-id"] == second.headers["webhook-id"]
    assert first.body == second.body
    assert office.messages() == []


def test_a_delivered_message_is_not_sent_again_after_an_outage_of_redis(
    mortal_redis: RunningRedis, receiver: Receiver
) -> None:
    """Redis is lost between the response and the record of it."""
    office = Office(mortal_redis.ask, JobConsumer.connect(mortal_redis.url), receiver)
    office.cancelled()

    def answer(handler: Handler) -> None:
        mortal_redis.kill()
        status(204)(handler)

    receiver.answers.append(answer)
    sent: list[str | None] = []
    sender = threading.Thread(target=lambda: sent.append(office.sender().once()))
    sender.start()
    until(lambda: mortal_redis.process.poll() is not None)
    mortal_redis.start()
    sender.join(30)
    assert sent == ["delivered"]
    office.make_due()
    assert office.sender().once() is None
    assert len(receiver.received) == 1


def test_neither_the_secret_nor_the_query_is_logged(office: Office, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    office.cancelled(office.receiver.url(target="/hook?token=abcdef"))
    for answer, outcome in ((status(500), "failed"), (raw(b"x"), "failed"), (status(204), "delivered")):
        office.receiver.answers.append(answer)
        assert office.sender().once() == outcome
        office.make_due()
    assert "is delivered" in caplog.text
    assert "abcdef" not in caplog.text
    assert SECRET.removeprefix("whsec_") not in caplog.text


def test_the_loop_sends_what_is_due_and_reports_an_outage_of_redis(office: Office) -> None:
    supervisor, sender = Supervisor(), office.sender()
    sender.start(supervisor)
    try:
        office.cancelled()
        until(lambda: len(office.receiver.received) == 1 and office.messages() == [])  # and Redis knows
        assert supervisor.report() == {"webhooks": RUNNING}
        sender.outbox = Outbox.connect("redis://127.0.0.1:9/0", 30.0, 3600.0, 86400.0)
        until(lambda: supervisor.report()["webhooks"].startswith("Redis: "))
        sender.outbox = office.outbox()
        until(lambda: supervisor.report()["webhooks"] == RUNNING)
    finally:
        sender.stop()
        supervisor.stop()
