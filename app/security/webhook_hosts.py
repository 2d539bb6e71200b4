"""Which addresses a request may name as receivers of messages about its job."""

from collections.abc import Collection

from models.errors import InvalidInput
from worker.webhook_url import read_webhook_url


class WebhookNotAllowed(InvalidInput, code="webhook-not-allowed"):
    """The operator does not allow this receiver, or any. The message does not contain the address."""


def check_webhook(address: str | None, hosts: Collection[str]) -> None:
    """Raises WebhookNotAllowed if the host of a valid address is not one of `hosts`."""
    if address is None:
        return
    if not hosts:
        raise WebhookNotAllowed("this service sends no webhooks, because its operator allows no receiver")
    host = read_webhook_url(address).host
    if host not in hosts:
        raise WebhookNotAllowed(f"{host[:80]} is not one of the hosts to which this service sends webhooks")
