"""The log configuration of every process: JSON for machines, sentences for people, no secrets.

Modules use the standard library's loggers. The context of lines (the request, the job, its epoch and fence token) is
bound as structlog's context variables, and appears in every line of that request or job.
"""

import logging
import re
import sys
from collections.abc import MutableMapping
from typing import Any, TextIO

from structlog.contextvars import merge_contextvars
from structlog.processors import JSONRenderer, TimeStamper, format_exc_info
from structlog.stdlib import ExtraAdder, ProcessorFormatter, add_log_level, add_logger_name

from models.bounded_reading import printable
from worker.observability import tracing
from worker.observability.redaction import hide, hide_password_of, mask, mask_fields
from worker.settings import WorkerSettings

Fields = MutableMapping[str, Any]

# Fields of a record's `extra` that are logged; other libraries add further ones.
FIELDS = ("method", "route", "status", "milliseconds", "peer", "path", "key_digest")
TALKATIVE = ("uvicorn", "uvicorn.error", "uvicorn.asgi", "asyncio", "multiprocessing")  # at info, only their warnings


def configure(settings: WorkerSettings) -> None:
    """Log to stderr, in the format and from the lowest level that the settings name."""
    hide_password_of(settings.redis_url)
    if settings.webhook_secret:
        hide(*settings.webhook_secret.get_secret_value().split())
    level = logging.getLevelNamesMapping()[settings.log_level.upper()]
    handler = logging.StreamHandler()
    handler.setFormatter(make_formatter(json=wants_json(settings)))
    logging.basicConfig(handlers=[handler], level=level, force=True)
    logging.captureWarnings(True)
    for name in TALKATIVE:
        logging.getLogger(name).setLevel(level if level <= logging.DEBUG else max(level, logging.WARNING))


def wants_json(settings: WorkerSettings, stream: TextIO | None = None) -> bool:
    if settings.log_format == "auto":
        return not (stream or sys.stderr).isatty()
    return settings.log_format == "json"


def make_formatter(json: bool) -> logging.Formatter:
    time = TimeStamper(fmt="iso", utc=True) if json else TimeStamper(fmt="%Y-%m-%d %H:%M:%S", utc=False)
    return Formatter(
        foreign_pre_chain=[merge_contextvars, add_trace, ExtraAdder(FIELDS), add_log_level, add_logger_name, time],
        processors=[
            ProcessorFormatter.remove_processors_meta,
            format_exc_info,
            mask_fields,
            JSONRenderer(default=str) if json else as_sentence,
        ],
    )


def add_trace(_logger: Any, _name: str, fields: Fields) -> Fields:
    """A structlog processor: add the id of the current trace, if there is one."""
    if trace_id := tracing.trace_id():
        fields["trace_id"] = trace_id
    return fields


class Formatter(ProcessorFormatter):
    def format(self, record: logging.LogRecord) -> str:
        """Return the line with secrets masked and control characters of foreign text escaped."""
        line = mask(super().format(record)).replace("\x7f", "\\u007f")  # JSON escapes all others
        return "\n".join(map(printable, line.split("\n")))


def as_sentence(_logger: Any, _name: str, fields: Fields) -> str:
    """Format a line for people: the message, then the fields whose values are not in the message."""
    time, level, logger, event, trace = (
        fields.pop(name, "") for name in ("timestamp", "level", "logger", "event", "exception")
    )
    more = " ".join(f"{name}={value}" for name, value in sorted(fields.items()) if not mentions(event, value))
    sentence = printable(str(event).rstrip())  # one line, so that no text can forge another
    line = f"{time} {level.upper()} {logger}: {sentence}"
    return "\n".join(part for part in (f"{line}  [{printable(more)}]" if more else line, trace) if part)


def mentions(sentence: str, value: object) -> bool:
    return re.search(rf"(?<![\w.-]){re.escape(str(value))}(?![\w-])", sentence) is not None
