"""The errors of the client. Each message is one sentence, and safe to print.

    ClientError
        Unreachable         no response arrived
        NotUnderstood       the response is not from an acgan service
        Misconfigured       the environment or an argument cannot be used
        JobFailed           `wait`: the job failed or was cancelled
        WaitTimeout         `wait`: the job has not ended in time
        Refused             the service rejected the request
            NotFound        404
            Conflict        409
            InvalidInput    422, and other requests that can never succeed
            NotAllowed      401, 403, 421
            Unavailable     429, 502, 503, 504: a later try may succeed

A problem with a code raises the class of this code in acgan_client.problems, JobNotFound for example. It belongs to
one of the families above. If the client does not know the code, the status decides on the family.
"""

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from acgan_client.records import Dataset, Job
    from acgan_client.records.evaluations import Evaluation

LONGEST_MESSAGE = 2000  # characters
MOST_MISTAKES = 100


def printable(text: object) -> str:
    """Return the text with control, format and undecodable characters escaped, as in `\\x1b`."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in str(text))


def shortened(message: object) -> str:
    text = printable(message)
    return text if len(text) <= LONGEST_MESSAGE else f"{text[:LONGEST_MESSAGE]} ..."


class ClientError(Exception):
    """Base class. The message is one sentence of bounded length, with control characters escaped."""

    def __init__(self, message: object) -> None:
        super().__init__(shortened(message))


class Unreachable(ClientError):
    """No response arrived."""


class NotUnderstood(ClientError):
    """The response is not from an acgan service, or from one that is much newer than this client."""


class Misconfigured(ClientError):
    """A proxy or certificates in the environment, an argument, or a missing optional package prevents the call."""


class JobFailed(ClientError):
    """The job that `wait` waited for failed or was cancelled. `job` is its final record."""

    def __init__(self, job: "Job | Dataset | Evaluation") -> None:
        super().__init__(f"job {job.id} is {job.status}{f': {job.error}' if job.error else ''}")
        self.job = job


class WaitTimeout(ClientError, TimeoutError):
    """The job has not ended in the time given to `wait`. It continues."""


class Refused(ClientError):
    """The service rejected the request.

    The message is the problem's `detail`. `status` is the HTTP status; `code` the end of the problem's `type`, or that
    of the class; `mistakes` the invalid fields, each with `field` and `message`; `hint` the end of the message that
    names requests of the API, or empty; `retry_after` the seconds before a new try, for an Unavailable.
    """

    code: str = ""

    def __init__(
        self,
        status: int,
        detail: str,
        mistakes: Iterable[Mapping[str, Any]] = (),
        hint: str = "",
        retry_after: float = 0.0,
        code: str = "",
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.hint = shortened(hint)
        self.retry_after = retry_after
        self.code = code or type(self).code
        self.mistakes = [
            {str(name): printable(value)[:LONGEST_MESSAGE] for name, value in mistake.items()} for mistake in mistakes
        ][:MOST_MISTAKES]


class NotFound(Refused):
    """A job, a checkpoint, a data set, a file or a path does not exist."""

    code = "not-found"


class Conflict(Refused):
    """The state of something that exists does not allow the request."""

    code = "conflict"


class InvalidInput(Refused):
    """A field, parameter, header or body is invalid. `mistakes` lists the fields."""

    code = "invalid-input"


class NotAllowed(Refused):
    """The service needs a key, the key may not do this, or the service does not answer for this host name."""

    code = "not-allowed"


class Unavailable(Refused):
    """A part of the service is missing or overloaded. Retry after `retry_after` seconds."""

    code = "unavailable"


FAMILIES: dict[int, type[Refused]] = {
    **dict.fromkeys((400, 405, 406, 413, 415, 416, 422, 431), InvalidInput),
    **dict.fromkeys((401, 403, 421), NotAllowed),
    **dict.fromkeys((429, 502, 503, 504), Unavailable),
    404: NotFound,
    409: Conflict,
}
