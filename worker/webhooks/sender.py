"""Sends the messages of the outbox: a supervised thread in each Celery parent.

A message is sent at least once. It is sent again, with the same id, after a failure, and after a sender was lost before
it recorded the outcome.
"""

import logging
import random
import ssl
import threading
import time
from collections.abc import Collection, Sequence
from functools import partial

from worker.connection_errors import reason_of
from worker.jobs.errors import StoreUnavailable
from worker.jobs.outbox import Message, Outbox
from worker.lifecycle.retry import retry_until_stored
from worker.observability import metrics
from worker.observability.background_loops import Beat, Supervisor
from worker.settings import WorkerSettings
from worker.webhook_url import Endpoint, allows, read_webhook_secrets, read_webhook_url
from worker.webhooks.addresses import AddressRefused, Resolve, find_addresses, look_up
from worker.webhooks.exchange import NoAnswer, TimeLimit, post
from worker.webhooks.payload import body_of, headers_of

logger = logging.getLogger(__name__)

SECONDS = 10.0  # for an attempt, from the name to the status
LEASE_SECONDS = 3 * SECONDS
POLL_SECONDS = 1.0
FIRST_PAUSE, LONGEST_PAUSE = 5.0, 3600.0  # seconds between two attempts
REST_SECONDS = 30.0  # after a time limit: a silent receiver must not delay the messages of others
GIVE_UP_SECONDS = 24 * 3600.0
GONE = 410


POSTPONED = "postponed"


class ReceiverRests(Exception):
    """The receiver did not answer a recent attempt, and gets none for some seconds."""

    def __init__(self, seconds: float) -> None:
        super().__init__(seconds)
        self.seconds = seconds


class AttemptFailed(Exception):
    """An attempt failed. The message, a part of a sentence, contains no part of the address or of a response."""


def pause_after(attempt: int) -> float:
    """Return the seconds until the next attempt: exponential, with jitter, so that receivers are not flooded."""
    return min(LONGEST_PAUSE, FIRST_PAUSE * 2.0 ** min(attempt - 1, 20)) * random.uniform(0.5, 1.0)


class WebhookSender:
    """`receivers` are those that the operator allows, and `secrets` the keys that sign."""

    def __init__(
        self,
        outbox: Outbox,
        receivers: Collection[Endpoint],
        secrets: Sequence[bytes],
        context: ssl.SSLContext,
        resolve: Resolve = look_up,
        seconds: float = SECONDS,
    ) -> None:
        self.outbox = outbox
        self.receivers = receivers
        self.secrets = secrets
        self.context = context
        self.resolve = resolve
        self.seconds = seconds
        self._resting: dict[tuple[str, int], float] = {}  # host, port -> until when, in monotonic seconds
        self._over = threading.Event()

    @classmethod
    def of(cls, settings: WorkerSettings) -> "WebhookSender | None":
        """Return the sender that the settings describe; None if they allow no receiver."""
        if not settings.webhook_receivers or settings.webhook_secret is None:
            return None
        outbox = Outbox.connect(settings.redis_url, LEASE_SECONDS, LONGEST_PAUSE, GIVE_UP_SECONDS)
        secrets = read_webhook_secrets(settings.webhook_secret.get_secret_value())
        return cls(outbox, settings.webhook_receivers, secrets, ssl.create_default_context(cafile=settings.webhook_ca))

    def start(self, supervisor: Supervisor) -> None:
        supervisor.start_thread("webhooks", self._keep)

    def stop(self) -> None:
        self._over.set()

    def _keep(self, beat: Beat) -> None:
        while not self._over.is_set():
            try:
                has_sent, trouble = self.once() is not None, None
            except StoreUnavailable as error:
                has_sent, trouble = False, f"Redis: {error}"
            beat(trouble)
            if not has_sent:
                self._over.wait(POLL_SECONDS)

    def once(self) -> str | None:
        """Send the message that is due first. Returns the outcome; None if none is due. Raises StoreUnavailable."""
        message = self.outbox.claim()
        if message is None:
            return None
        outcome = self._send(message)
        if outcome != POSTPONED:  # no attempt was made
            metrics.tell(metrics.WEBHOOKS, 1, outcome)
        return outcome

    def _send(self, message: Message) -> str:
        try:
            status = self._attempt(message)
        except ReceiverRests as rest:
            self.outbox.postpone(message, rest.seconds)
            return POSTPONED
        except (AddressRefused, AttemptFailed) as failure:
            return self._put_back(message, str(failure), "refused" if isinstance(failure, AddressRefused) else "failed")
        if status == GONE:
            logger.warning("job %s: the receiver of its webhook is gone (410); %s ends", message.job, message.id)
        else:
            logger.info("job %s: message %s is delivered, attempt %d", message.job, message.id, message.attempt)
        retry_until_stored(partial(self.outbox.finish, message))  # else it would be sent again
        return "gone" if status == GONE else "delivered"

    def _put_back(self, message: Message, failure: str, outcome: str) -> str:
        trouble = f"the message about its end could not be delivered for {GIVE_UP_SECONDS / 3600:.0f} h: {failure}"
        if self.outbox.put_back(message, pause_after(message.attempt), trouble):
            logger.error("job %s: %s is given up: %s", message.job, message.id, failure)
            return "given_up"
        logger.warning("job %s: attempt %d of %s failed: %s", message.job, message.attempt, message.id, failure)
        return outcome

    def _attempt(self, message: Message) -> int:
        """Return the status 2xx or 410. Raises AddressRefused, ReceiverRests and AttemptFailed."""
        limit = TimeLimit(self.seconds)
        try:
            url = read_webhook_url(message.url)
        except ValueError as error:
            raise AttemptFailed(f"its address {error}") from None
        if not allows(self.receivers, url.host, url.port):
            raise AddressRefused("its host and port are not among those that the operator allows")
        rest = self._resting.get((url.host, url.port), 0.0) - time.monotonic()
        if rest > 0:
            raise ReceiverRests(rest)
        body = body_of(message)
        try:
            addresses = find_addresses(url.host, url.port, self.receivers, limit.left, self.resolve)
            headers = headers_of(message, body, self.secrets)
            status = post(url, addresses, headers, body, self.context, limit)
        except ssl.SSLCertVerificationError as error:
            raise AttemptFailed(f"the certificate of the receiver is not valid: {error.verify_message}") from None
        except TimeoutError:
            self._resting[url.host, url.port] = time.monotonic() + REST_SECONDS
            raise AttemptFailed(f"the receiver did not answer within {self.seconds:g} s") from None
        except NoAnswer:
            raise AttemptFailed("the receiver sent no answer in the form of HTTP/1.1") from None
        except OSError as error:
            raise AttemptFailed(f"the receiver cannot be reached: {reason_of(error)}") from None
        if status == GONE or status // 100 == 2:
            return status
        raise AttemptFailed(f"the receiver answered {status}")
