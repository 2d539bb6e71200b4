"""Each kind of error response raises a class of its own; unknown kinds and old services by their status."""

import json

import pytest

from acgan_client import Client, Conflict, InvalidInput, NotAllowed, NotFound, Refused, Unavailable
from acgan_client.errors import FAMILIES
from acgan_client.problems import PROBLEMS, JobNotFound, QueueFull
from app.problems import codes
from tests.support.hostile_server import JOB_ID, hostile, http


def refused(status: int, kind: object, **headers: str) -> Refused:
    body = {"type": kind, "title": "No", "status": status, "detail": "no", "hint": "see GET /jobs"}
    answer = http(json.dumps(body).encode(), f"{status} No", "application/problem+json", **headers)
    with hostile({f"/jobs/{JOB_ID}": answer}) as server, Client(server.url) as client:
        with pytest.raises(Refused) as error:
            client.job(JOB_ID)
        return error.value


@pytest.mark.parametrize("prefix", ["/problems/", "/acgan/problems/", "https://example.com/problems/"])
def test_a_code_raises_its_class(prefix: str) -> None:
    error = refused(404, f"{prefix}job-not-found")
    assert (type(error), error.code, error.hint) == (JobNotFound, "job-not-found", "see GET /jobs")
    assert isinstance(error, NotFound)
    full = refused(429, f"{prefix}queue-full", Retry_After="7")
    assert (type(full), full.retry_after) == (QueueFull, 7)


@pytest.mark.parametrize(
    ("status", "family"),
    [(401, NotAllowed), (404, NotFound), (409, Conflict), (422, InvalidInput), (429, Unavailable), (500, Refused)],
)
@pytest.mark.parametrize(
    ("kind", "code"),
    [("about:blank", None), ("/problems/of-tomorrow", "of-tomorrow"), ("/problems/\x1b[31m", None), (5, None)],
)
def test_without_a_known_code_the_status_decides(
    status: int, family: type[Refused], kind: object, code: str | None
) -> None:
    error = refused(status, kind)
    assert (type(error), error.code) == (family, family.code if code is None else code)


def test_a_code_of_another_family_does_not_change_the_meaning_of_a_status() -> None:
    assert type(refused(404, "/problems/queue-full")) is NotFound


def test_each_class_belongs_to_a_family_and_says_when_it_is_raised() -> None:
    families = {*FAMILIES.values(), Refused}
    for code, kind in PROBLEMS.items():
        assert (kind.code, bool(kind.__doc__)) == (code, True)
        assert kind in families or kind.__base__ in families


def test_the_client_has_a_class_for_each_code_of_the_service() -> None:
    assert set(PROBLEMS) == set(codes.PROBLEMS)
    for code, kind in PROBLEMS.items():
        assert issubclass(kind, FAMILIES.get(codes.PROBLEMS[code].status, Refused)), code
