"""Shared by all commands: consoles, settings, and user errors as one sentence. Imports no heavy modules."""

import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_args

import typer
from pydantic import BaseModel, SecretStr, ValidationError
from rich.table import Table

from app.cli.output import SafeConsole, escape_json, write_line
from app.problems.validation_messages import but_is, reason
from models.bounded_reading import printable
from worker.observability.redaction import mask

if TYPE_CHECKING:  # takes a while to load
    from app.settings import AppSettings

WIDE = 1000  # columns of a table in a pipe, so that no row is wrapped
FAILED = 1  # the exit code if a run fails
MISTAKE = 2  # the exit code of an error that the user can correct: docs/commands.md lists all

console = SafeConsole()
errors = SafeConsole(stderr=True)

Commands = dict[str, Callable[..., None]]
Home = Annotated[Path | None, typer.Option(help="Folder for checkpoints, Redis and caches [ACGAN_HOME, or .acgan].")]
RunsOnOption = Annotated[
    str, typer.Option("--runs-on", help="`any` worker, or only workers without a GPU (`cpu`) or with one (`gpu`).")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def read_settings(**given: Any) -> "AppSettings":
    """Read the environment. Values from the command line take precedence."""
    from app.settings import AppSettings

    with mistakes_in_a_sentence(ValidationError):
        return AppSettings(**{name: value for name, value in given.items() if value is not None})


@contextmanager
def mistakes_in_a_sentence(*kinds: type[Exception]) -> Iterator[None]:
    """End the command with one sentence and exit code 2 if an error of these `kinds` is raised."""
    try:
        yield
    except kinds as error:
        complain(describe_mistake(error))
        raise typer.Exit(MISTAKE) from None


def check_place(file: Path | None) -> None:
    """End the command if a file cannot be written, before its content is computed, which takes a while."""
    if file is None:
        return
    if not file.parent.is_dir():
        complain(f"there is no folder {file.parent} to write {file.name} into")
    elif file.is_dir():
        complain(f"{file} is a folder: name a file to write")
    elif not os.access(file if file.exists() else file.parent, os.W_OK):
        complain(f"{file} is not writable")
    else:
        return
    raise typer.Exit(MISTAKE)


def check_folder(out: Path | None) -> None:
    """End the command if a folder cannot be created or written."""
    if out is None:
        return
    there = next(path for path in (out, *out.parents) if path.exists())
    if not there.is_dir() or not os.access(there, os.W_OK):
        why = f"{there} is not a folder" if not there.is_dir() else f"{there}/ is not writable"
        complain(f"{out}/ cannot be created: {why}" if there != out else why)
        raise typer.Exit(MISTAKE)


@contextmanager
def writing(out: Path) -> Iterator[None]:
    """End the command with one sentence if the file or folder cannot be written."""
    try:
        yield
    except OSError as error:
        complain(f"{out} cannot be written: {error.strerror}")
        raise typer.Exit(MISTAKE) from None


def complain(sentence: str) -> None:
    errors.print(f"acgan: {printable(sentence)}", style="red", highlight=False, soft_wrap=True)


def tell(sentence: str) -> None:
    console.print(printable(sentence), highlight=False, soft_wrap=True)


def tell_table(table: Table) -> None:
    """Print a table. In pipes no row is wrapped, so that grep finds whole rows."""
    (console if console.is_terminal else SafeConsole(width=WIDE)).print(table)


def tell_record(record: BaseModel, as_json: bool, sentence: str) -> None:
    if as_json:
        tell_json(record.model_dump(mode="json"))
    else:
        tell(sentence)


def tell_json(value: Any) -> None:
    """Print JSON on one line, for `jq` and `while read`."""
    write_line(escape_json(json.dumps(value, ensure_ascii=False)))


def describe_mistake(error: Exception) -> str:
    if not isinstance(error, ValidationError):
        return str(error)
    found = error.errors()[0]
    if not found["loc"]:
        return reason(found)
    where = ".".join(str(part) for part in found["loc"])
    if error.title == "AppSettings":
        name = f"{where} (ACGAN_{where.upper()})"
        given = found["input"]
        value = mask(given) if isinstance(given, str) else given  # passwords in addresses
        return f"{name} {mask(reason(found))}" + ("" if where in secrets() else but_is(value))
    return f"--{where.replace('_', '-')} {reason(found)}{but_is(found['input'])}"


def secrets() -> set[str]:
    from app.settings import AppSettings

    return {name for name, field in AppSettings.model_fields.items() if SecretStr in get_args(field.annotation)}
