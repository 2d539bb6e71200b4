"""Requests of a command to a service: the client, and its errors and the results of jobs as exit codes."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from app.cli.errors import CANCELLED, FAILED, UNAVAILABLE, fail, read_settings
from app.cli.hints import HINTS, with_hint

if TYPE_CHECKING:  # takes a while to load
    from acgan_client import Client, ClientError, Dataset, Evaluation, Job


@contextmanager
def service(url: str | None, key: str | None) -> Iterator["Client"]:
    """Yield a client. Its errors end the command with one sentence and exit code 2, or 4 if a later try may succeed."""
    settings = read_settings(url=url, key=key)

    from acgan_client import Client, ClientError, Unavailable, Unreachable

    secret = settings.key.get_secret_value() if settings.key else None
    try:
        with Client(settings.url, secret) as client:
            yield client
    except (Unreachable, Unavailable) as error:
        again = f" (retry in {error.retry_after:.0f} s)" if isinstance(error, Unavailable) else ""
        fail(f"{in_terms_of_commands(error)}{again}", UNAVAILABLE)
    except ClientError as error:
        fail(in_terms_of_commands(error))


def in_terms_of_commands(error: "ClientError") -> str:
    """Return the message; of a response of the service, with options in place of fields and commands as hints."""
    from acgan_client.errors import Refused, shortened

    if not isinstance(error, Refused):
        return str(error)
    if error.mistakes:
        return shortened(" ".join(f"{option(mistake['field'])}{mistake['message']}." for mistake in error.mistakes))
    if error.code in HINTS:
        return with_hint(error.code, str(error).removesuffix(error.hint).rstrip(" :"))
    return str(error)


def option(field: str) -> str:
    """Return the option of a field such as `body.batch_size`; an empty string for the body itself."""
    where, _, name = field.rpartition(".")
    return f"--{name.replace('_', '-')} " if where in ("body", "query") else f"{field}: " if field != "body" else ""


def exit_unless_succeeded(what: str, ended: "Job | Dataset | Evaluation") -> None:
    """Raises typer.Exit with the exit code for the result if a run or data set failed or was cancelled."""
    from acgan_client import JobStatus

    match ended.status:
        case JobStatus.FAILED:
            fail(f"{what} {ended.id} failed: {ended.error}", FAILED)
        case JobStatus.CANCELLED:
            fail(f"{what} {ended.id} was cancelled: resume it with `acgan resume {ended.id}`", CANCELLED)
