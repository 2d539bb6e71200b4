"""The errors that the proxy of docker-compose.scale.yml writes itself are problems of the API's table."""

import json
import re
from http import HTTPStatus
from pathlib import Path

from app.problems.codes import PROBLEMS

TEXT = (Path(__file__).parents[2] / "deploy" / "haproxy" / "haproxy.cfg").read_text()
WRITTEN = re.findall(r"status (\d{3}) content-type application/problem\+json string '([^']*)'", TEXT)


def test_each_error_of_the_proxy_has_a_code_of_the_table() -> None:
    problems = [(int(status), json.loads(body)) for status, body in WRITTEN]
    assert [problem["type"] for _, problem in problems] == [
        "/problems/malformed-request",
        "/problems/request-timeout",
        "/problems/replica-lost",
        "/problems/no-replica",
        "/problems/response-timeout",
        "/problems/body-too-long",
        "/problems/headers-too-long",
    ]
    for status, problem in problems:
        assert status == problem["status"] == PROBLEMS[problem["type"].removeprefix("/problems/")].status
        if status != 413:  # renamed in later versions of Python
            assert problem["title"] == HTTPStatus(status).phrase
        assert problem["detail"].endswith(".")


def test_every_error_of_the_proxy_is_a_problem() -> None:
    assert len(WRITTEN) == len(re.findall(r"http-error status|return status", TEXT))
