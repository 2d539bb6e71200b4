"""Replicas that shut down: not ready any more, still serving, and gone only when no client sends requests."""

import shutil
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest
import yaml

from tests.app.conftest import publish
from tests.faults.api import Api
from tests.faults.edge import Edge, asking, until_served
from tests.faults.world import TINY, World, running_world
from tests.models.registry.test_store import OLD
from tests.support.serving import until

SCALE = yaml.safe_load((Path(__file__).parents[2] / "docker-compose.scale.yml").read_text())
SECONDS = float(SCALE["services"]["api"]["environment"]["ACGAN_DRAIN_SECONDS"])
ENVIRONMENT = {"ACGAN_DRAIN_SECONDS": str(SECONDS), "ACGAN_QUEUE_LIMIT": "1000000", "ACGAN_STOCK": "100"}

pytestmark = pytest.mark.timeout(1200)  # replicas take longer to start beside the callers


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with running_world(tmp_path, environment=ENVIRONMENT) as made:
        publish(made.store, OLD, 1, seed=1)
        yield made


def test_an_api_that_shuts_down_is_not_ready_and_still_serves(api: Api) -> None:
    with httpx2.Client(base_url=api.url, timeout=30) as client:
        assert client.get("/readyz").json()["draining"] is False
        asked = time.monotonic()
        api.process.send_signal(signal.SIGTERM)
        while client.get("/readyz").headers.get("connection") != "close":
            assert time.monotonic() < asked + SECONDS - 2, "the responses do not announce the end of the connection"
        rounds = 0
        while not rounds or time.monotonic() < asked + SECONDS - 2:
            rounds += 1
            ready = client.get("/readyz")
            assert (ready.status_code, ready.json()["draining"]) == (503, True)
            assert int(ready.headers["Retry-After"]) > 0
            for answer in (client.get("/digits/7?n=4"), client.post("/train", json=TINY)):
                assert answer.status_code in (200, 202)
                assert answer.headers["connection"] == "close"
        api.process.wait(30)
        assert time.monotonic() > asked + SECONDS


@pytest.mark.parametrize("signs", [[signal.SIGINT], [signal.SIGTERM, signal.SIGTERM]], ids=["Ctrl-C", "asked twice"])
def test_a_second_signal_or_ctrl_c_skips_the_wait(api: Api, signs: list[signal.Signals]) -> None:
    asked = time.monotonic()
    for sign in signs[:-1]:
        api.process.send_signal(sign)
        until("it drains", lambda: httpx2.get(f"{api.url}/readyz", timeout=30).json()["draining"])
    api.process.send_signal(signs[-1])
    api.process.wait(30)
    assert time.monotonic() < asked + SECONDS - 2


@pytest.mark.faults
@pytest.mark.skipif(shutil.which("haproxy") is None, reason="needs haproxy")
def test_restarting_replicas_in_turn_drops_no_request(world: World, tmp_path: Path) -> None:
    """Including orders without a key, which no proxy may send twice."""
    replicas = [Api(world, patience=400), Api(world, patience=400)]
    edge = Edge(tmp_path, replicas)
    try:
        until_served(edge.url)
        with asking(edge.url, TINY, pause=0.3, read=3, order_with_a_key=2, order=2) as outcomes:
            for replica in replicas:
                time.sleep(5)  # the other one is ready
                replica.process.send_signal(signal.SIGTERM)
                replica.process.wait(60)
                replica.start()
            time.sleep(3)
        print(outcomes)  # noqa: T201
    finally:
        edge.end()
        for replica in replicas:
            replica.end()
    assert set(outcomes["read"]) == {"200"}
    assert set(outcomes["order with a key"]) == {"202"}
    assert set(outcomes["order"]) == {"202"}
    assert all(result.total() > 100 for result in outcomes.values())
