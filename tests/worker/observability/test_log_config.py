"""A log line: its fields, its two formats, and the secrets that it hides."""

import json
import logging
import sys
from collections.abc import Iterator

import pytest
from structlog.contextvars import bound_contextvars

from worker.observability import redaction
from worker.observability.log_config import make_formatter, wants_json
from worker.settings import WorkerSettings


@pytest.fixture(autouse=True)
def nothing_known() -> Iterator[None]:
    known = set(redaction._known)
    yield
    redaction._known.clear()
    redaction._known.update(known)


def line(message: str, *args: object, as_json: bool = True, **extra: object) -> str:
    record = logging.LogRecord("app.somewhere", logging.WARNING, "file.py", 1, message, args, sys.exc_info())
    vars(record).update(extra)
    return make_formatter(json=as_json).format(record)


def test_a_json_line_is_an_object_with_its_context() -> None:
    with bound_contextvars(job="20260131-120000-1a2b3c", epoch=3, fence=7, request_id="mine"):
        result = json.loads(line("%s of %d\nlines", "two", 2, status=404, color_message="of another library"))
    assert result.pop("timestamp").endswith("Z")
    assert result == {
        "event": "two of 2\nlines",
        "level": "warning",
        "logger": "app.somewhere",
        "job": "20260131-120000-1a2b3c",
        "epoch": 3,
        "fence": 7,
        "request_id": "mine",
        "status": 404,
    }
    assert "\n" not in line("two\nlines")


def test_a_text_line_repeats_nothing() -> None:
    with bound_contextvars(job="20260131-120000-1a2b3c", fence=7):
        result = line("job %s starts", "20260131-120000-1a2b3c", as_json=False)
    assert result.endswith(" WARNING app.somewhere: job 20260131-120000-1a2b3c starts  [fence=7]")
    assert line("all is said", as_json=False).endswith(": all is said")


@pytest.mark.parametrize("as_json", [True, False])
def test_a_traceback_is_logged_without_local_values(as_json: bool) -> None:
    hidden = "sesame-" + "open"
    try:
        raise ValueError(f"cannot reach redis://:{hidden}@host/0")
    except ValueError:
        result = line("failed", as_json=as_json)
    assert "Traceback" in result
    assert "ValueError: cannot reach redis://***@host/0" in result
    assert hidden not in result


@pytest.mark.parametrize(
    "said",
    [
        "redis://:sesame@localhost:6379/0",
        "rediss://user:sesame@localhost",
        "https://user:p@sesame@host/path",
        "redis://:ab/sesame@localhost:6379/0",
        "redis://:it's/\"sesame@localhost",
        "https://host:80/?next=redis://:sesame@host",
        "Authorization: Bearer sesame",
        "authorization=Basic sesame",
        "sent {'Authorization': 'Bearer sesame'}",
        "sent [(b'authorization', b'Bearer sesame'), (b'x-api-key', b'sesame')]",
        'sent {"X-API-Key": "sesame"}',
        "X-API-Key: sesame",
        "GET /digits/7?n=1&api_key=sesame&seed=4",
        "bearer sesame-and-more",
        "Set-Cookie: sesame=1; Path=/",
        "requirepass=sesame",
        "password: 'sesame'",
    ],
)
@pytest.mark.parametrize("as_json", [True, False])
def test_texts_that_look_like_secrets_are_hidden(said: str, as_json: bool) -> None:
    result = line("%s", said, as_json=as_json)
    assert "sesame" not in result
    assert "***" in result
    if as_json:
        json.loads(result)


def test_texts_that_are_not_secret_are_logged_unchanged() -> None:
    said = "job 5: tokens are on disk, seed=4, http://host:80/a@b, the key of a job; fence token: 7"
    assert json.loads(line(said))["event"] == said


@pytest.mark.parametrize("secret", ["sesame", 'ses"ame\\', "ses ame/é", "sesame%2F"])
@pytest.mark.parametrize("as_json", [True, False])
def test_a_registered_secret_is_hidden_at_every_position(secret: str, as_json: bool) -> None:
    said = line("they said %s to me", secret, as_json=as_json)
    redaction.hide(secret, None, "", "abc")
    result = line("they said %s to me", secret, as_json=as_json)
    assert result != said
    assert "they said *** to me" in result
    assert "abc" in line("abc")


def test_the_password_of_redis_is_hidden_decoded_and_encoded() -> None:
    redaction.hide_password_of("redis://user:ses%2Fame@host:6379/0")
    assert "***, *** and user" in line("ses/ame, ses%2Fame and user")


def test_a_field_with_the_name_of_a_secret_is_hidden() -> None:
    with bound_contextvars(api_key="one two three", Authorization=["a", "b"], job="5"):
        result = json.loads(line("x"))
    assert (result["api_key"], result["Authorization"], result["job"]) == ("***", "***", "5")


def test_the_default_format_is_text_only_on_a_terminal() -> None:
    class Terminal:
        def isatty(self) -> bool:
            return True

    with open("/dev/null") as file:
        for log_format, on_terminal, elsewhere in (("auto", False, True), ("json", True, True), ("text", False, False)):
            settings = WorkerSettings.model_validate({"log_format": log_format})
            assert wants_json(settings, Terminal()) is on_terminal  # type: ignore[arg-type]
            assert wants_json(settings, file) is elsewhere
