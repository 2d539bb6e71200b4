"""The library of the Standard Webhooks project verifies our messages."""

import json
import time

import pytest

from tests.support.webhook_receiver import SECRET
from worker.jobs.outbox import Message
from worker.webhook_url import read_webhook_secrets
from worker.webhooks.payload import body_of, headers_of

pytestmark = pytest.mark.integrations
OLD_SECRET = "whsec_b2xkIHNlY3JldCBvZiBhdCBsZWFzdCAyNCBieXRlcw=="  # noqa: S105


@pytest.mark.parametrize("secret", [SECRET, OLD_SECRET])
def test_the_reference_library_accepts_a_message_and_refuses_a_changed_one(secret: str) -> None:
    from standardwebhooks import Webhook, WebhookVerificationError

    job = "20260131-120000123-00001c-9f3a61c2d4e58b07"
    message = Message(
        f"msg_{job}_1", job, "https://x/", "succeeded", time.time() - 5, 2, 1, time.time(), "training", "first"
    )
    body = body_of(message)
    headers = headers_of(message, body, read_webhook_secrets(f"{SECRET} {OLD_SECRET}"))
    webhook = Webhook(secret)
    assert webhook.verify(body, headers) == json.loads(body)
    for changed in (body + b" ", body.replace(b"succeeded", b"failed")):
        with pytest.raises(WebhookVerificationError):
            webhook.verify(changed, headers)
    late = headers | {"webhook-timestamp": str(int(headers["webhook-timestamp"]) - 1)}
    with pytest.raises(WebhookVerificationError):
        webhook.verify(body, late)
