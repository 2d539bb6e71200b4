"""Safe output: text from a server, a file or a record can neither control the terminal nor end the command.

Control characters are escaped, brackets are no markup, and characters that the encoding lacks are replaced.
"""

import errno
import json
import os
import sys
from collections.abc import Iterable
from contextlib import suppress
from io import TextIOWrapper
from typing import Any, NoReturn, TextIO

from pydantic import BaseModel
from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.text import Text

from models.bounded_reading import printable

READER_GONE = 141  # the exit code of a program that SIGPIPE terminated
OUTPUT_FAILED = 1
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EFBIG)


class SafeConsole(Console):
    """A console that prints no control characters except its own. Markup is text unless a call enables it."""

    def __init__(self, stderr: bool = False, width: int | None = None) -> None:
        super().__init__(stderr=stderr, width=width, markup=False)

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        for segment in super().render(renderable, options):
            if segment.control or segment.text.isprintable():
                yield segment
            else:
                yield Segment(in_lines(segment.text), segment.style)


def in_lines(text: str) -> str:
    """Return the text with control characters escaped, except for its line breaks."""
    return "\n".join(printable(line) for line in text.split("\n"))


def cell(value: object, style: str = "") -> Text:
    """Return a cell of a table: one line of text, without markup."""
    return Text(printable(value), style)


def write_line(text: str) -> None:
    """Print text without styles, for other programs. It must have no control characters except line breaks."""
    if getattr(sys, "stdout", None) is None:  # closed, as by `>&-`
        return
    try:
        sys.stdout.write(f"{text}\n")
        sys.stdout.flush()
    except BrokenPipeError:
        end_quietly()


def escape_json(text: str) -> str:
    """Escape the characters of JSON that a terminal does not print or the encoding of the output lacks."""
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    if text.isprintable() and can_encode(text, encoding):
        return text
    return "".join(c if c == "\n" or (c.isprintable() and can_encode(c, encoding)) else _escaped(c) for c in text)


def _escaped(character: str) -> str:
    units = character.encode("utf-16-be", "surrogatepass").hex()
    return "".join(f"\\u{units[at : at + 4]}" for at in range(0, len(units), 4))


def can_encode(text: str, encoding: str) -> bool:
    try:
        text.encode(encoding)
    except (UnicodeEncodeError, LookupError):
        return False
    return True


# ----------------------------------------------------------------------------
# What commands print on stdout.

console = SafeConsole()


def print_sentence(sentence: str) -> None:
    console.print(printable(sentence), highlight=False, soft_wrap=True)


def print_record(record: BaseModel, as_json: bool, sentence: str) -> None:
    if as_json:
        print_json(record.model_dump(mode="json"))
    else:
        print_sentence(sentence)


def print_json(value: Any) -> None:
    """Print JSON on one line, for `jq` and `while read`."""
    write_line(escape_json(json.dumps(value, ensure_ascii=False)))


# ----------------------------------------------------------------------------
# For the entry point of every command.


def protect_streams() -> None:
    """Replace characters that a stream cannot encode, and exit quietly if the reader of a pipe has closed it."""
    for stream, errors in ((sys.stdout, "replace"), (sys.stderr, "backslashreplace")):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors=errors)
    Console.on_broken_pipe = lambda _console: end_quietly()  # type: ignore[assignment, method-assign]  # also used by typer's help


def end_quietly() -> NoReturn:
    """End the command because the reader of its output has closed the pipe. Raises SystemExit."""
    for stream in (sys.stdout, sys.stderr):
        if not _can_flush(stream):
            _discard(stream)
    raise SystemExit(READER_GONE)


def finish_streams() -> None:
    """Flush stdout, so that the interpreter reports no error when it exits. Raises SystemExit."""
    if not _can_flush(sys.stdout):
        end_quietly()


def is_output_failure(error: OSError) -> bool:
    """Return whether stdout could not be written, for example on a full disk."""
    return error.filename is None and error.errno in FULL


def _can_flush(stream: TextIO) -> bool:
    try:
        stream.flush()
    except (BrokenPipeError, ValueError):
        return False
    except AttributeError:  # there is no such stream
        return True
    return True


def _discard(stream: TextIO) -> None:
    with suppress(OSError, ValueError, AttributeError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)
