"""The API conforms to its own OpenAPI document: schemathesis sends requests to each operation for a while."""

import os
from collections.abc import Iterator
from typing import Any

import pytest
import redis
import schemathesis
from hypothesis import HealthCheck, given
from hypothesis import settings as limits
from schemathesis.schemas import BaseSchema
from schemathesis.specs.openapi.checks import positive_data_acceptance

from app.main import create_app
from app.settings import AppSettings
from models.registry.store import CheckpointStore
from tests.app.conftest import publish_two
from tests.conftest import RunningRedis, set_environment
from tests.support.api_clients import local_client

EXAMPLES = int(os.environ.get("EXAMPLES", "200"))  # for each operation

SCHEMATHESIS_HOST = "testserver"  # headers that its client sends
BEYOND_A_SCHEMA = b"less than one batch of"  # the schema cannot express a rule between two numbers

OPERATIONS = [
    (path, method) for path, methods in create_app(AppSettings()).openapi()["paths"].items() for method in methods
]


@pytest.fixture(scope="module")
def described(shared_redis: RunningRedis, tmp_path_factory: pytest.TempPathFactory) -> Iterator[BaseSchema]:
    """The document of one API, whose Redis is empty before each request and whose store has two checkpoints."""
    with pytest.MonkeyPatch.context() as patch:
        set_environment(patch, tmp_path_factory.mktemp("described") / "home")
        settings = AppSettings(redis_url=shared_redis.url, work_rate="off", allowed_hosts=SCHEMATHESIS_HOST)
        publish_two(CheckpointStore(settings.store_dir))
        app = create_app(settings)
        with local_client(app):
            yield schemathesis.openapi.from_asgi("/openapi.json", app)


@pytest.mark.parametrize("count", [EXAMPLES // 4, pytest.param(EXAMPLES, marks=pytest.mark.long)])
@pytest.mark.parametrize(("path", "method"), OPERATIONS)
@pytest.mark.timeout(60 + 3 * EXAMPLES)
def test_every_response_conforms_to_the_document(
    described: BaseSchema, redis_url: str, path: str, method: str, count: int
) -> None:
    client = redis.Redis.from_url(redis_url)
    operation = described[path][method.upper()]

    @given(operation.as_strategy())
    @limits(max_examples=count, deadline=None, suppress_health_check=list(HealthCheck))
    def ask(case: "schemathesis.Case[Any]") -> None:
        client.flushdb()  # an earlier request may have used the same key for something else, or filled the queue
        answer = case.call()
        is_beyond = BEYOND_A_SCHEMA in answer.content or answer.status_code == 412  # another version than `If-Match`
        is_beyond |= b"/problems/invalid-upload" in answer.content  # a file
        beyond: list[Any] = [positive_data_acceptance] if is_beyond else []
        case.validate_response(answer, excluded_checks=beyond)

    ask()
    client.close()
