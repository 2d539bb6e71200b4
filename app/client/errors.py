"""The errors of the client. Each message is one sentence, and safe to print.

A request that the service rejects raises the class of the problem's code, REFUSED["job-not-found"] for example, whose
bases are a family below and Refused. If this client does not know the code, the status decides on the family.
"""

import types
from collections.abc import Iterable, Mapping
from typing import Any

from app.problems.codes import PREFIX, PROBLEMS
from models import errors
from models.bounded_reading import printable
from models.errors import AcganError

LONGEST_MESSAGE = 2000  # characters
MOST_MISTAKES = 100


def shortened(message: object) -> str:
    text = printable(message)
    return text if len(text) <= LONGEST_MESSAGE else f"{text[:LONGEST_MESSAGE]} ..."


class ClientError(AcganError, code="client-error"):
    """Base class. The message is one sentence of bounded length, with control characters escaped."""

    def __init__(self, message: object) -> None:
        super().__init__(shortened(message))


class Unreachable(ClientError, errors.Unavailable, code="service-unreachable"):
    """No response arrived."""


class NotUnderstood(ClientError, errors.Unavailable, code="response-not-understood"):
    """The response is not from an acgan service, or from one newer than this client."""


class Misconfigured(ClientError, errors.InvalidInput, code="client-misconfigured"):
    """An environment variable names a proxy or certificates that cannot be used, or an argument cannot be sent."""


class Refused(ClientError, code=""):
    """The service rejected the request: the message is its `detail`, `status` its status, `mistakes` its `errors`.

    `code` is the end of the problem's `type`, or empty; `hint` is the end of the message that names requests of the
    API, or empty.
    """

    def __init__(
        self, status: int, detail: str, mistakes: Iterable[Mapping[str, Any]] = (), hint: str = "", wait: float = 0.0
    ) -> None:
        """`wait` is the number of seconds before a new try."""
        super().__init__(detail)
        self.status = status
        self.hint = shortened(hint)
        self.retry_after = wait
        self.mistakes = [
            {str(name): printable(value)[:LONGEST_MESSAGE] for name, value in mistake.items()} for mistake in mistakes
        ][:MOST_MISTAKES]


class NotFound(Refused, errors.NotFound, code=""):
    """The service has nothing of this name."""


class Conflict(Refused, errors.Conflict, code=""):
    """The state of something that exists does not allow the request."""


class InvalidInput(Refused, errors.InvalidInput, code=""):
    """A field or parameter is invalid."""


class NotAllowed(Refused, errors.InvalidInput, code=""):
    """The service needs a key, or the role of the key does not allow the request."""


class Unavailable(Refused, errors.Unavailable, code=""):
    """The service is unavailable or the rate limit is exceeded. Retry after `retry_after` seconds."""

    retry_after: float


FAMILIES: dict[int, type[Refused]] = {
    401: NotAllowed,
    403: NotAllowed,
    404: NotFound,
    409: Conflict,
    422: InvalidInput,
    429: Unavailable,
    503: Unavailable,
}


def class_of(code: str) -> type[Refused]:
    name = "".join(word.capitalize() for word in code.split("-"))
    bases = (FAMILIES.get(PROBLEMS[code].status, Refused),)
    kind: type[Refused] = types.new_class(name, bases, {"code": code}, lambda body: body.update(__module__=__name__))
    return kind


REFUSED = {code: class_of(code) for code in PROBLEMS}


def refused_as(status: int, kind: object) -> type[Refused]:
    """Return the class for a status and a problem's `type`."""
    code = kind.removeprefix(PREFIX) if isinstance(kind, str) else ""
    is_known = code in PROBLEMS and PROBLEMS[code].status == status
    return REFUSED[code] if is_known else FAMILIES.get(status, Refused)
