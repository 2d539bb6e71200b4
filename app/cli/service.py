"""Requests of a command to a service: the client, and its errors and the results of jobs as exit codes."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from app.cli.errors import CANCELLED, FAILED, UNAVAILABLE, fail, read_settings

if TYPE_CHECKING:  # takes a while to load
    from acgan_client import Client, Dataset, Job, Refused


@contextmanager
def service(url: str | None, key: str | None) -> Iterator["Client"]:
    """Yield a client. Its errors end the command with one sentence and exit code 2, or 4 if a later try may succeed."""
    settings = read_settings(url=url, key=key)

    from acgan_client import Client, ClientError, Refused, Unavailable, Unreachable

    secret = settings.key.get_secret_value() if settings.key else None
    try:
        with Client(settings.url, secret) as client:
            yield client
    except (Unreachable, Unavailable) as error:
        again = f" (retry in {error.retry_after:.0f} s)" if isinstance(error, Unavailable) else ""
        fail(f"{error}{again}", UNAVAILABLE)
    except ClientError as error:
        fail(with_option_names(error) if isinstance(error, Refused) else str(error))


def with_option_names(error: "Refused") -> str:
    """Return the service's message with options in place of fields, and commands in place of paths."""
    if error.status == 401:
        return f"{error} Pass it as --key KEY or in ACGAN_KEY."
    message = str(error)
    for mistake in error.mistakes:
        where, _, field = mistake["field"].rpartition(".")
        if where in ("body", "query"):
            message = message.replace(f"{where}.{field}: ", f"--{field.replace('_', '-')} ")
    message = message.removeprefix("body: ")
    for address, command in (("/jobs", "jobs"), ("/checkpoints", "checkpoints")):
        message = message.replace(f"see GET {address}", f"see `acgan {command}`")
        message = message.replace(f"GET {address} lists", f"`acgan {command}` lists")
    return message


def exit_unless_succeeded(what: str, ended: "Job | Dataset") -> None:
    """Raises typer.Exit with the exit code for the result if a run or data set failed or was cancelled."""
    from acgan_client import JobStatus

    match ended.status:
        case JobStatus.FAILED:
            fail(f"{what} {ended.id} failed: {ended.error}", FAILED)
        case JobStatus.CANCELLED:
            fail(f"{what} {ended.id} was cancelled: resume it with `acgan resume {ended.id}`", CANCELLED)
