"""Two servers for all tests here, one with short timeouts; no test may harm them."""

import json
from collections.abc import Iterator

import httpx2
import pytest

from app.settings import AppSettings
from models.registry.store import CheckpointStore
from tests.app.conftest import publish
from tests.conftest import RunningRedis
from tests.models.registry.test_store import OLD
from tests.support.raw_http import Received
from tests.support.serving import serving

LENIENT = 3.0  # tolerance in seconds for a busy machine


@pytest.fixture(scope="package")
def usual(shared_redis: RunningRedis, tmp_path_factory: pytest.TempPathFactory) -> AppSettings:
    settings = AppSettings(redis_url=shared_redis.url, home=tmp_path_factory.mktemp("home"), work_rate="off")
    publish(CheckpointStore(settings.store_dir), OLD, 1, seed=1)
    return settings


@pytest.fixture(scope="package")
def address(usual: AppSettings) -> Iterator[str]:
    with serving(usual) as made:
        yield made


@pytest.fixture(scope="package")
def short_timeouts(usual: AppSettings) -> Iterator[str]:
    """A server that waits for a second instead of the default ten."""
    with serving(usual.model_copy(update={"request_seconds": 1.0, "send_seconds": 1.0})) as made:
        yield made


def problem(reply: Received) -> dict[str, object]:
    head, _, body = reply.data.partition(b"\r\n\r\n")
    assert b"content-type: application/problem+json" in head.lower()
    assert b"connection: close" in head.lower()
    result: dict[str, object] = json.loads(body)
    return result


def still_answers(address: str) -> None:
    assert httpx2.get(f"{address}/livez").status_code == 200
