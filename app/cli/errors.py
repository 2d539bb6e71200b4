"""Errors of commands: one sentence on stderr, and an exit code. Imports no heavy modules."""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, get_args

import typer
from pydantic import SecretStr, ValidationError

from app.cli.display.output import SafeConsole, is_output_failure
from app.cli.hints import with_hint
from app.problems.validation_messages import but_is, reason
from models.bounded_reading import printable
from models.errors import AcganError
from models.proxies import without_credentials
from models.synthesis.layouts.table import LAYOUTS
from worker.observability.redaction import mask

if TYPE_CHECKING:  # takes a while to load
    from app.settings import AppSettings

# Exit codes: docs/commands.md lists all of them.
FAILED = 1  # the run failed
USER_ERROR = 2  # an error that the user can correct
CANCELLED = 3  # the run was cancelled
UNAVAILABLE = 4  # the service does not respond, or not yet
INTERRUPTED = 130  # Ctrl-C

OTHER_SYSTEM = (
    "the service runs on Linux, macOS and (in WSL) Windows, but this system has no {name}. All other commands work "
    "here."
)

BEFORE_AT = re.compile(r"\S+@")  # in a message: perhaps a password

error_console = SafeConsole(stderr=True)


def print_error(sentence: str) -> None:
    """Print `error:` and one sentence on stderr."""
    error_console.print(f"error: {printable(sentence)}", style="red", highlight=False, soft_wrap=True)


def print_note(sentence: str) -> None:
    """Print one sentence on stderr that is no error."""
    error_console.print(printable(sentence), style="yellow", highlight=False, soft_wrap=True)


def fail(sentence: str, code: int = USER_ERROR) -> NoReturn:
    """End the command with one sentence on stderr. Raises typer.Exit with the exit code."""
    print_error(sentence)
    raise typer.Exit(code) from None


def stop(sentence: str) -> NoReturn:
    """End the command after Ctrl-C, with one sentence on stderr that says what continues. Raises typer.Exit."""
    print_note(f"stopped: {sentence}")
    raise typer.Exit(INTERRUPTED) from None


@contextmanager
def interruptible(sentence: str) -> Iterator[None]:
    """End the command with one sentence, and exit code 130, on Ctrl-C."""
    try:
        yield
    except KeyboardInterrupt:
        stop(sentence)


@contextmanager
def fail_on(*others: type[Exception]) -> Iterator[None]:
    """End the command with one sentence and exit code 2 if an AcganError or one of the `others` is raised."""
    kinds: tuple[type[Exception], ...] = (AcganError, *others)
    try:
        yield
    except kinds as error:
        fail(error_sentence(error))


def error_sentence(error: Exception) -> str:
    if isinstance(error, AcganError):
        return with_hint(error.code, str(error))
    if isinstance(error, OSError) and error.strerror:
        return system_sentence(error)
    if not isinstance(error, ValidationError):
        return str(error)
    first = error.errors()[0]
    if not first["loc"]:
        return reason(first)
    where = ".".join(str(part) for part in first["loc"])
    if error.title == "AppSettings":
        name = f"{where} (ACGAN_{where.upper()})"
        given = first["input"]
        value = mask(without_credentials(given)) if isinstance(given, str) and "@" in given else given
        sentence = f"{name} {mask(BEFORE_AT.sub('***@', reason(first)))}"
        return sentence if where in secrets() else sentence + but_is(value)
    return f"--{where.replace('_', '-')} {reason(first)}{but_is(first['input'])}"


def system_sentence(error: OSError) -> str:
    """Return a sentence with the file that the operating system refused, if the error has it."""
    if (file := error.filename2 or error.filename) is not None:
        return f"{file} cannot be used: {error.strerror}"
    what = "the output cannot be written" if is_output_failure(error) else "the operating system reports"
    return f"{what}: {error.strerror}"


def secrets() -> set[str]:
    from app.settings import AppSettings

    return {name for name, field in AppSettings.model_fields.items() if SecretStr in get_args(field.annotation)}


def read_settings(**given: Any) -> "AppSettings":
    """Read the environment. Values from the command line take precedence."""
    from app.settings import AppSettings

    with fail_on(ValidationError):
        settings = AppSettings(**{name: value for name, value in given.items() if value is not None})
    if given.get("home") is not None and not (existing := existing_part(settings.home)).is_dir():
        fail(f"{settings.home}/ cannot be used: {existing} is not a folder. Choose another one with --home")
    return settings


def require_posix() -> None:
    """End the command with one sentence if the system lacks the process control that the service needs."""
    for name in ("fcntl", "resource"):
        try:
            import_module(name)
        except ImportError:
            fail(OTHER_SYSTEM.format(name=name))


def require_keras() -> None:
    """End the command with one sentence if the library that reads and writes Keras files is not installed."""
    try:
        import_module("models.interop.keras")
    except ModuleNotFoundError as error:
        fail(f"Keras weights need the package {error.name}: pip install 'acgan[keras]'")


def check_layout(layout: str) -> None:
    """End the command if there is no such layout of data sets."""
    if layout not in LAYOUTS:
        fail(f"--layout should be one of {', '.join(LAYOUTS)}, not {layout!r}")


def check_output_file(file: Path | None) -> None:
    """End the command if a file cannot be written, before its content is computed, which takes a while."""
    if file is None:
        return
    if not file.parent.is_dir():
        fail(f"there is no folder {file.parent} to write {file.name} into")
    if file.is_dir():
        fail(f"{file} is a folder: name a file to write")
    if not os.access(file if file.exists() else file.parent, os.W_OK):
        fail(f"{file} is not writable")


def check_output_folder(out: Path | None) -> None:
    """End the command if a folder cannot be created or written."""
    if out is None:
        return
    existing = existing_part(out)
    if not existing.is_dir() or not os.access(existing, os.W_OK):
        why = f"{existing} is not a folder" if not existing.is_dir() else f"{existing}/ is not writable"
        fail(f"{out}/ cannot be created: {why}" if existing != out else why)


def existing_part(path: Path) -> Path:
    """Return the path, or the nearest of its parents that exists; the path if there is none, as on a missing drive."""
    return next((each for each in (path, *path.parents) if each.exists()), path)


@contextmanager
def writing(out: Path) -> Iterator[None]:
    """End the command with one sentence if the file or folder cannot be written."""
    try:
        yield
    except OSError as error:
        fail(f"{out} cannot be written: {error.strerror}")
