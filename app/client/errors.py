"""What can go wrong between here and the service. Each message is one sentence, and safe to print."""

from collections.abc import Iterable, Mapping
from typing import Any

from models.bounded_reading import printable

LONGEST_MESSAGE = 2000  # characters
MOST_MISTAKES = 100


class ClientError(Exception):
    """The message is a sentence, of bounded length, with the control characters of a server's text escaped."""

    def __init__(self, message: object) -> None:
        text = printable(message)
        super().__init__(text if len(text) <= LONGEST_MESSAGE else f"{text[:LONGEST_MESSAGE]} ...")


class Unreachable(ClientError):
    """No answer came."""


class NotUnderstood(ClientError):
    """What answered is no service of ours, or one that is newer than this client."""


class Misconfigured(ClientError):
    """A variable of this machine stands in the way: it names a proxy or certificates that cannot be used."""


class Refused(ClientError):
    """The service refuses: the message is its own sentence, `status` its code, `mistakes` says each by itself."""

    def __init__(self, status: int, detail: str, mistakes: Iterable[Mapping[str, Any]]) -> None:
        super().__init__(detail)
        self.status = status
        self.mistakes = [
            {str(name): printable(value)[:LONGEST_MESSAGE] for name, value in mistake.items()} for mistake in mistakes
        ][:MOST_MISTAKES]


class Unavailable(Refused):
    """The service cannot answer now, or not so often: try again after `retry_after` seconds."""

    def __init__(self, status: int, detail: str, mistakes: Iterable[Mapping[str, Any]], retry_after: float) -> None:
        super().__init__(status, detail, mistakes)
        self.retry_after = retry_after
