"""Which addresses a request may name as receivers of messages about its job."""

from collections.abc import Collection

from models.errors import InvalidInput
from worker.webhook_url import Endpoint, allows, read_webhook_url


class WebhookNotAllowed(InvalidInput, code="webhook-not-allowed"):
    """The operator does not allow this receiver, or any. The message does not contain the address."""


def check_webhook(address: str | None, receivers: Collection[Endpoint]) -> None:
    """Raises WebhookNotAllowed if host and port of a valid address are not one of `receivers`."""
    if address is None:
        return
    if not receivers:
        raise WebhookNotAllowed("this service sends no webhooks, because its operator allows no receiver")
    url = read_webhook_url(address)
    if not allows(receivers, url.host, url.port):
        raise WebhookNotAllowed(f"{url.authority[:80]} is not one of the hosts to which this service sends webhooks")
