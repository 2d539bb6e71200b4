"""The errors that a user can meet. Their messages are sentences for the user; this page shows the families.

    AcganError
        NotFound            a job, a checkpoint, a data set or a file does not exist
        Conflict            the state of something that exists does not allow the operation
        Unavailable         a part is missing, broken or overloaded: a later try may succeed
        InvalidInput        what the user gave cannot be used: it has to be changed
        TrainingFailed      the run cannot succeed, however long it trains

Each class has its own `code`, which never changes, and belongs to a family. Codes are unique. An error of files or of
the storage is an OSError too, because a caller that survives a failing disk survives it in the same way.

Messages name no requests, headers, commands or options: the API (app/problems/codes.py) and the commands
(app/cli/hints.py) add a hint for each code, with their own names.

Not in this tree: exceptions that only direct the program and are always caught, such as LeaseLost, FenceRejected,
Cancelled and Interrupted, and ValueErrors in validators of pydantic, which makes its own error of them.
"""


class AcganError(Exception):
    """The message is a sentence for the user. `data` are values that a hint may name, such as the job."""

    code: str = "error"

    def __init_subclass__(cls, code: str) -> None:
        super().__init_subclass__()
        cls.code = code

    def __init__(self, message: object = "", **data: object) -> None:
        super().__init__(message)
        self.data = data


class NotFound(AcganError, code="not-found"):
    """Something that is named does not exist."""


class Conflict(AcganError, code="conflict"):
    """The state of something that exists does not allow the operation."""


class Unavailable(AcganError, code="unavailable"):
    """A part is missing, broken or overloaded. `retry_after` is in seconds, if it is known."""

    retry_after: float | None = None


class InvalidInput(AcganError, code="invalid-input"):
    """What the user gave cannot be used."""


class TrainingFailed(AcganError, code="training-failed"):
    """This run cannot succeed, however long it trains. The message gives the reason and a remedy."""
