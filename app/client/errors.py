"""The errors of the client. Each message is one sentence, and safe to print."""

from collections.abc import Iterable, Mapping
from typing import Any

from models.bounded_reading import printable

LONGEST_MESSAGE = 2000  # characters
MOST_MISTAKES = 100


class ClientError(Exception):
    """Base class. The message is one sentence of bounded length, with control characters escaped."""

    def __init__(self, message: object) -> None:
        text = printable(message)
        super().__init__(text if len(text) <= LONGEST_MESSAGE else f"{text[:LONGEST_MESSAGE]} ...")


class Unreachable(ClientError):
    """No response arrived."""


class NotUnderstood(ClientError):
    """The response is not from an acgan service, or from one newer than this client."""


class Misconfigured(ClientError):
    """An environment variable names a proxy or certificates that cannot be used, or an argument cannot be sent."""


class Refused(ClientError):
    """The service rejected the request: the message is its `detail`, `status` its status, `mistakes` its `errors`."""

    def __init__(self, status: int, detail: str, mistakes: Iterable[Mapping[str, Any]]) -> None:
        super().__init__(detail)
        self.status = status
        self.mistakes = [
            {str(name): printable(value)[:LONGEST_MESSAGE] for name, value in mistake.items()} for mistake in mistakes
        ][:MOST_MISTAKES]


class Unavailable(Refused):
    """The service is unavailable or the rate limit is exceeded. Retry after `retry_after` seconds."""

    def __init__(self, status: int, detail: str, mistakes: Iterable[Mapping[str, Any]], retry_after: float) -> None:
        super().__init__(status, detail, mistakes)
        self.retry_after = retry_after
